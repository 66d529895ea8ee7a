"""Artifacts in an object store that is reached over HTTP: an ``ObjectStore`` over the few acts that every such has.

``routing`` makes me with the ``Objects`` of ``s3`` or ``gcs``, which block; I call them in threads of my own. A file is
the object of its key, a directory the objects below ``key/``. A file becomes visible whole; a directory, file by file:
nobody looks at an attempt's outputs before its commit record is there, and each attempt has a folder of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, TypeVar

from lightship import errors as trunk
from lightship.artifacts import digests, errors, location
from lightship.artifacts.digests import Digest
from lightship.artifacts.location import Location
from lightship.artifacts.store import Entry
from lightship.launcher.files import StagingError, Stored, files_under

T = TypeVar("T")
REMOTE_THREADS = 8
"""Requests under way at once to one endpoint."""
CHUNK_BYTES = 1 << 20
MEMORY_LIMIT_BYTES = 4 << 20
"""What is streamed and larger goes by way of a file, so that a slow reader holds no connection and no memory."""
TREE_LIMIT_FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One object below a prefix: its key without the prefix."""

    name: str
    size_bytes: int
    version: str = ""
    """See ``store.Entry``."""


class Objects(Protocol):
    """What one endpoint does. Every method blocks; failures are ``StagingError`` (of the launcher), and where there is
    nothing ``NoSuchObject``.
    """

    def about(self, bucket: str, key: str) -> Listed:
        """The object of that key."""
        ...

    def download(self, bucket: str, key: str, destination: str) -> Stored:
        """Copy the object to a new file."""
        ...

    def upload(self, bucket: str, key: str, source: str) -> Stored:
        """Keep a file: whole or not at all, in parts where it is large."""
        ...

    def write(self, bucket: str, key: str, data: bytes) -> None:
        """Keep bytes."""
        ...

    def below(self, bucket: str, prefix: str, limit: int) -> Iterable[Listed]:
        """The objects whose keys begin with ``prefix``, in order of their keys, at most ``limit``."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Delete the object; nothing there is fine."""
        ...


class NoSuchObject(StagingError):
    """Nothing lies at the key."""


class RefusedObject(StagingError):
    """The endpoint said no, and will say so again."""


