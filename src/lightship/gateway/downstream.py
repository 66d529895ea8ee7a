"""Connections from clients: a Protocol that parses requests and has them answered in their order.

``server`` makes one for each client; I make an ``exchange`` for each request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from lightship.gateway import heads
from lightship.gateway.core import Connection, Core
from lightship.gateway.exchange import Exchange
from lightship.gateway.grpc_clients import Client
from lightship.gateway.heads import Header, RequestHead
from lightship.gateway.recipes import END, LIMIT_HEAD_BYTES, Found
from lightship.lib import http2_wire as wire
from lightship.lib.deadline import Deadline

LINGER_SECONDS = 2.0
"""How long a connection that was answered early goes on reading, so that the client can read the answer."""


class Downstream(asyncio.Protocol):
    """One client."""

    address: str
    forwarded: bytes
    deadline: Deadline

    def __init__(self, core: Core, all: set[Connection], port: int = 0) -> None:
        self._core = core
        self._all = all
        self._port = port
        self._new = True
        self._known: Found | None = None
        self._opening = b""
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._active: Exchange | None = None
        self._reading: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._closing = False
        self._paused = False
        self._lost = False
        self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._headers: list[Header] = []
        self._trailers: list[Header] = []
        self._upgrading: Exchange | None = None
        self._raw: Exchange | None = None

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        self.forwarded = heads.forwarded_for(self.address)
        self.deadline = Deadline(asyncio.get_running_loop(), self._expired)
        self._all.add(self)
        self._core.count_connections(len(self._all))
        if len(self._all) > self._core.limits.connections:
            self._refuse(503, f"more than {self._core.limits.connections} clients are connected")
            return
        self.deadline.set(self._core.limits.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._closing = True
        self.deadline.close()
        self._all.discard(self)
        self._core.count_connections(len(self._all))
        active, self._active, self._reading = self._active, None, None
        self._raw = self._upgrading = None
        self._queue.clear()
        if active is not None:
            active.client_lost()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._raw is not None:
            self._raw.body(data)
            return
        if self._new:
            data = self._opening + data
            if wire.PREFACE.startswith(data) and len(data) < len(wire.PREFACE):
                self._opening = data
                return
            self._new = False
            if data.startswith(wire.PREFACE):
                self._speak_http2(data)
                return
        digest, at, size = b"", 0, len(data)
        if self._in_head and not self._head_bytes and self._active is None and not self._queue:
            known = self._known
            if known is None or not data.startswith(known.raw):
                known = None
                at = data.find(END) + 4
                if 4 < at <= LIMIT_HEAD_BYTES and data[0] > 32 and not self._port:
                    digest, known = self._core.recipes.find(data[:at])
            if known is not None and known.size == size and self._go_the_usual_way(known, data):
                return
        if self._in_head:
            if self._head_bytes == 0 and self._active is None:
                self.deadline.set(self._core.limits.read_seconds)
            self._head_bytes += len(data)
        while data and not self._closing:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0]:]
                if self._upgrading is not None:
                    # What follows belongs to the exchange: it is passed on, or the connection ends with it.
                    self._raw, self._upgrading = self._upgrading, None
                    if data:
                        self._raw.body(data)
                    break
                # An offer to speak another protocol may be ignored; what follows is HTTP/1.1 still.
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as problem:
                self._refuse(400, f"the request is not valid HTTP/1.1: {problem}")
                return
        if self._in_head and self._head_bytes > self._core.limits.head_bytes:
            self._refuse(431, f"the request's head is larger than {self._core.limits.head_bytes} bytes")
        if digest and len(self._queue) == 1 and self._reading is None and self._in_head and (
                at + (self._queue[0].head.length or 0) == size):
            self._queue[0].digest = digest
        # Only now, so that a request which came whole is known to be whole when it begins.
        self._next()

    def _go_the_usual_way(self, found: Found, data: bytes) -> bool:
        """Begin a request that is whole and like one before, if what let that one in still holds."""
        core, recipe = self._core, found.recipe
        if recipe.table is not core.table or not core.gatekeeper.holds(recipe.permit):
            self._known = None
            return False
        self._known = found
        exchange = self._active = Exchange(core, self, recipe.head)
        exchange.begin_known(found, data[len(found.raw):])
        return True

    def eof_received(self) -> bool:
        # As other proxies do, I take a client that hangs up for gone, so that the model need not work for nobody; one
        # that means only to say no more cannot be told from it.
        return False

    def pause_writing(self) -> None:
        if self._active is not None:
            self._active.client_blocked()

    def resume_writing(self) -> None:
        if self._active is not None:
            self._active.client_writable()

    # ---- httptools' callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._headers.append((name.lower(), value))
            return
        # What comes after a body is no part of the next request's head.
        self._trailers.append((name.lower(), value))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._core.limits.head_bytes:
            self._refuse(431, f"the request's trailers are larger than {self._core.limits.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._closing:
            return
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refuse(505, f"HTTP/{version} is not spoken here")
            return
        length = None if heads.is_chunked(headers) else heads.content_length(headers) or 0
        head = RequestHead(parser.get_method(), self._url.decode("latin-1"), headers, length,
                           version == "1.1", bool(parser.should_keep_alive()))
        if parser.should_upgrade():
            head.upgrade = heads.upgrade_of(head)
        self._url, self._headers = b"", []
        exchange = self._reading = Exchange(self._core, self, head)
        if self._port:
            exchange.port = self._port
        if head.upgrade:
            self._upgrading = exchange
        if length is not None and length > self._core.limits.body_bytes:
            self._refuse(413, f"the request's body is larger than {self._core.limits.body_bytes} bytes")
        else:
            self._queue.append(exchange)
            if len(self._queue) >= self._core.limits.pipelined_requests:
                self.pause()

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        exchange, self._reading = self._reading, None
        if exchange is not None and not self._closing:
            trailers, self._trailers, self._head_bytes = self._trailers, [], 0
            exchange.body_end(trailers)

    # ---- what exchanges ask

    def write(self, data: bytes) -> None:
        if not self._lost:
            self._transport.write(data)

    def done(self, *, keep: bool) -> None:
        """The active exchange has been answered."""
        self._active = None
        if self._lost:
            return
        if not keep or self._closing or self._core.draining:
            self._linger()
            return
        self.resume()
        limits = self._core.limits
        self.deadline.set(limits.read_seconds if self._head_bytes else limits.idle_seconds)
        if self._queue:
            # Through the loop, not by recursion: a client may pipeline many requests that are answered at once.
            asyncio.get_running_loop().call_soon(self._next)

    def cut(self) -> None:
        self._active = None
        self._close()

    def pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # ---- what the server asks

    def drain(self) -> None:
        """The gateway is ending: what is in flight is answered, silence is short."""
        if self._active is None and not self._head_bytes:
            self.deadline.set(self._core.limits.drain_idle_seconds)

    def abort(self) -> None:
        self._transport.abort()

    # ---- inside

    def _speak_http2(self, data: bytes) -> None:
        """Hand the connection on."""
        self._closing = self._lost = True
        self.deadline.close()
        client = Client(self._core, self._all, self.address, self._port)
        self._all.discard(self)
        self._core.count_connections(len(self._all))
        self._transport.set_protocol(client)
        client.connection_made(self._transport)
        client.data_received(data)

    def _next(self) -> None:
        if self._queue and self._active is None and not self._closing:
            exchange = self._active = self._queue.popleft()
            self.deadline.clear()
            exchange.begin()

    def _expired(self) -> None:
        if self._closing:
            self._transport.abort()
        elif self._active is not None:
            self._active.expired()
        elif self._head_bytes:
            self._refuse(408, f"the request's head did not arrive within {self._core.limits.read_seconds:g} s")
        elif self._transport.get_write_buffer_size():
            self._transport.abort()  # it leaves its answer unread
        else:
            self._close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be read to its end, after those before it, and close."""
        if self._closing:
            return
        self._closing = True
        self._reading = None
        self._queue.clear()
        self._core.metrics.refused.add((str(status),))
        if self._active is None:
            self._transport.write(heads.answer(status, heads.error_body(message), keep=False))
            self._linger()

    def _linger(self) -> None:
        """Say that no more comes, and read on for a while: closing at once could destroy the answer on its way."""
        self._closing = True
        self._queue.clear()
        self._reading = None
        self.resume()
        if self._transport.is_closing():
            return
        if self._in_head and not self._head_bytes:
            self._close()
            return
        self._transport.write_eof()
        unread = self._transport.get_write_buffer_size()
        self.deadline.set(self._core.limits.write_seconds if unread else LINGER_SECONDS)

    def _close(self) -> None:
        """Close once what was written is out, but do not wait for that for ever."""
        self._closing = True
        self._transport.close()
        if not self._lost:
            self.deadline.set(self._core.limits.write_seconds)
