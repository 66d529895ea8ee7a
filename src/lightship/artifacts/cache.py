"""The cache of what is downloaded: nothing comes twice, and Pods share its files by hard links.

The storage initializer asks me, in the node's process. An entry is named by whose it is, its URI and its version, and
is a folder of files; it comes into being by one rename, once all of it is on disk. Whoever asks while it comes waits
for that one download. What a killed process left half-done is gone on with: files that were whole are kept. A download
that is one archive is unpacked, as upstream's initializer does.

A file that a Pod has still linked has more than one name, so what is unused is seen, not counted. I let go of that when
it has not been asked for in days, when all of it is more than my limit, and when the disk has no room.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.artifacts import digests, placing
from lightship.artifacts.sources import PART, Found, Source

ROOM_LEFT_BYTES = 256 * 1024**2
"""What a download leaves of the disk to everybody else."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""How the names of files end that are unpacked."""
_STAMP = "entry.json"
_FILES = "files"
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long and how much is kept that no Pod uses."""

    unused_seconds: float = 7 * _DAY_SECONDS
    unused_bytes: int = 20 * 1024**3
    partial_seconds: float = _DAY_SECONDS
    archive_files: int = 10_000
    archive_bytes: int = 64 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What came into a Pod's folder."""

    files: int
    size_bytes: int
    downloaded: bool


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One thing to bring. ``owner`` is the namespace, whose entries no other shares; ``share`` says whether the Pod's
    files may be the cache's own, because nothing in the Pod can write to them.
    """

    source: Source
    owner: str
    folder: Path
    share: bool = True
    digest: str = ""
    """What the content's digest must be, where somebody knows it: ``sha256:`` or ``sha256-tree:``."""


Free = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """What the disk has left for us."""
    return shutil.disk_usage(path).free


