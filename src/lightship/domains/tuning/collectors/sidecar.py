"""The sidecar ``metrics-collector``: prints what a trial writes into a file, or the scalars of its event files.

On the embedded node I am a built-in entrypoint, a coroutine of the node's process instead of a process a trial; on any
other cluster ``python -m lightship.domains.tuning.collectors.sidecar`` is the same. What I print is my log, which
``gather`` follows. The trial writes these files, so I follow none of its links and read nothing but regular files; I
look for more a few times a second, and once more when I am told to end, which is after the trial has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from lightship import errors
from lightship.domains.tuning.collectors import events, injection
from lightship.kube import times
from lightship.lib import clock as clocks
from lightship.records.readings import NO_TIME, Reading

LOOK_SECONDS = 0.2
READ_BYTES = 256 * 1024
LIMIT_LINE_BYTES = 64 * 1024
"""Of a line without an end; a longer one is printed in pieces."""
LIMIT_FILES = 64
"""Event files of one trial; further ones are not read."""
LIMIT_DIRECTORIES = 1000


class Context(Protocol):
    """What the node gives an entrypoint, as far as I use it."""

    @property
    def arguments(self) -> tuple[str, ...]: ...

    @property
    def mounts(self) -> Mapping[str, str]:
        """Container path to host path of the volume mounts."""
        ...

    @property
    def write(self) -> Callable[[bytes], None]: ...


async def collect(context: Context, clock: clocks.Clock = clocks.SYSTEM) -> int:
    """Print until I am cancelled. Raises ``errors.InvalidInput`` for arguments that are not mine."""
    watch = _watch(context)
    try:
        while True:
            await watch.look()
            await clock.sleep(LOOK_SECONDS)
    except asyncio.CancelledError:
        await watch.look()  # the trial has ended: this is what it wrote last
        watch.finish()
        return 0


Entrypoint = Callable[[Context], Awaitable[int]]


@dataclass(kw_only=True)
class _Tail:
    """Where one file has been read to."""

    inode: int = -1
    offset: int = 0

    def read(self, descriptor: int) -> Iterator[bytes]:
        """What is new, in pieces; a file that was replaced or cut is new from its beginning."""
        found = os.fstat(descriptor)
        if found.st_ino != self.inode or found.st_size < self.offset:
            self.inode, self.offset = found.st_ino, 0
        while piece := os.pread(descriptor, READ_BYTES, self.offset):
            self.offset += len(piece)
            yield piece


class _Watch(Protocol):
    async def look(self) -> None: ...

    def finish(self) -> None: ...


@dataclass(kw_only=True)
class _Lines:
    """A file's lines, as they are."""

    root: str
    parts: Sequence[str]
    write: Callable[[bytes], None]
    _tail: _Tail = field(default_factory=_Tail)
    _rest: bytes = b""

    async def look(self) -> None:
        descriptor = _open(self.root, self.parts)
        if descriptor is None:
            return
        try:
            for piece in self._tail.read(descriptor):
                text, newline, rest = (self._rest + piece).rpartition(b"\n")
                if len(rest) > LIMIT_LINE_BYTES:
                    text, newline, rest = text + newline + rest, b"\n", b""
                self._rest = rest
                if newline:
                    self.write(text + newline)
                await asyncio.sleep(0)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        if self._rest:
            self.write(self._rest + b"\n")
            self._rest = b""


@dataclass(kw_only=True)
class _Scalars:
    """The scalars of the event files below a directory, as lines of JSON."""

    root: str
    parts: Sequence[str]
    path: str
    metrics: Sequence[str]
    write: Callable[[bytes], None]
    _files: dict[str, tuple[_Tail, events.EventFile]] = field(default_factory=dict)

    async def look(self) -> None:
        for place in _files_below(self.root, self.parts):
            name = "/".join(place)
            if name not in self._files:
                if len(self._files) >= LIMIT_FILES:
                    continue
                folder = str(PurePosixPath(self.path, *place[:-1]))
                self._files[name] = (_Tail(), events.EventFile(metrics=self.metrics, folder=folder))
            tail, file = self._files[name]
            descriptor = None if file.broken else _open(self.root, (*self.parts, *place))
            if descriptor is None:
                continue
            try:
                for piece in tail.read(descriptor):
                    self.write(b"".join(map(_line, file.feed(piece))))
                    await asyncio.sleep(0)
            finally:
                os.close(descriptor)

    def finish(self) -> None:
        return None


