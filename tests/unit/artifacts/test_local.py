"""The local store: whole or not at all, by digest, and never outside of its directory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lightship import errors as trunk
from lightship.artifacts import digests, errors, files
from lightship.artifacts.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


def tree(root: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


async def test_a_file_comes_back_as_it_was_with_its_digest(store: LocalStore, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(os.urandom(3 * files.CHUNK_BYTES + 1))

    digest = await store.put("minio://b/a/model", source)
    await store.get("minio://b/a/model", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert digest.digest == "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()
    assert digest.size_bytes == source.stat().st_size
    assert store.path("minio://b/a/model") == tmp_path / "artifacts/b/a/model"


async def test_a_directory_comes_back_whole_and_its_digest_is_of_its_content(store: LocalStore, tmp_path: Path) -> None:
    one = tree(tmp_path / "one", a="1", sub__b="2")
    same = tree(tmp_path / "same", sub__b="2", a="1")
    other = tree(tmp_path / "other", a="1", sub__b="3")

    first = await store.put("minio://b/t", one)
    await store.get("minio://b/t", tmp_path / "back")

    assert (tmp_path / "back/sub/b").read_text() == "2"
    assert first == await store.put("minio://b/same", same)
    assert first.digest != (await store.put("minio://b/other", other)).digest
    assert first.directory
    assert first.size_bytes == 2
    assert [entry.uri for entry in await store.list("minio://b/t")] == ["minio://b/t/a", "minio://b/t/sub/b"]


async def test_bytes_read_stream_and_limits(store: LocalStore) -> None:
    digest = await store.put("minio://b/k", b"hello")

    assert digest == digests.of_bytes(b"hello")
    assert await store.read("minio://b/k", 5) == b"hello"
    with pytest.raises(trunk.TooLarge, match="more than 4 bytes"):
        await store.read("minio://b/k", 4)
    size, chunks = await store.stream("minio://b/k")
    assert (size, b"".join([chunk async for chunk in chunks])) == (5, b"hello")


async def test_a_later_put_replaces_whole(store: LocalStore, tmp_path: Path) -> None:
    await store.put("minio://b/x", tree(tmp_path / "old", gone="1"))
    await store.put("minio://b/x", tree(tmp_path / "new", kept="2"))
    assert [entry.uri for entry in await store.list("minio://b/x")] == ["minio://b/x/kept"]

    await store.put("minio://b/x", b"now a file")
    assert await store.read("minio://b/x", 100) == b"now a file"


async def test_delete_takes_empty_directories_along(store: LocalStore) -> None:
    await store.put("minio://b/a/b/c", b"1")
    await store.put("minio://b/a/d", b"2")
    await store.delete("minio://b/a/b/c")
    await store.delete("minio://b/a/b/c")

    assert not await store.exists("minio://b/a/b")
    assert await store.exists("minio://b/a/d")


async def test_what_is_not_there_is_said_so(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(errors.NoSuchArtifact, match='nothing lies at "minio://b/none"'):
        await store.read("minio://b/none", 1)
    with pytest.raises(errors.NoSuchArtifact):
        await store.get("minio://b/none", tmp_path / "x")
    with pytest.raises(errors.NoSuchArtifact, match="no file"):
        await store.put("minio://b/k", tmp_path / "absent")
    assert await store.list("minio://b/none") == []


@pytest.mark.parametrize("uri", [
    "minio://b/../x", "minio://b/a/../../x", "minio://../x", "minio://b/a//b", "minio://b/./a", "minio:///etc/passwd",
    "minio://b/..\\x", "minio://b/a\0b", "minio://.incoming/x", "/etc/passwd", "b/k", "minio://b/" + "a" * 5000,
])
async def test_a_uri_that_leads_out_is_refused(store: LocalStore, uri: str) -> None:
    for attempt in (store.put(uri, b"x"), store.read(uri, 10), store.delete(uri), store.list(uri), store.exists(uri)):
        with pytest.raises(errors.BadLocation):
            await attempt


async def test_percent_encodings_are_not_decoded(store: LocalStore, tmp_path: Path) -> None:
    await store.put("minio://b/%2e%2e/%2e%2e/x", b"1")

    assert (tmp_path / "artifacts/b/%2e%2e/%2e%2e/x").read_bytes() == b"1"


@pytest.mark.parametrize("uri", ["s3://b/k", "gs://b/k", "file:///etc/passwd", "http://169.254.169.254/x", "hf://m/n"])
async def test_other_schemes_are_refused_with_a_reason(store: LocalStore, uri: str) -> None:
    with pytest.raises(errors.NotServed, match=r"not kept here.*Use minio://"):
        await store.read(uri, 1)


async def test_links_out_of_a_tree_are_not_kept(store: LocalStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    for name, target in (("file", secret), ("relative", "../../secret"), ("directory", tmp_path)):
        source = tree(tmp_path / f"out-{name}", fine="1")
        (source / "link").symlink_to(target)
        with pytest.raises(errors.UnsafeTree, match="symbolic link"):
            await store.put("minio://b/k", source)
    single = tmp_path / "single"
    single.symlink_to(secret)
    with pytest.raises(errors.UnsafeTree):
        await store.put("minio://b/k", single)
    assert not await store.exists("minio://b/k")


async def test_a_link_within_a_tree_is_kept_as_the_file(store: LocalStore, tmp_path: Path) -> None:
    source = tree(tmp_path / "out", real="content")
    (source / "alias").symlink_to("real")
    await store.put("minio://b/k", source)

    assert await store.read("minio://b/k/alias", 100) == b"content"
    assert not store.path("minio://b/k/alias").is_symlink()


async def test_pipes_are_refused_and_do_not_hang(store: LocalStore, tmp_path: Path) -> None:
    source = tree(tmp_path / "out", fine="1")
    os.mkfifo(source / "pipe")

    with pytest.raises(errors.UnsafeTree, match="pipe"):
        await store.put("minio://b/k", source)


async def test_a_link_in_the_store_leads_nowhere(store: LocalStore, tmp_path: Path) -> None:
    await store.put("minio://b/k", b"1")
    (tmp_path / "artifacts/b/evil").symlink_to(tmp_path)
    (tmp_path / "secret").write_text("key")

    with pytest.raises(errors.BadLocation, match="leads out"):
        await store.read("minio://b/evil/secret", 10)
    (tmp_path / "artifacts/b/file").symlink_to(tmp_path / "secret")
    with pytest.raises(trunk.LightshipError):
        await store.read("minio://b/file", 10)


async def test_a_failed_put_leaves_the_old_and_no_rest(store: LocalStore, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put("minio://b/k", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(trunk.Unavailable, match="No space left"):
        await store.put("minio://b/k", b"new")
    assert await store.read("minio://b/k", 10) == b"old"
    assert list((tmp_path / "artifacts/.incoming").iterdir()) == []


async def test_sweep_removes_what_a_crash_left(store: LocalStore, tmp_path: Path) -> None:
    await store.put("minio://b/k", b"1")
    (tmp_path / "artifacts/.incoming/half").write_text("ha")
    await store.sweep()

    assert not (tmp_path / "artifacts/.incoming").exists()
    await store.put("minio://b/k", b"2")


async def test_an_artifact_under_another_is_a_conflict(store: LocalStore) -> None:
    await store.put("minio://b/k", b"1")

    with pytest.raises(trunk.Conflict, match="under or over"):
        await store.put("minio://b/k/below", b"2")