class RemoteStore:
    """One endpoint, for URIs of ``schemes``."""

    def __init__(self, objects: Objects, schemes: frozenset[str]) -> None:
        self._objects = objects
        self._schemes = schemes
        self._threads = ThreadPoolExecutor(REMOTE_THREADS, thread_name_prefix="artifacts")

    def close(self) -> None:
        """Let the threads end; what is under way is finished."""
        self._threads.shutdown(wait=False)

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        place = self._place(uri)
        if isinstance(source, bytes):
            data = source
            await self._do(uri, lambda: self._objects.write(place.bucket, place.key, data))
            return digests.of_bytes(data)
        if not await asyncio.to_thread(source.exists):
            raise errors.NoSuchArtifact(f'there is no file "{source.name}" to keep at "{uri}"')
        if not await asyncio.to_thread(source.is_dir):
            if await asyncio.to_thread(source.is_symlink):
                raise errors.UnsafeTree(f'"{source.name}" is a symbolic link')
            return _digest(await self._do(uri, lambda: self._objects.upload(place.bucket, place.key, str(source))))
        return await self._put_tree(uri, place, source)

    async def get(self, uri: str, destination: Path) -> None:
        place = self._place(uri)
        try:
            await self._do(uri, lambda: self._objects.download(place.bucket, place.key, str(destination)))
            return
        except errors.NoSuchArtifact:
            found = await self._below(place, TREE_LIMIT_FILES)
            if not found:
                raise
        for name in found:
            if not _is_path(name.name):
                raise errors.UnsafeTree(f'"{uri}" holds "{name.name}", which is not the path of a file')

        async def fetch(name: str) -> None:
            target = destination / name
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            await self._do(uri, lambda: self._objects.download(place.bucket, f"{place.key}/{name}", str(target)))

        await asyncio.to_thread(destination.mkdir)
        await _all([fetch(one.name) for one in found])

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        size, chunks = await self.stream(uri, limit_bytes=limit_bytes)
        data = b"".join([chunk async for chunk in chunks])
        assert len(data) == size
        return data

    async def stream(self, uri: str, *, limit_bytes: int | None = None) -> tuple[int, AsyncIterator[bytes]]:
        place = self._place(uri)
        size = (await self._do(uri, lambda: self._objects.about(place.bucket, place.key))).size_bytes
        if limit_bytes is not None and size > limit_bytes:
            raise trunk.TooLarge(f'"{uri}" has more than {limit_bytes} bytes')

        def fetch() -> BinaryIO:
            with tempfile.TemporaryDirectory(prefix="lightship-artifact-") as folder:
                path = Path(folder, "content")
                self._objects.download(place.bucket, place.key, str(path))
                return path.open("rb")  # It stays until it is closed, though it has no name any more.

        opened = await self._do(uri, fetch)
        return size, _chunks(opened)

    async def exists(self, uri: str) -> bool:
        place = self._place(uri)
        try:
            await self._do(uri, lambda: self._objects.about(place.bucket, place.key))
        except errors.NoSuchArtifact:
            return bool(await self._below(place, 1))
        return True

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        place = self._place(prefix)
        try:
            one = await self._do(prefix, lambda: self._objects.about(place.bucket, place.key))
            return [Entry(uri=str(place), size_bytes=one.size_bytes, version=one.version)]
        except errors.NoSuchArtifact:
            return [Entry(uri=f"{place}/{one.name}", size_bytes=one.size_bytes, version=one.version)
                    for one in await self._below(place, limit)]

    async def delete(self, uri: str) -> None:
        place = self._place(uri)
        await self._do(uri, lambda: self._objects.delete(place.bucket, place.key))
        while found := await self._below(place, 1_000):
            await _all([self._do(uri, lambda name=one.name: self._objects.delete(  # type: ignore[misc]
                place.bucket, f"{place.key}/{name}")) for one in found])

    async def _put_tree(self, uri: str, place: Location, source: Path) -> Digest:
        root = await asyncio.to_thread(source.resolve)
        files = await self._do(uri, lambda: dict(files_under(str(root))))
        before = {one.name for one in await self._below(place, TREE_LIMIT_FILES)}

        async def keep(relative: str) -> tuple[str, Digest]:
            stored = await self._do(uri, lambda: self._objects.upload(
                place.bucket, f"{place.key}/{relative}", files[relative]))
            return relative, _digest(stored)

        kept = dict(await _all([keep(relative) for relative in files]))
        for stale in sorted(before - set(files)):
            await self._do(uri, lambda name=stale: self._objects.delete(  # type: ignore[misc]
                place.bucket, f"{place.key}/{name}"))
        return digests.of_tree(kept)

    async def _below(self, place: Location, limit: int) -> Sequence[Listed]:
        return await self._do(str(place), lambda: list(self._objects.below(place.bucket, f"{place.key}/", limit)))

    def _place(self, uri: str) -> Location:
        place = location.parse(uri)
        if place.scheme not in self._schemes:
            raise errors.NotServed(f'artifacts at "{place.scheme}://" are not kept there: "{uri}"')
        if not place.key:
            raise errors.BadLocation(f'"{uri}" names a bucket, not an artifact')
        return place

    async def _do(self, uri: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except NoSuchObject as cause:
            raise errors.NoSuchArtifact(f'nothing lies at "{uri}"') from cause
        except RefusedObject as cause:
            raise trunk.Forbidden(str(cause)) from cause
        except StagingError as cause:
            raise trunk.Unavailable(str(cause)) from cause
        except OSError as cause:
            raise trunk.Unavailable(f'"{uri}" cannot be moved: {cause.strerror or cause}') from cause


def _digest(stored: Stored) -> Digest:
    return Digest(digest=stored.digest, size_bytes=stored.size_bytes)


def _is_path(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and ".." not in parts and "\0" not in name


async def _all(acts: Sequence[Awaitable[T]]) -> list[T]:
    """Every act's result; the first error once all have ended."""
    results: list[T] = []
    for one in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results


async def _chunks(opened: BinaryIO) -> AsyncIterator[bytes]:
    with opened:
        while chunk := await asyncio.to_thread(opened.read, CHUNK_BYTES):
            yield chunk
