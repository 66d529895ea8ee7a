"""What an importer says of the content that it names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from lightship.artifacts.local import LocalStore
from lightship.artifacts.store import Entry
from lightship.domains.pipelines import own_steps


class Versioned(LocalStore):
    """A store that tells versions, and must not be asked for content."""

    version = "1"

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        return [Entry(uri=entry.uri, size_bytes=entry.size_bytes, version=self.version)
                for entry in await super().list(prefix, limit=limit)]

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        raise AssertionError(f"{uri} was read")


@pytest.mark.parametrize("uri", ["minio://b/folder", "minio://b/folder/one"])
async def test_a_version_stands_for_the_content_and_a_new_one_for_other_content(tmp_path: Path, uri: str) -> None:
    store = Versioned(tmp_path, durable=False)
    for name in ("one", "two"):
        await store.put(f"minio://b/folder/{name}", name.encode())
    first = await own_steps.content_digest(store, uri)
    assert first is not None and first == await own_steps.content_digest(store, uri)
    store.version = "2"
    second = await own_steps.content_digest(store, uri)
    assert second is not None and second.digest != first.digest and second.size_bytes == first.size_bytes


async def test_without_versions_the_content_itself_is_looked_at(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, durable=False)
    put = await store.put("minio://b/one", b"1")
    assert await own_steps.content_digest(store, "minio://b/one") == put