class Cache:
    """Entries under one folder. Only one process may have it at a time; ``lightship up`` holds the data directory."""

    def __init__(self, root: Path, options: Options | None = None, *, free: Free = free_bytes,
                 now: Callable[[], float] = time.time) -> None:
        self._entries = root / "entries"
        self._partial = root / "partial"
        self._options = options or Options()
        self._free = free
        self._now = now
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._downloads: dict[str, asyncio.Future[None]] = {}

    async def bring(self, wish: Wish, log: Callable[[str], None]) -> Brought:
        """Bring what the source holds now into the folder. Raises ``errors.LightshipError`` with the reason."""
        found = await wish.source.look()
        key = _key(wish, found)
        async with self._alone(key):
            downloaded = not found.version or not await asyncio.to_thread(self._whole, key)
            if downloaded:
                await self._downloading(key, wish, found, log)
            try:
                files, size = await asyncio.to_thread(self._put, key, wish)
            except OSError as cause:
                raise _disk(cause, wish.source.uri) from cause
            finally:
                if not found.version:
                    await asyncio.to_thread(self._drop, key)
        if downloaded:
            await asyncio.to_thread(self.collect)
        return Brought(files=files, size_bytes=size, downloaded=downloaded)

    def collect(self, wanted_bytes: int = 0) -> int:
        """Let go of what is unused: the old, the surplus, and where ``wanted_bytes`` lack on disk, whatever it takes,
        the least recently asked for first. Returns the bytes let go.
        """
        now, gone = self._now(), 0
        for left in _folders(self._partial):
            busy = left.name in self._locks or left.name in self._downloads
            if not busy and now - left.stat().st_mtime > self._options.partial_seconds:
                _remove(left)
        unused = sorted((stamp.stat().st_mtime, entry, _told(entry).get("bytes", 0))
                        for entry in _folders(self._entries) if entry.name not in self._locks
                        and (stamp := entry / _STAMP).is_file() and not _used(entry / _FILES))
        surplus = sum(size for _, _, size in unused) - self._options.unused_bytes
        for asked, entry, size in unused:
            lacking = wanted_bytes - self._free(self._entries) if wanted_bytes else 0
            if now - asked > self._options.unused_seconds or surplus > 0 or lacking > 0:
                _remove(entry)
                surplus, gone = surplus - size, gone + size
        return gone

    async def _downloading(self, key: str, wish: Wish, found: Found, log: Callable[[str], None]) -> None:
        """Wait for the download, which is nobody's own: it goes on when the Pod that began it goes, since threads that
        write cannot be stopped, and the next Pod wants it too.
        """
        task = self._downloads.get(key)
        if task is None:
            task = asyncio.ensure_future(self._download(key, wish, found, log))
            self._downloads[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        await asyncio.shield(task)

    def _ended(self, key: str, done: asyncio.Future[None]) -> None:
        del self._downloads[key]
        if not done.cancelled():
            done.exception()  # whoever waited has it; where nobody did any more, the next try tells

    async def _download(self, key: str, wish: Wish, found: Found, log: Callable[[str], None]) -> None:
        uri, partial = wish.source.uri, self._partial / key
        await asyncio.to_thread(self._make_room, found.size_bytes, uri)
        await asyncio.to_thread(_begin, partial, bool(found.version))
        log(f"downloading {uri} ({found.files} file(s), {found.size_bytes} bytes)")
        try:
            await wish.source.fill(partial / _FILES)
            await asyncio.to_thread(self._keep, key, wish)
        except OSError as cause:
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                await asyncio.to_thread(_remove, partial)  # a disk that is full needs it more than the next try does
            raise _disk(cause, uri) from cause
        except errors.Unavailable as problem:
            if _is_full(problem):
                await asyncio.to_thread(_remove, partial)
                raise _full(uri) from problem
            raise

    def _drop(self, key: str) -> None:
        _remove(self._entries / key)

    def _make_room(self, size: int, uri: str) -> None:
        self._entries.mkdir(parents=True, exist_ok=True)
        wanted = size + ROOM_LEFT_BYTES
        if self._free(self._entries) >= wanted:
            return
        self.collect(wanted)
        free = self._free(self._entries)
        if free < wanted:
            raise errors.Unavailable(
                f"{uri} has {size} bytes, and the disk has {free} left, of which {ROOM_LEFT_BYTES} are kept free",
                remedy="Make room on the disk of the data directory; the Pod tries again")

    def _keep(self, key: str, wish: Wish) -> None:
        """What has come becomes an entry, whole and on disk."""
        partial = self._partial / key
        for path in _files(partial / _FILES):
            if path.name.endswith(PART):
                path.unlink()  # of an earlier try, at what is no longer there
        files = _listed(partial / _FILES)
        if not files:
            raise errors.NotFound(f"{wish.source.uri} holds no file", remedy="Check what lies there")
        if wish.digest:
            problem = _wrong_digest(partial / _FILES, files, wish.digest)
            if problem:
                _remove(partial)
                raise errors.Unavailable(f"{wish.source.uri} is not what was registered: {problem}",
                                         remedy="It was changed since; register the model anew")
        if len(files) == 1 and next(iter(files)).lower().endswith(ARCHIVES):
            self._unpack(partial / _FILES, next(iter(files)))
            files = _listed(partial / _FILES)
        told = {"uri": wish.source.uri, "owner": wish.owner, "bytes": sum(size for size, _ in files.values()),
                "files": files}
        with (partial / _STAMP).open("w") as stamp:
            json.dump(told, stamp)
            stamp.flush()
            os.fsync(stamp.fileno())
        target = self._entries / key
        _remove(target)
        os.rename(partial, target)

    def _unpack(self, folder: Path, name: str) -> None:
        from lightship.artifacts import archives

        archives.unpack(folder / name, folder, archives.Limits(
            files=self._options.archive_files, size_bytes=self._options.archive_bytes,
            free=archives.free_for(folder, ROOM_LEFT_BYTES)))

    def _whole(self, key: str) -> bool:
        """Whether the entry is there and nobody has changed its files."""
        entry = self._entries / key
        told = _told(entry)
        if not told:
            return False
        for place, (size, changed) in told["files"].items():
            try:
                facts = (entry / _FILES / place).stat(follow_symlinks=False)
            except OSError:
                return False
            if (facts.st_size, facts.st_mtime_ns) != (size, changed):
                return False
        return True

    def _put(self, key: str, wish: Wish) -> tuple[int, int]:
        entry = self._entries / key
        now = self._now()
        os.utime(entry / _STAMP, (now, now))
        told = _told(entry)
        for place in told["files"]:
            placing.link(wish.folder, place, entry / _FILES / place, share=wish.share)
        return len(told["files"]), int(told["bytes"])

    @contextlib.asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One at a time works on an entry; nobody collects it meanwhile."""
        lock, waiting = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(key)
            if waiting > 1:
                self._locks[key] = (lock, waiting - 1)


def _key(wish: Wish, found: Found) -> str:
    text = "\0".join((wish.owner, wish.source.uri, found.version, wish.digest))
    # What has no version is not shared: each Pod's comes for itself, in a folder of its own.
    if not found.version:
        text += f"\0{wish.folder}"
    return hashlib.sha256(text.encode()).hexdigest()


def _told(entry: Path) -> dict[str, Any]:
    """What the entry says of itself; nothing where it is not whole."""
    try:
        found = json.loads((entry / _STAMP).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _used(folder: Path) -> bool:
    return any(path.stat(follow_symlinks=False).st_nlink > 1 for path in _files(folder))


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _files(folder: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(folder):
        for name in sorted(names):
            yield Path(directory, name)


def _listed(folder: Path) -> dict[str, list[int]]:
    """The files below, each with its size and the time when it was written."""
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, path.stat().st_mtime_ns]
            for path in _files(folder)}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)


def _begin(partial: Path, known: bool) -> None:
    if not known:
        _remove(partial)  # what an earlier try brought may be something else by now
    (partial / _FILES).mkdir(parents=True, exist_ok=True)


def _wrong_digest(folder: Path, files: dict[str, list[int]], wanted: str) -> str:
    if wanted.startswith("sha256:") and len(files) != 1:
        return f"it has {len(files)} files, and one was"
    made: dict[str, digests.Digest] = {}
    for place in files:
        with (folder / place).open("rb") as file:
            made[place] = digests.Digest(digest=f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}",
                                         size_bytes=files[place][0])
    found = digests.of_tree(made).digest if wanted.startswith("sha256-tree:") else next(iter(made.values())).digest
    return "" if found == wanted else f"its digest is {found}, and {wanted} was"


def _is_full(problem: BaseException | None) -> bool:
    """Whether a disk without room is at the bottom of it."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        problem = problem.__cause__
    return False


def _full(uri: str) -> errors.Unavailable:
    return errors.Unavailable(f"the disk was full before all of {uri} was there",
                              remedy="Make room on the disk of the data directory; the Pod tries again")


def _disk(cause: OSError, uri: str) -> errors.LightshipError:
    if _is_full(cause):
        return _full(uri)
    return errors.Unavailable(f"the files of {uri} cannot be written: {cause.strerror or cause}")
