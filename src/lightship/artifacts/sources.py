"""Places that models come from, each with the same face: what lies there now, and bringing it into a folder.

``cache`` asks me; the storage initializer makes me from a storageUri. A folder to fill is the cache's own, so nobody
else writes there; what an earlier try finished there is kept, and what it began is begun anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightship import errors
from lightship.artifacts import fetching
from lightship.artifacts.store import Entry, ObjectStore

PART = ".lightship-part"
"""How the name of a file ends that is not whole yet."""
FILES_AT_ONCE = 4
_MD5 = re.compile(r"etag:([0-9a-f]{32})\Z")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies at a source now. ``version`` is another one whenever it is something else; empty: that is not told."""

    version: str = ""
    size_bytes: int = 0
    files: int = 1


class Source(Protocol):
    """One place. Every method raises ``errors.LightshipError`` with what is wrong and what helps."""

    @property
    def uri(self) -> str: ...

    async def look(self) -> Found:
        """What is there, without bringing it."""
        ...

    async def fill(self, folder: Path) -> None:
        """Bring what ``look`` has found into ``folder``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may be brought."""

    files: int = 10_000
    size_bytes: int = 64 * 1024**3


class Listed:
    """A ``Source`` of files that the place lists, one by one: buckets, and repositories of the hub."""

    def __init__(self, uri: str, listing: Callable[[int], Awaitable[Sequence[Entry]]],
                 get: Callable[[str, Path], Awaitable[None]], limits: Limits) -> None:
        self._uri = uri.rstrip("/")
        self._listing = listing
        self._get = get
        self._limits = limits
        self._entries: Sequence[Entry] = ()

    @property
    def uri(self) -> str:
        return self._uri

    async def look(self) -> Found:
        entries = await self._listing(self._limits.files + 1)
        if not entries:
            raise errors.NotFound(f"nothing lies at {self._uri}", remedy="Check the bucket and the path")
        fetching.check(self._uri, entries, limit_files=self._limits.files, limit_bytes=self._limits.size_bytes)
        self._entries = entries
        told = hashlib.sha256()
        for entry in entries:
            told.update(f"{self._place(entry)}\0{entry.size_bytes}\0{entry.version or entry.stamp}\n".encode())
        return Found(version=told.hexdigest() if all(entry.version or entry.stamp for entry in entries) else "",
                     size_bytes=sum(entry.size_bytes for entry in entries), files=len(entries))

    async def fill(self, folder: Path) -> None:
        turn, problems = asyncio.Semaphore(FILES_AT_ONCE), list[Exception]()

        async def one(entry: Entry) -> None:
            async with turn:
                if problems:
                    return
                try:
                    await self._bring(entry, folder / self._place(entry))
                except Exception as problem:
                    problems.append(problem)

        # What was begun is waited for: threads that write cannot be stopped, and the next try writes there too.
        await asyncio.gather(*(one(entry) for entry in self._entries))
        if problems:
            raise problems[0]

    async def _bring(self, entry: Entry, target: Path) -> None:
        if await asyncio.to_thread(_is_there, target, entry.size_bytes):
            return  # an earlier try ended after this one
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        seen = ""
        while True:
            part.unlink(missing_ok=True)
            await self._get(entry.uri, part)
            size = part.stat().st_size
            if size != entry.size_bytes:
                raise errors.Unavailable(f"{entry.uri} came with {size} of {entry.size_bytes} bytes",
                                         remedy="It is tried again when the Pod is")
            wrong = await asyncio.to_thread(_differs, part, entry.version)
            if not wrong or wrong == seen:
                break  # twice the same bytes: what names them is no digest of them, as with encryption by a key
            seen = wrong
        if wrong and _SHA256.match(entry.version):
            raise errors.Unavailable(f"{entry.uri} is not what its digest says: {wrong}, not {entry.version}",
                                     remedy="What lies there is damaged; put it there again")
        await asyncio.to_thread(settle, part, target)

    def _place(self, entry: Entry) -> str:
        below = entry.uri.removeprefix(self._uri).lstrip("/") or fetching.name(entry)
        if any(part in ("", ".", "..") for part in below.split("/")) or "\0" in below:
            raise errors.InvalidInput(f"{self._uri} holds {below!r}, which is not the path of a file")
        return below


def of_store(uri: str, store: ObjectStore, limits: Limits) -> Source:
    """What lies in a bucket."""
    place = uri.rstrip("/")

    async def listing(limit: int) -> Sequence[Entry]:
        return await store.list(place, limit=limit)

    return Listed(place, listing, store.get, limits)


def of_streams(uri: str, listing: Callable[[int], Awaitable[Sequence[Entry]]],
               stream: Callable[[str], Awaitable[tuple[int, AsyncIterator[bytes]]]], limits: Limits) -> Source:
    """What a place lists and streams, such as the hub."""
    async def get(entry: str, target: Path) -> None:
        _, chunks = await stream(entry)
        try:
            with target.open("xb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    return Listed(uri, listing, get, limits)


class Folder:
    """A ``Source`` of a folder or a file of this machine, below one of the folders that its operator allows."""

    def __init__(self, path: Path, allowed: Sequence[Path], limits: Limits) -> None:
        self._path = path
        self._allowed = allowed
        self._limits = limits
        self._files: dict[str, Path] = {}

    @property
    def uri(self) -> str:
        return f"file://{self._path}"

    async def look(self) -> Found:
        found = await asyncio.to_thread(self._walk)
        told = hashlib.sha256()
        for place in sorted(found):
            facts = found[place].stat()
            told.update(f"{place}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ino}\n".encode())
        size = sum(path.stat().st_size for path in found.values())
        entries = [Entry(uri=place, size_bytes=path.stat().st_size) for place, path in found.items()]
        fetching.check(self.uri, entries, limit_files=self._limits.files, limit_bytes=self._limits.size_bytes)
        self._files = found
        return Found(version=told.hexdigest(), size_bytes=size, files=len(found))

    async def fill(self, folder: Path) -> None:
        await asyncio.to_thread(self._copy, folder)

    def _walk(self) -> dict[str, Path]:
        whole = self._path.resolve()
        if not any(whole.is_relative_to(allowed.resolve()) for allowed in self._allowed):
            raise errors.Forbidden(f"{self.uri} is in none of the folders that file:// may read here",
                                   remedy="Name its folder in --model-folders, or put it into the artifact store")
        if whole.is_file():
            return {whole.name: whole}
        found: dict[str, Path] = {}
        for directory, _, names in os.walk(whole):
            for name in names:
                path = Path(directory, name)
                if path.is_symlink() and not path.resolve().is_relative_to(whole):
                    raise errors.InvalidInput(f"{self.uri}: {path.name} is a link out of the folder")
                if path.is_file():
                    found[path.relative_to(whole).as_posix()] = path
                if len(found) > self._limits.files:
                    break
        if not found:
            raise errors.NotFound(f"nothing lies at {self.uri}", remedy="Check the path")
        return found

    def _copy(self, folder: Path) -> None:
        for place, path in self._files.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + PART)
            shutil.copyfile(path, part)
            settle(part, target)


def _is_there(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size


def settle(part: Path, target: Path) -> None:
    """A file that is whole gets its name, on disk too."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.chmod(0o644)
    os.replace(part, target)


def _differs(path: Path, version: str) -> str:
    """The digest of a file, where its version is one of that kind and another; else nothing."""
    for pattern, kind in ((_MD5, "md5"), (_SHA256, "sha256")):
        named = pattern.match(version)
        if named is None:
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, kind).hexdigest()
        return "" if digest == named[1] else f"{kind}:{digest}"
    return ""
