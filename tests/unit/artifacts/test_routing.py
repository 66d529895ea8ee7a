"""Which store an artifact's URI goes to, and for whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lightship import errors as trunk
from lightship.artifacts import errors
from lightship.artifacts.local import LocalStore
from lightship.artifacts.routing import Router

KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "127.0.0.1:1"}


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts", durable=False)


async def test_files_of_the_platform_need_no_setting(local: LocalStore) -> None:
    router = Router(local, {})
    await router.put("minio://b/k", b"1")
    assert await local.read("minio://b/k", 1) == b"1"
    for uri in ("s3://b/k", "gs://b/k", "hf://m/n"):
        with pytest.raises(errors.NotServed):
            await router.read(uri, 1)


@pytest.mark.parametrize("uri", ["s3://bucket/k", "gs://bucket/k"])
async def test_only_the_home_namespace_acts_with_the_platforms_identity(local: LocalStore, uri: str) -> None:
    with pytest.raises(errors.NotServed, match="platform's identity"):
        await Router(local, KEYS).within("team-a").read(uri, 1)


@pytest.mark.parametrize("trusted", [("default", "team-a"), ("*",)])
async def test_the_platforms_engineer_says_who_else_does(local: LocalStore, trusted: tuple[str, ...]) -> None:
    router = Router(local, {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, trusted)
    with pytest.raises(trunk.Unavailable, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await router.within("team-a").read("gs://bucket/k", 1)
    with pytest.raises(trunk.Forbidden):  # their own folders, even there
        await router.within("team-a").put("gs://bucket/k", b"1")


class Brought:
    """A namespace with a bucket of its own, in files."""

    def __init__(self, folder: Path) -> None:
        self._own = LocalStore(folder, durable=False)

    async def store(self, namespace: str, uri: str) -> LocalStore | None:
        return self._own if namespace == "team-a" and uri.startswith("minio://own/") else None


async def test_a_namespace_brings_its_own_store(local: LocalStore, tmp_path: Path) -> None:
    router = Router(local, {})
    router.attach(Brought(tmp_path / "own"))
    await router.within("team-a").put("minio://own/k", b"1")
    assert await router.within("team-a").read("minio://own/k", 1) == b"1"
    assert not await router.exists("minio://own/k")
    with pytest.raises(trunk.Forbidden):
        await router.within("team-a").put("minio://b/k", b"1")


async def test_credentials_that_cannot_be_read_say_so(local: LocalStore, tmp_path: Path) -> None:
    router = Router(local, {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")})
    with pytest.raises(trunk.Unavailable, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await router.read("gs://b/k", 1)


def test_nothing_of_a_cloud_is_imported_before_it_is_needed() -> None:
    script = "import sys, lightship.artifacts.routing; print([m for m in sys.modules if 'urllib.request' in m])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                          timeout=60).stdout.strip() == "[]"
