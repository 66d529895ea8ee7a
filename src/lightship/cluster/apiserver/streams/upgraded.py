"""A connection that has left HTTP, as bytes both ways. ``listener`` makes me; whoever upgraded reads and writes.

What nobody reads fills one bounded buffer and then stays with the client. A client that goes away while nothing is
read of it is noticed all the same, by the kernel's word that its side has closed.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Awaitable, Callable

LIMIT_UNREAD_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
"""What is read at once. Between two reads others have their turn, however small the frames in it are."""
KEEPALIVE_SECONDS = 60


class Upgraded:
    """The ``Duplex`` of one connection. ``drained`` waits until its transport takes more."""

    def __init__(self, transport: asyncio.Transport, drained: Callable[[], Awaitable[None]]) -> None:
        self._transport = transport
        self._drained = drained
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._come = asyncio.Event()
        self._paused = self._ended = False
        self._watch: select.epoll | None = None

    # What the connection calls.

    def begin(self) -> None:
        """The head of the answer is sent: from now on this may last for hours."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if sys.platform.startswith("linux"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)

    def feed(self, data: bytes) -> None:
        self._unread += data
        self._come.set()
        if len(self._unread) >= LIMIT_UNREAD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._watch_for_its_end()

    def end(self) -> None:
        """The client is gone."""
        self._ended = True
        self._come.set()
        self._unwatch()

    # What the upgraded side calls.

    async def read(self) -> bytes:
        if self._unread:
            await asyncio.sleep(0)
        while not self._unread:
            if self._ended:
                return b""
            self._come.clear()
            await self._come.wait()
        data = bytes(self._unread[:READ_BYTES])
        del self._unread[:READ_BYTES]
        if self._paused and not self._ended and len(self._unread) < LIMIT_UNREAD_BYTES:
            self._paused = False
            self._unwatch()
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self._ended or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._drained()

    def _watch_for_its_end(self) -> None:
        """While reading is paused the loop would not see an end: ask the kernel for that alone."""
        connection = self._transport.get_extra_info("socket")
        if connection is None or not hasattr(select, "epoll"):
            return
        self._watch = select.epoll()
        self._watch.register(connection.fileno(), select.EPOLLRDHUP)
        self._loop.add_reader(self._watch.fileno(), self._transport.abort)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._loop.remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None
