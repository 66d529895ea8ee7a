"""HTTP/1.1 for the model server: an asyncio Protocol on httptools.

``server`` makes one ``Connection`` a client; I parse, hold the limits and hand whole requests to a handler, which
answers through ``Request.respond`` or, piece by piece, through ``Request.stream``, now or later, once. Requests of one
connection are answered in their order. A connection that begins as HTTP/2 does is handed to another protocol.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import cast

import httptools

from lightship.lib import transports
from lightship.lib.deadline import Deadline
from lightship.modelserver.options import Limits
from lightship.modelserver.replies import CHUNKED, Response, encoded, error, phrase

LINGER_SECONDS = 2.0
"""How long a connection that was refused is read on from, so that the client can read why."""
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\n"


class ClientGone(Exception):
    """The client left, or stopped reading, before its stream's end."""


class Request:
    """One whole request; header names are lower case."""

    __slots__ = ("_answered", "_connection", "_on_gone", "body", "chunkable", "headers", "keep_alive", "method", "path",
                 "since", "wrap")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answered = False
        self._on_gone: Callable[[], None] | None = None
        self.method = ""
        self.path = ""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.keep_alive = self.chunkable = True
        self.since = 0.0
        self.wrap: Callable[[Response], Response] | None = None
        """What is to become of a good answer before it is sent."""

    @property
    def gone(self) -> bool:
        """Whether the client has left, so that no answer is wanted."""
        return self._connection.lost

    @property
    def answered(self) -> bool:
        """Whether an answer was given or begun."""
        return self._answered

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called if the client leaves before it is answered to the end."""
        self._on_gone = callback

    def left(self) -> None:
        """The client has left."""
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    def respond(self, response: Response) -> None:
        """Answer. A second answer is a programmer's error."""
        assert not self._answered, "a request is answered once"
        self._answered, self._on_gone = True, None
        if self.wrap is not None and response.status < 400:
            response = self.wrap(response)
        self._connection.answer(self, response)

    def stream(self, status: int, content_type: bytes) -> Stream:
        """Begin an answer that comes piece by piece."""
        assert not self._answered, "a request is answered once"
        self._answered = True
        return self._connection.begin(self, status, content_type)


