"""Container logs: one bounded file a container's life, in the CRI format, rotated; read back as kubectl asks.

``supervisor`` feeds me what a container writes, the agent's ``logs`` reads. A line on disk is
``TIME stdout F TEXT``; a piece of a line that is too long is tagged ``P``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lightship import errors
from lightship.kube import times

FILE_LIMIT_BYTES = 10 * 1024 * 1024
"""A log file is rotated at this size, and one older file is kept."""
LINE_LIMIT_BYTES = 16 * 1024
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """What ``/log`` asks. ``since`` is a moment; ``limit_bytes`` and ``tail_lines`` are None for no limit."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


def parse_query(query: Mapping[str, str], now: datetime) -> LogQuery:
    """From the request's query. Raises ``errors.BadRequest``."""
    try:
        since = times.parse(query["sinceTime"]) if query.get("sinceTime") else None
        if query.get("sinceSeconds"):
            since = now - timedelta(seconds=int(query["sinceSeconds"]))
        return LogQuery(
            container=query.get("container", ""), follow=_flag(query, "follow"), previous=_flag(query, "previous"),
            timestamps=_flag(query, "timestamps"), tail_lines=_number(query, "tailLines"),
            limit_bytes=_number(query, "limitBytes"), since=since)
    except ValueError as error:
        raise errors.BadRequest(f"the log query is not valid: {error}") from error


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "t", "true")


def _number(query: Mapping[str, str], name: str) -> int | None:
    if not query.get(name):
        return None
    number = int(query[name])
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    return number


class ContainerLog:
    """The log of one life of one container."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self.path = path
        self._now = now
        self._partial = b""
        self._size = 0
        self._waiters: set[asyncio.Event] = set()
        self.closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Takes what the container wrote; lines get the time of now."""
        text, newline, rest = (self._partial + data).rpartition(b"\n")
        stamp = _stamp(self._now())
        head = stamp + b" stdout F "
        out = [head, text.replace(b"\n", b"\n" + head), b"\n"] if newline else []
        while len(rest) >= LINE_LIMIT_BYTES:
            out.append(stamp + b" stdout P " + rest[:LINE_LIMIT_BYTES] + b"\n")
            rest = rest[LINE_LIMIT_BYTES:]
        self._partial = rest
        if out:
            self._append(b"".join(out))

    def close(self) -> None:
        """No more comes."""
        if self.closed:
            return
        if self._partial:
            self._append(_stamp(self._now()) + b" stdout P " + self._partial + b"\n")
            self._partial = b""
        self.closed = True
        self._file.close()
        self._wake()

    def _append(self, data: bytes) -> None:
        if self._size and self._size + len(data) > FILE_LIMIT_BYTES:
            self._file.close()
            os.replace(self.path, older(self.path))
            self._file = self.path.open("ab", buffering=0)
            self._size = 0
        self._file.write(data)
        self._size += len(data)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def follow(self, position: tuple[int, int]) -> AsyncIterator[bytes]:
        """Raw lines after ``position`` (inode, offset) as they come, until the log is closed."""
        event = asyncio.Event()
        self._waiters.add(event)
        try:
            while True:
                event.clear()
                ended = self.closed
                for block, where in _blocks_after(self.path, position):
                    position = where
                    yield block
                if ended:
                    return
                await event.wait()
        finally:
            self._waiters.discard(event)


def prune(path: Path) -> None:
    """Of a container's lives, the log at ``path`` and the one before it are kept."""
    oldest = int(path.stem) - 1
    if oldest <= 0:
        return
    gone = path.with_name(f"{oldest - 1}.log")
    for file in (gone, older(gone)):
        file.unlink(missing_ok=True)


def older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _stamp(moment: datetime) -> bytes:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()


def _blocks_after(path: Path, position: tuple[int, int]) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Whole lines of the files after ``position``; a rotated file is finished before the new one is begun."""
    inode, offset = position
    for file in (older(path), path):
        try:
            stream = file.open("rb")
        except FileNotFoundError:
            continue
        with stream:
            here = os.fstat(stream.fileno()).st_ino
            if file != path and here != inode:
                continue
            at = offset if here == inode else 0
            stream.seek(at)
            while lines := stream.readlines(_READ_BYTES):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()  # it is being written; the next look sees it whole
                block = b"".join(lines)
                if not block:
                    break
                at += len(block)
                yield block, (here, at)


def tail_position(path: Path, lines: int | None) -> tuple[int, int]:
    """Where to begin so that ``lines`` lines follow (all, for None)."""
    if lines is None:
        first = older(path) if older(path).exists() else path
        return (first.stat().st_ino if first.exists() else 0), 0
    ends: list[tuple[int, int]] = []
    for block, (inode, end) in _blocks_after(path, tail_position(path, None)):
        at = end - len(block)
        for line in block.splitlines(keepends=True):
            if _is_full(line):
                ends.append((inode, at + len(line)))
            at += len(line)
        del ends[: -(lines + 1)]
    if len(ends) <= lines:
        return tail_position(path, None)
    return ends[0]


def _is_full(line: bytes) -> bool:
    return line[line.find(b" ", line.find(b" ") + 1) + 1: ][:1] == b"F"


async def read(path: Path, live: ContainerLog | None, query: LogQuery) -> AsyncIterator[bytes]:
    """The log as text. ``live`` is the open log of a container that still runs, for ``follow``."""
    left = query.limit_bytes
    async for block in _raw(path, live, query):
        text = b"".join(_render(line, query) for line in block.splitlines())
        if left is not None:
            text, left = text[:left], max(0, left - len(text))
        if text:
            yield text
        if left == 0:
            return


async def _raw(path: Path, live: ContainerLog | None, query: LogQuery) -> AsyncIterator[bytes]:
    position = tail_position(path, query.tail_lines)
    if live is not None and query.follow:
        async for block in live.follow(position):
            yield block
        return
    for block, _ in _blocks_after(path, position):
        yield block


def _render(line: bytes, query: LogQuery) -> bytes:
    stamp, _, rest = line.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    if query.since is not None and stamp < _stamp(query.since):
        return b""
    if query.timestamps:
        text = stamp + b" " + text
    return text if tag == b"P" else text + b"\n"


def last_text(path: Path, lines: int, limit_bytes: int) -> str:
    """The end of a log, for a termination message."""
    blocks = b"".join(block for block, _ in _blocks_after(path, tail_position(path, lines)))
    text = b"".join(_render(line, LogQuery()) for line in blocks.splitlines())
    return text[-limit_bytes:].decode(errors="replace").rstrip("\n")