def _watch(context: Context) -> _Watch:
    match context.arguments:
        case (injection.FILE, path):
            root, parts = _place(context.mounts, path)
            return _Lines(root=root, parts=parts, write=context.write)
        case (injection.EVENTS, path, *metrics) if metrics:
            root, parts = _place(context.mounts, path)
            return _Scalars(root=root, parts=parts, path=path, metrics=tuple(metrics), write=context.write)
        case _:
            raise errors.InvalidInput("the metrics collector wants 'file PATH' or 'events DIRECTORY METRIC...'")


def _place(mounts: Mapping[str, str], path: str) -> tuple[str, tuple[str, ...]]:
    """The host's path of the volume, which is ours to trust, and the way inside it, which is not."""
    wanted = PurePosixPath(path)
    around = [mount for mount in mounts if PurePosixPath(mount) == wanted or PurePosixPath(mount) in wanted.parents]
    if not around or ".." in wanted.parts:
        raise errors.InvalidInput(f"no volume that the metrics collector shares is mounted around {path}")
    mount = max(around, key=len)
    return mounts[mount], wanted.relative_to(mount).parts


def _line(reading: Reading) -> bytes:
    stamp = {} if reading.time == NO_TIME else {"timestamp": times.rfc3339_micro(reading.time)}
    return json.dumps(stamp | {reading.metric: reading.value}).encode() + b"\n"


def _open(root: str, parts: Sequence[str]) -> int | None:
    """A regular file inside a volume, to read; no link is followed. None where there is none."""
    if not parts:
        return None  # the volume itself
    try:
        here = _directory(root, parts[:-1])
    except OSError:
        return None
    try:
        found = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    except OSError:
        return None
    finally:
        os.close(here)
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    return None


def _directory(root: str, parts: Sequence[str]) -> int:
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _files_below(root: str, parts: Sequence[str]) -> list[tuple[str, ...]]:
    """The regular files below a directory in a volume, in an order that stays."""
    try:
        top = _directory(root, parts)
    except OSError:
        return []
    found: list[tuple[str, ...]] = []
    try:
        for number, (folder, _, names, here) in enumerate(os.fwalk(".", follow_symlinks=False, dir_fd=top)):
            if number >= LIMIT_DIRECTORIES:
                break
            for name in names:
                try:
                    if stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                        found.append((*PurePosixPath(folder).parts, name))
                except FileNotFoundError:
                    continue  # it was there a moment ago
    except OSError:
        return sorted(found)[:LIMIT_FILES]
    finally:
        os.close(top)
    return sorted(found)[:LIMIT_FILES]


@dataclass(frozen=True, kw_only=True)
class _Process:
    """The context of a process of its own: the file system is the container's."""

    arguments: tuple[str, ...]
    mounts: Mapping[str, str]
    write: Callable[[bytes], None]


def main() -> int:
    """The sidecar as a program; SIGTERM ends it."""
    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async def run() -> int:
        work = asyncio.ensure_future(collect(_Process(arguments=tuple(sys.argv[1:]), mounts={"/": "/"}, write=write)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)  # heard after the work has begun
        _tell_ready()
        return await work

    return asyncio.run(run())


def _tell_ready() -> None:
    """For the probe of the Pod; nobody else looks for it."""
    with contextlib.suppress(OSError):
        Path(injection.READY_FILE).touch()


if __name__ == "__main__":
    sys.exit(main())
