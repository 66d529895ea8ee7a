"""Artifacts in S3 and in Google Cloud Storage: the same suite on both, over a good network and over a bad one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightship import errors as trunk
from lightship.artifacts import digests, errors
from lightship.artifacts.gcs import GcsObjects
from lightship.artifacts.gcs_tokens import Tokens
from lightship.artifacts.local import LocalStore
from lightship.artifacts.remote import RemoteStore
from lightship.artifacts.s3 import S3Objects
from lightship.launcher import s3_requests, sigv4
from tests import flaky_proxy, gcs_server, s3_server

pytestmark = pytest.mark.sdk
PART_BYTES = 5 << 20
Make = Callable[[str], RemoteStore]


def s3(endpoint: str) -> RemoteStore:
    keys = sigv4.Credentials("test", "secret")
    return RemoteStore(S3Objects(s3_requests.Site(endpoint, keys), part_bytes=PART_BYTES), frozenset({"s3"}))


def gcs(endpoint: str) -> RemoteStore:
    objects = GcsObjects(Tokens(None), endpoint, part_bytes=PART_BYTES, sleep=lambda seconds: None)
    return RemoteStore(objects, frozenset({"gs"}))


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    with s3_server.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def gcs_endpoint() -> Iterator[str]:
    with gcs_server.running() as endpoint:
        yield endpoint


class Place:
    """A store to test, a base of its own in it, and its endpoint for another way there."""

    def __init__(self, make: Make, endpoint: str, base: str) -> None:
        self.make, self.endpoint, self.base = make, endpoint, base
        self.store = make(endpoint)


@pytest.fixture(params=["s3", "gcs"])
def place(request: pytest.FixtureRequest) -> Place:
    name = str(request.node.name).replace("[", "-").rstrip("]")
    if request.param == "s3":
        return Place(s3, request.getfixturevalue("s3_endpoint"), f"s3://mlpipeline/{name}")
    return Place(gcs, request.getfixturevalue("gcs_endpoint"), f"gs://mlpipeline/{name}")


def tree(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "a b.txt").write_text("1")
    (root / "sub" / "ü+%2e").write_text("2")
    return root


async def test_what_is_written_anew_has_another_version(place: Place) -> None:
    for where in (f"{place.base}/one", f"{place.base}/more/two"):
        await place.store.put(where, b"1")
    seen = [await place.store.list(f"{place.base}/one"), await place.store.list(place.base)]
    assert seen[0][0].version and all(entry.version for entry in seen[1])
    assert seen == [await place.store.list(f"{place.base}/one"), await place.store.list(place.base)]
    assert seen[0][0] in seen[1]
    await place.store.put(f"{place.base}/one", b"2")
    now = await place.store.list(f"{place.base}/one")
    assert now[0].version != seen[0][0].version and now[0].size_bytes == seen[0][0].size_bytes


async def test_a_large_file_goes_up_in_parts_and_comes_back_whole(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(os.urandom(2 * PART_BYTES + 17))
    kept = await place.store.put(f"{place.base}/model", source)
    await place.store.get(f"{place.base}/model", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert kept == digests.Digest(digest="sha256:" + hashlib.sha256(source.read_bytes()).hexdigest(),
                                  size_bytes=source.stat().st_size)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES])
async def test_sizes_at_the_edges_of_parts(place: Place, tmp_path: Path, size: int) -> None:
    source = tmp_path / "file"
    source.write_bytes(bytes(size))
    kept = await place.store.put(f"{place.base}/file", source)
    got, chunks = await place.store.stream(f"{place.base}/file")
    assert (kept.size_bytes, got, sum([len(chunk) async for chunk in chunks])) == (size, size, size)


async def test_a_directory_has_the_digest_that_it_has_locally(place: Place, tmp_path: Path) -> None:
    source = tree(tmp_path / "tree")
    local = await LocalStore(tmp_path / "local", durable=False).put("minio://b/k", source)
    kept = await place.store.put(f"{place.base}/tree", source)
    await place.store.get(f"{place.base}/tree", tmp_path / "back")

    assert kept == local
    assert (tmp_path / "back/sub/ü+%2e").read_text() == "2"
    assert [(entry.uri, entry.size_bytes) for entry in await place.store.list(f"{place.base}/tree")] == [
        (f"{place.base}/tree/a b.txt", 1), (f"{place.base}/tree/sub/ü+%2e", 1)]
    assert await place.store.exists(f"{place.base}/tree")
    assert not await place.store.exists(f"{place.base}/tre")


async def test_a_later_directory_leaves_nothing_of_an_earlier(place: Place, tmp_path: Path) -> None:
    await place.store.put(f"{place.base}/tree", tree(tmp_path / "one"))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "only").write_text("x")
    await place.store.put(f"{place.base}/tree", tmp_path / "two")
    assert [entry.uri for entry in await place.store.list(f"{place.base}/tree")] == [f"{place.base}/tree/only"]


async def test_bytes_limits_and_deletion(place: Place, tmp_path: Path) -> None:
    await place.store.put(f"{place.base}/k", b"hello")
    await place.store.put(f"{place.base}/kk", b"neighbour")
    assert await place.store.read(f"{place.base}/k", 5) == b"hello"
    with pytest.raises(trunk.TooLarge):
        await place.store.read(f"{place.base}/k", 4)
    await place.store.put(f"{place.base}/t", tree(tmp_path / "tree"))
    await place.store.delete(f"{place.base}/k")
    await place.store.delete(f"{place.base}/k")
    await place.store.delete(f"{place.base}/t")
    assert [entry.uri for entry in await place.store.list(place.base)] == [f"{place.base}/kk"]


async def test_what_is_not_there_or_not_to_be_kept(place: Place, tmp_path: Path) -> None:
    for attempt in (place.store.read(f"{place.base}/no", 1), place.store.get(f"{place.base}/no", tmp_path / "x"),
                    place.store.put(f"{place.base}/k", tmp_path / "absent")):
        with pytest.raises(errors.NoSuchArtifact):
            await attempt
    source = tree(tmp_path / "tree")
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(trunk.LightshipError):
        await place.store.put(f"{place.base}/bad", source)
    assert await place.store.list(f"{place.base}/bad") == []
    with pytest.raises(errors.NotServed):
        await place.store.read("minio://mlpipeline/k", 1)
    for uri in (place.base.rpartition("/")[0], f"{place.base}/../x"):
        with pytest.raises(errors.BadLocation):
            await place.store.read(uri, 1)


@pytest.mark.slow
async def test_cut_connections_cost_time_and_no_byte(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(os.urandom(2 * PART_BYTES + 3))
    with flaky_proxy.running(place.endpoint, lambda number: (0, 30, None, 300_000, None)[number % 5]) as endpoint:
        store = place.make(endpoint)
        kept = await store.put(f"{place.base}/model", source)
        await store.get(f"{place.base}/model", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert kept.digest == "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()


async def test_a_bucket_that_is_not_there_says_so(place: Place) -> None:
    scheme = place.base.partition("://")[0]
    with pytest.raises(trunk.LightshipError, match="nosuchbucket"):
        await place.store.put(f"{scheme}://nosuchbucket/k", b"1")