class Stream:
    """An answer that comes piece by piece, no faster than the client takes it."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request

    async def write(self, data: bytes) -> None:
        """Send a piece, then wait until the client can take another. Raises ``ClientGone``."""
        await self._connection.write_piece(self._request, data)

    def end(self) -> None:
        """The answer is whole."""
        self._connection.end_stream(self._request)

    def abort(self) -> None:
        """The answer cannot be made whole: the client sees it cut off."""
        self._connection.abort()


class Server:
    """What all connections of a listener share: the handler, the limits, who is connected, whether it drains."""

    def __init__(self, handle: Callable[[Request], None], limits: Limits, *,
                 http2: Callable[[], asyncio.Protocol] | None = None,
                 log: Callable[[Request, int], None] | None = None) -> None:
        self.handle = handle
        self.limits = limits
        self.http2 = http2
        self.log = log
        self.connections: set[Connection] = set()
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()

    def protocol(self) -> Connection:
        """The protocol factory for ``loop.create_server``."""
        return Connection(self)

    async def drain(self) -> None:
        """Answer what is in flight, close connections as they fall silent; returns when none is left or time is up."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
        try:
            await asyncio.wait_for(self.empty.wait(), self.limits.drain_seconds)
        except TimeoutError:
            for connection in tuple(self.connections):
                connection.abort()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._deadline: Deadline
        self._queue: deque[Request] = deque()
        self._active: Request | None = None
        self._refused = False
        self._paused = False
        self._can_write: asyncio.Future[None] | None = None
        self._first = True
        self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._request = Request(self)
        self.lost = False

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._deadline = Deadline(asyncio.get_running_loop(), self._expired)
        self._deadline.set(self._limits.idle_seconds)
        self._server.connections.add(self)
        self._server.empty.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._forget()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_exception(ClientGone())
        for request in (self._active, *self._queue):
            if request is not None:
                request.left()
        self._queue.clear()

    def _forget(self) -> None:
        self._deadline.close()
        self._server.connections.discard(self)
        if not self._server.connections:
            self._server.empty.set()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._first:
            self._first = False
            if data.startswith(_HTTP2) and self._server.http2 is not None:
                self._become_http2(self._server.http2(), data)
                return
        if self._in_head:
            if self._head_bytes == 0 and self._active is None:
                self._deadline.set(self._limits.read_seconds)
            self._head_bytes += len(data)
        self._feed(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self._refuse(431, f"the request's head is larger than {self._limits.head_bytes} bytes")

    def _become_http2(self, protocol: asyncio.Protocol, data: bytes) -> None:
        self._forget()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # An offer to speak another protocol may be ignored (RFC 9110, 7.8): the request was answered as it is
                # (curl --http2 relies on that), and what follows is HTTP/1.1 still.
                self._parser = httptools.HttpRequestParser(self)
                data = data[upgrade.args[0]:]
            except httptools.HttpParserError as problem:
                self._refuse(400, f"the request is not valid HTTP/1.1: {problem}")
                return

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it until it does."""
        self._pause()
        if self._active is not None:
            self._deadline.set(self._limits.read_seconds)
        self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._resume()
        if self._active is not None:
            self._deadline.clear()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    # ---- httptools' callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        request = self._request
        length = request.headers.get(b"content-length", b"0")
        if int(length) > self._limits.body_bytes:
            self._too_large()
        elif request.headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._too_large()
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        chunks = self._chunks
        request.method = self._parser.get_method().decode()
        request.path = self._url.decode("latin-1")
        request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        request.keep_alive = self._parser.should_keep_alive()
        request.chunkable = self._parser.get_http_version() == "1.1"
        self._request = Request(self)
        self._url, self._chunks, self._body_bytes, self._head_bytes, self._in_head = b"", [], 0, 0, True
        if self._refused:
            return
        if self._server.log is not None:
            request.since = perf_counter()
        if self._active is None and not self._queue:
            self._start(request)
            return
        self._queue.append(request)
        if len(self._queue) >= self._limits.pipelined_requests:
            self._pause()

    # ---- answering

    def _start(self, request: Request) -> None:
        self._active = request
        self._deadline.clear()
        if b"content-encoding" in request.headers:
            try:
                request.body = inflated(request, self._limits.body_bytes)
            except zlib.error as problem:
                request.respond(error(400, f"the request's body cannot be decompressed: {problem}"))
                return
            except ValueError as problem:
                request.respond(error(415, str(problem)))
                return
        self._server.handle(request)

    def answer(self, request: Request, response: Response) -> None:
        """Write the answer to the active request, then start the next."""
        if self.lost:
            return
        assert request is self._active
        keep = self._keeps(request)
        self._transport.write(encoded(response, keep=keep, head_only=request.method == "HEAD"))
        self._done(request, response.status, keep)

    def begin(self, request: Request, status: int, content_type: bytes) -> Stream:
        """Write the head of an answer that comes piece by piece; ``Request.stream`` calls me."""
        if not self.lost:
            assert request is self._active
            request.keep_alive = request.keep_alive and request.chunkable
            head = phrase(status) + b"content-type: " + content_type + b"\r\ncache-control: no-cache\r\n"
            head += CHUNKED if request.chunkable else b""
            self._transport.write(head + (b"\r\n" if self._keeps(request) else b"connection: close\r\n\r\n"))
        return Stream(self, request)

    async def write_piece(self, request: Request, data: bytes) -> None:
        if self.lost:
            raise ClientGone
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if request.chunkable else data)
        if self._can_write is not None:
            await asyncio.shield(self._can_write)

    def end_stream(self, request: Request) -> None:
        if self.lost:
            return
        if request.chunkable:
            self._transport.write(b"0\r\n\r\n")
        self._done(request, 200, self._keeps(request))

    def _keeps(self, request: Request) -> bool:
        return request.keep_alive and not self._server.draining and not self._refused

    def _done(self, request: Request, status: int, keep: bool) -> None:
        if self._server.log is not None:
            self._server.log(request, status)
        self._active = None
        if not keep:
            self._refused = True
            self._transport.close()
            return
        self._deadline.set(self._limits.read_seconds if self._head_bytes else self._limits.idle_seconds)
        if self._queue:
            # Through the loop, not by recursion: a client may pipeline thousands of requests that answer at once.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._queue and self._active is None and not self.lost:
            request = self._queue.popleft()
            if len(self._queue) < self._limits.pipelined_requests:
                self._resume()
            self._start(request)

    # ---- refusing and closing

    def _too_large(self) -> None:
        self._refuse(413, f"the request's body is larger than {self._limits.body_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be read to its end, after those before it, and close."""
        if self._refused:
            return
        self._refused = True
        self._queue.clear()
        if self._active is None:
            self._transport.write(encoded(error(status, message), keep=False))
            # To close with the client's bytes unread could destroy the answer on its way: say that no more comes, and
            # read on for a while. (Where a request is active, its answer closes the connection.)
            transports.half_close(self._transport)
            self._deadline.set(LINGER_SECONDS)

    def _expired(self) -> None:
        if self._refused or self._transport.get_write_buffer_size():
            self._transport.abort()  # it goes on sending, or leaves its answer unread
        elif self._head_bytes or not self._in_head:
            self._refuse(408, f"the request did not arrive within {self._limits.read_seconds:g} s")
        else:
            self._transport.close()

    def drain(self) -> None:
        """The server is ending: what is in flight is answered, silence is short."""
        if self._active is None and not self._head_bytes:
            self._deadline.set(self._limits.drain_idle_seconds)

    def abort(self) -> None:
        self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


def inflated(request: Request, limit_bytes: int) -> bytes:
    """The body without its compression. Raises ``zlib.error`` for one that is broken or too large, ``ValueError`` for
    a compression that is not known."""
    encoding = request.headers[b"content-encoding"].lower()
    if encoding == b"identity":
        return request.body
    if encoding not in (b"gzip", b"deflate"):
        raise ValueError("only gzip and deflate are read here")
    inflate = zlib.decompressobj(wbits=47)  # either header, zlib's or gzip's
    body = inflate.decompress(request.body, limit_bytes)
    if inflate.unconsumed_tail or not inflate.eof:
        raise zlib.error(f"it is larger than {limit_bytes} bytes, or cut short")
    return body
