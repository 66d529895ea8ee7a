"""The router's HTTP client: POSTs over kept connections, whose answers are read whole or passed on as they come.

``routing`` calls me. A connection that the other side closed while it was idle is replaced without a word; anything
else that fails is told, since a model may have begun to work.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

from lightship import errors

LIMIT_IDLE_CONNECTIONS = 64
"""Connections kept to one service."""
LIMIT_BUFFERED_BYTES = 1 << 20
LIMIT_HEAD_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0

Place = tuple[str, int, bool]


class Reply:
    """An answer whose body comes when it is asked for. It must be read to its end or closed."""

    def __init__(self, status: int, content_type: bytes, wire: _Wire | None, body: bytes = b"") -> None:
        self.status = status
        self.content_type = content_type
        self._wire = wire
        self._body = body

    @property
    def good(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def streams(self) -> bool:
        """Whether it comes piece by piece: its length was not told."""
        return self._wire is not None and self._wire.chunked

    async def whole(self, limit_bytes: int) -> bytes:
        """The body. Raises ``errors.Unavailable`` and ``errors.TooLarge``."""
        if self._wire is not None:
            pieces, size = [], 0
            try:
                async for piece in self.pieces():
                    size += len(piece)
                    if size > limit_bytes:
                        raise errors.TooLarge(f"a step's answer has more than {limit_bytes} bytes")
                    pieces.append(piece)
            except BaseException:
                self.close()
                raise
            self._wire, self._body = None, b"".join(pieces)
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._wire is None:
            yield self._body
            return
        while (piece := await self._wire.read()) is not None:
            yield piece

    def close(self) -> None:
        """No more of it is wanted."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def made(status: int, body: bytes, content_type: bytes = b"application/json") -> Reply:
    """An answer of the router's own."""
    return Reply(status, content_type, None, body)


class Calls:
    """Connections to services."""

    def __init__(self, timeout_seconds: float | None = None) -> None:
        self._timeout = timeout_seconds
        self._idle: dict[Place, deque[_Wire]] = {}
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[bytes, bytes]) -> Reply:
        """Ask. Raises ``errors.Unavailable`` where no answer comes, and ``errors.DeadlineExceeded``."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise errors.InvalidInput(f'"{url}" is no URL of a service')
        place = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.scheme == "https")
        path = parts.path or "/"
        lines = [b"POST %b HTTP/1.1" % (f"{path}?{parts.query}" if parts.query else path).encode(),
                 b"host: " + parts.netloc.rpartition("@")[2].encode(), b"content-length: %d" % len(body),
                 *(name + b": " + value for name, value in headers.items())]
        request = b"\r\n".join(lines) + b"\r\n\r\n" + body
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(place, request)
        except TimeoutError as cause:
            raise errors.DeadlineExceeded(f"{url} did not answer within {self._timeout} s") from cause
        except OSError as cause:
            raise errors.Unavailable(f"{url} did not answer: {cause}") from cause

    def close(self) -> None:
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()

    async def _ask(self, place: Place, request: bytes) -> Reply:
        while True:
            wire, fresh = await self._wire(place)
            try:
                status, content_type = await wire.ask(request)
            except _Stale as stale:
                wire.close()
                if fresh or not stale.untouched:
                    raise ConnectionResetError("the connection was closed before an answer came") from stale
                continue
            except BaseException:
                wire.close()
                raise
            return Reply(status, content_type, wire)

    async def _wire(self, place: Place) -> tuple[_Wire, bool]:
        idle = self._idle.get(place)
        while idle:
            wire = idle.pop()
            if wire.open:
                return wire, False
        host, port, secure = place
        if secure and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: _Wire(self, place), host, port, ssl=self._tls if secure else None)
        except TimeoutError as cause:
            raise ConnectionError(f"no connection within {CONNECT_SECONDS:g} s") from cause
        return protocol, True

    def back(self, place: Place, wire: _Wire) -> None:
        """An answer was read to its end: the connection may serve another request."""
        idle = self._idle.setdefault(place, deque())
        if len(idle) < LIMIT_IDLE_CONNECTIONS:
            idle.append(wire)
        else:
            wire.close()


class _Stale(Exception):
    """The connection ended. ``untouched``: before a byte of the answer came."""

    def __init__(self, *, untouched: bool) -> None:
        super().__init__()
        self.untouched = untouched


class _Wire(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, calls: Calls, place: Place) -> None:
        self._calls = calls
        self._place = place
        self._transport: asyncio.Transport
        self.open = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[tuple[int, bytes]] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._buffered = self._head_bytes = 0
        self._whole = self._touched = self._reusable = self._paused = self._framed = False
        self._problem: Exception | None = None
        self.chunked = True
        self._content_type = b""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send; the answer's status and type. Raises ``_Stale``, ``OSError``."""
        self._begin()
        if not self.open:
            raise _Stale(untouched=True)
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._head

    async def read(self) -> bytes | None:
        """The next piece, None at the end. Raises ``errors.Unavailable`` where it breaks off."""
        while not self._pieces:
            if self._whole:
                self._finish()
                return None
            if self._problem is not None or not self.open:
                raise errors.Unavailable("a step's answer broke off") from self._problem
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._paused and self._buffered < LIMIT_BUFFERED_BYTES // 2 and self.open:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def _finish(self) -> None:
        if self._reusable and self.open:
            self._reusable = False
            self._calls.back(self._place, self)
        elif self.open:
            self.close()

    def _tell(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._head is not None and not self._head.done():
            self._head.set_exception(_Stale(untouched=not self._touched))
        elif not self._whole:
            # An answer without a length ends with its connection; one with a length has broken off.
            if self._ends_with_connection() and exc is None:
                self._whole = True
            else:
                self._problem = exc or ConnectionResetError("closed")
        self._tell()

    def _ends_with_connection(self) -> bool:
        return self._head is not None and self.chunked and not self._reusable and not self._framed

    def data_received(self, data: bytes) -> None:
        self._touched = True
        if self._head is None or self._whole:
            self.close()  # nobody asked
            return
        if not self._head.done():
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._problem = problem
            if not self._head.done():
                self._head.set_exception(ConnectionError(f"the answer is not valid HTTP: {problem}"))
            self.close()
        if not self._head.done() and self._head_bytes > LIMIT_HEAD_BYTES:
            self._head.set_exception(ConnectionError("the answer's head is too large"))
            self.close()
        self._tell()

    # ---- httptools' callbacks

    def on_message_begin(self) -> None:
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._content_type = value
        elif name == b"content-length":
            self.chunked, self._framed = False, True
        elif name == b"transfer-encoding":
            self._framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return  # 100 Continue; the answer follows
        self._reusable = self._parser.should_keep_alive()
        if self._head is not None and not self._head.done():
            self._head.set_result((status, self._content_type))

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > LIMIT_BUFFERED_BYTES and not self._paused and self.open:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._whole = True
