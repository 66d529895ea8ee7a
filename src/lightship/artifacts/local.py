"""Artifacts as plain files: ``minio://bucket/key`` is ``<root>/bucket/key``, so that a person can look at them.

``app`` makes me. What is put is written aside (``<root>/.incoming``), synced, and renamed into place, so a reader or a
crash sees the old thing or the new one, never half. Replacing a *directory* moves the old one aside first: between
the two renames nothing lies there, which a run never sees, since every attempt of a step has a path of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from lightship import errors as trunk
from lightship.artifacts import errors, files, location, tenancy
from lightship.artifacts.digests import Digest
from lightship.artifacts.store import Entry, ObjectStore

T = TypeVar("T")
_INCOMING = ".incoming"


class LocalStore:
    """A platform's ``Stores`` under one directory. ``durable=False`` leaves out the syncs, for throw-away stores."""

    def __init__(self, root: Path, *, schemes: frozenset[str] = frozenset({"minio"}), durable: bool = True) -> None:
        self.root = root
        self._schemes = schemes
        self._durable = durable

    def path(self, uri: str) -> Path:
        """Where ``uri`` lies, whether or not anything is there. Raises ``BadLocation`` or ``NotServed``."""
        kind = location.scheme(uri)
        if kind and kind not in self._schemes:
            served = ", ".join(f"{name}://" for name in sorted(self._schemes))
            raise errors.NotServed(f'artifacts at "{kind}://" are not kept here: "{uri}"',
                                   remedy=f"Use {served} or configure a store for {kind}://")
        place = location.parse(uri)
        path = self.root / place.bucket / place.key
        # Our own tree has no links; if somebody made one, it must not lead out.
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise errors.BadLocation(f'"{uri}" leads out of the artifact store')
        return path

    def within(self, namespace: str) -> ObjectStore:
        """The namespace's view of me."""
        return tenancy.Tenant(self, namespace)

    async def sweep(self) -> None:
        """Removes what a crash left half-written. Call it before the store is used."""
        await asyncio.to_thread(shutil.rmtree, self.root / _INCOMING, ignore_errors=True)

    async def put(self, uri: str, source: Path | bytes) -> Digest:
        return await self._do(uri, lambda: self._put(uri, source))

    async def get(self, uri: str, destination: Path) -> None:
        await self._do(uri, lambda: files.fetch(self._there(uri), destination))

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        return await self._do(uri, lambda: self._read(uri, limit_bytes))

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        opened = await self._do(uri, lambda: self._open(uri))
        return os.fstat(opened.fileno()).st_size, _chunks(opened)

    async def exists(self, uri: str) -> bool:
        return await self._do(uri, lambda: self.path(uri).exists())

    async def list(self, prefix: str, *, limit: int = 10_000) -> Sequence[Entry]:
        return await self._do(prefix, lambda: self._list(prefix, limit))

    async def delete(self, uri: str) -> None:
        await self._do(uri, lambda: self._delete(uri))

    async def _do(self, uri: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (NotADirectoryError, FileExistsError) as error:
            raise trunk.Conflict(f'"{uri}" would lie under or over another artifact') from error
        except OSError as error:
            raise trunk.Unavailable(f'the artifact store cannot serve "{uri}": {error.strerror}') from error

    def _there(self, uri: str) -> Path:
        path = self.path(uri)
        if not path.exists():
            raise errors.NoSuchArtifact(f'nothing lies at "{uri}"')
        return path

    def _open(self, uri: str) -> BinaryIO:
        path = self._there(uri)
        if path.is_dir():
            raise trunk.BadRequest(f'"{uri}" is a directory', remedy="Ask for one of the files in it")
        return open(files.open_regular(path), "rb")

    def _read(self, uri: str, limit_bytes: int) -> bytes:
        with self._open(uri) as opened:
            data = opened.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise trunk.TooLarge(f'"{uri}" has more than {limit_bytes} bytes')
        return data

    def _put(self, uri: str, source: Path | bytes) -> Digest:
        target = self.path(uri)
        if not location.parse(uri).key:
            raise errors.BadLocation(f'"{uri}" names a bucket, not an artifact')
        incoming = self.root / _INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        aside = incoming / uuid.uuid4().hex
        try:
            if isinstance(source, bytes):
                digest = files.write(source, aside, durable=self._durable)
            elif source.exists():
                digest = files.copy(source, aside, durable=self._durable)
            else:
                raise errors.NoSuchArtifact(f'there is no file "{source.name}" to keep at "{uri}"')
            self._make_parents(target.parent)
            self._rename(aside, target)
        finally:
            _remove(aside)
        if self._durable:
            files.sync_directory(target.parent)
        return digest

    def _rename(self, aside: Path, target: Path) -> None:
        if target.is_dir() or (target.exists() and aside.is_dir()):
            old = aside.with_name(f"{aside.name}.old")
            os.rename(target, old)
            os.rename(aside, target)
            _remove(old)
        else:
            os.replace(aside, target)

    def _make_parents(self, directory: Path) -> None:
        """Makes the directories down to ``directory``, each entry durable in its parent."""
        missing = []
        while not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            if self._durable:
                files.sync_directory(new.parent)

    def _list(self, prefix: str, limit: int) -> Sequence[Entry]:
        start = self.path(prefix)
        place = location.parse(prefix)
        bucket = self.root / place.bucket
        if start.is_file():
            return [_entry(str(place), start.stat())]
        found: list[Entry] = []
        for directory, names, entries in os.walk(start):
            names.sort()
            for name in sorted(entries):
                if len(found) == limit:
                    return found
                path = Path(directory, name)
                key = path.relative_to(bucket).as_posix()
                found.append(_entry(f"{place.scheme}://{place.bucket}/{key}", path.lstat()))
        return found

    def _delete(self, uri: str) -> None:
        path = self.path(uri)
        if path == self.root / location.parse(uri).bucket:
            raise errors.BadLocation(f'"{uri}" names a bucket, not an artifact')
        _remove(path)
        # Object stores have no directories: those that are empty now go too, up to the bucket.
        with contextlib.suppress(OSError):
            while len(path.parent.relative_to(self.root).parts) > 1:
                path = path.parent
                path.rmdir()


def _entry(uri: str, facts: os.stat_result) -> Entry:
    return Entry(uri=uri, size_bytes=facts.st_size, stamp=f"{facts.st_ino}:{facts.st_mtime_ns}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


async def _chunks(opened: BinaryIO) -> AsyncIterator[bytes]:
    with opened:
        while chunk := await asyncio.to_thread(opened.read, files.CHUNK_BYTES):
            yield chunk
