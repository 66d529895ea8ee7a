"""Pipes and terminals read and written by who needs the data, on the event loop. ``execution`` and ``output`` call me.

Nothing is read that nobody asked for: a slow reader's data stays in the kernel, and its writer waits there.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios

READ_BYTES = 64 * 1024


class Descriptor:
    """Owns one end. One reader and one writer at a time; ``close`` wakes both."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._waits: dict[str, asyncio.Future[None]] = {}
        os.set_blocking(number, False)

    @property
    def closed(self) -> bool:
        return self._number < 0

    async def read(self) -> bytes:
        """Up to ``READ_BYTES`` as they come; empty at the end, or once it is closed."""
        while not self.closed:
            try:
                return os.read(self._number, READ_BYTES)
            except BlockingIOError:
                await self._until("readable")
            except OSError as error:
                if error.errno != errno.EIO:  # which a terminal says once nobody has its other side open
                    raise
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """All of ``data``. Raises ``BrokenPipeError`` once nobody can read it."""
        view = memoryview(data)
        while view:
            if self.closed:
                raise BrokenPipeError(errno.EPIPE, "it is closed")
            try:
                view = view[os.write(self._number, view):]
            except BlockingIOError:
                await self._until("writable")
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                raise BrokenPipeError(errno.EPIPE, "the terminal has no reader") from error

    def resize(self, columns: int, rows: int) -> None:
        """For a terminal: tells its programs of a new size."""
        if not self.closed:
            fcntl.ioctl(self._number, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def duplicate(self) -> Descriptor:
        """Another end of the same: a terminal is read and written apart."""
        return Descriptor(os.dup(self._number))

    def close(self) -> None:
        if self.closed:
            return
        self._loop.remove_reader(self._number)
        self._loop.remove_writer(self._number)
        os.close(self._number)
        self._number = -1
        for wait in self._waits.values():
            if not wait.done():
                wait.set_result(None)

    async def _until(self, what: str) -> None:
        wait = self._waits[what] = self._loop.create_future()
        add, remove = (self._loop.add_reader, self._loop.remove_reader) if what == "readable" else (
            self._loop.add_writer, self._loop.remove_writer)
        number = self._number
        add(number, _wake, wait)
        try:
            await wait
        finally:
            if self._number == number:
                remove(number)
            del self._waits[what]


def _wake(wait: asyncio.Future[None]) -> None:
    if not wait.done():
        wait.set_result(None)


def pipe() -> tuple[int, int]:
    """A read and a write end that no child inherits by accident."""
    return os.pipe2(os.O_CLOEXEC)


def close_all(*numbers: int) -> None:
    """Closes descriptors; -1 stands for none."""
    for number in numbers:
        if number >= 0:
            os.close(number)
