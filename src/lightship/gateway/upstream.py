"""Connections to model servers: a Protocol that parses answers, and a bounded pool of idle ones.

``exchange`` takes a connection for one request and gives it back through the pool. ``core`` closes idle connections
whose endpoint has left the route table.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Set
from pathlib import Path
from typing import Protocol, cast

import httptools

from lightship.gateway import heads, pod_sockets
from lightship.gateway.heads import Header, ResponseHead
from lightship.gateway.options import Limits
from lightship.gateway.recipes import END, Answer, Recipes
from lightship.gateway.routes import Endpoint
from lightship.lib.deadline import Deadline

_NO_BODY = frozenset({204, 304})


class Receiver(Protocol):
    """Who is told of an answer: first its head, then pieces of its body, then its end; or that it broke off."""

    def response_head(self, head: ResponseHead) -> None: ...

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, *, reusable: bool, trailers: list[Header]) -> None: ...

    def response_whole(self, answer: Answer, body: bytes) -> None:
        """All of it at once; the connection may be used again."""
        ...

    def response_upgraded(self, head: ResponseHead) -> None: ...

    def response_broken(self, why: str) -> None: ...

    def upstream_writable(self) -> None: ...


class Upstream(asyncio.Protocol):
    """One connection to one endpoint; serves one receiver at a time."""

    def __init__(self, pool: Pool, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.reused = False
        self.writable = True
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._idle: Deadline
        self._receiver: Receiver | None = None
        self._for_head = False
        self._may_upgrade = False
        self._clear()

    def _clear(self) -> None:
        self._begun = False
        self._reason = b""
        self._headers: list[Header] = []
        self._pieces: list[bytes] = []
        self._head: ResponseHead | None = None
        self._complete = False
        self._excess = False
        self._keep_alive = False
        self._trailer_bytes = 0
        self._until_close = False
        self._tunnel = False
        self._heads = 0
        self._head_bytes = 0
        self._trailers: list[Header] = []

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def attach(self, receiver: Receiver, method: bytes, *, may_upgrade: bool) -> None:
        """Begin an exchange. The answer to a HEAD has no body whatever it declares."""
        self._receiver = receiver
        self._for_head = method == b"HEAD"
        self._may_upgrade = may_upgrade
        self._idle.clear()
        if self._begun:
            self._clear()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        if self.open:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.open:
            self._transport.resume_reading()

    def release(self) -> None:
        """The exchange is over and the connection may serve another."""
        self._receiver = None
        self.reused = True
        self._idle.set(self._pool.limits.idle_upstream_seconds)
        self._pool.put(self)

    def drop(self) -> None:
        """The exchange is over and the connection is of no further use."""
        self._receiver = None
        self._transport.abort()

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._idle = Deadline(asyncio.get_running_loop(), self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.close()
        self._pool.discard(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._head is not None and self._until_close and exc is None:
            receiver.response_end(reusable=False, trailers=[])
        else:
            receiver.response_broken("closed the connection" if exc is None else str(exc) or type(exc).__name__)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.drop()  # it speaks without being asked
            return
        if self._tunnel:
            receiver.response_body(data)
            return
        raw = b""
        if not self._begun and not self._for_head:
            at = data.find(END) + 4
            if at > 4:
                raw = data[:at]
                known = self._pool.recipes.answer(raw)
                if known is not None and known.size == len(data):
                    self._receiver = None
                    receiver.response_whole(known, data[at:])
                    return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(receiver, data[upgrade.args[0]:])
            return
        except httptools.HttpParserError as problem:
            self.drop()
            receiver.response_broken(f"sent what is not an HTTP answer: {problem}")
            return
        if self._head is None:
            self._head_bytes += len(data)
            if self._head_bytes > self._pool.limits.head_bytes:
                self.drop()
                receiver.response_broken(f"sent a head of more than {self._pool.limits.head_bytes} bytes")
            return
        if self._pieces:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = []
            receiver.response_body(body)
        if self._complete and self._receiver is receiver:
            self._receiver = None
            self._learn(raw, len(data))
            receiver.response_end(reusable=self._keep_alive and not self._excess and self.open,
                                  trailers=self._trailers)

    def _learn(self, raw: bytes, size: int) -> None:
        """Remember an answer that came whole and alone."""
        head = self._head
        if (raw and head is not None and head.length is not None and not head.bodiless and self._heads == 1
                and self._keep_alive and not self._excess and len(raw) + head.length == size):
            self._pool.recipes.learn_answer(raw, head, size)

    def _upgraded(self, receiver: Receiver, rest: bytes) -> None:
        """The model server has changed to another protocol; what follows is not HTTP."""
        if self._head is None or self._head.status != 101 or not self._may_upgrade:
            self.drop()
            receiver.response_broken("changed to another protocol without being asked")
            return
        self._tunnel = self._until_close = True
        receiver.response_upgraded(self._head)
        if rest and self._receiver is receiver:
            receiver.response_body(rest)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._receiver is not None:
            self._receiver.upstream_writable()

    # ---- httptools' callbacks

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        field = (name.lower(), value)
        if self._head is None:
            self._headers.append(field)
        else:
            self._trailer_bytes += len(name) + len(value)
            if self._trailer_bytes <= self._pool.limits.head_bytes:
                self._trailers.append(field)

    def on_headers_complete(self) -> None:
        self._heads += 1
        if self._complete:
            self._excess = True  # a second answer to one request: nobody gets it, and the connection is not trusted
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._head = ResponseHead(status, self._reason, self._headers, None, True)
            return
        length = heads.content_length(self._headers)
        chunked = heads.is_chunked(self._headers)
        bodiless = self._for_head or status in _NO_BODY
        self._until_close = length is None and not chunked and not bodiless
        self._head = ResponseHead(status, self._reason, self._headers, length, bodiless)
        if self._for_head:
            # The parser cannot know that no body follows; the connection is not used again.
            self._complete = True
        receiver = self._receiver
        if receiver is not None:
            receiver.response_head(self._head)

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._head is None:
            self._reason, self._headers = b"", []  # an interim answer such as 100: the real one follows
        elif not self._complete:
            self._complete = True
            self._keep_alive = bool(self._parser.should_keep_alive())


class Pool:
    """Idle connections by endpoint."""

    def __init__(self, limits: Limits, recipes: Recipes) -> None:
        self.limits = limits
        self.recipes = recipes
        self.pod_sockets: Path | None = None
        """Where sockets of the Pods' own network are handed out."""
        self._idle: dict[Endpoint, deque[Upstream]] = {}
        self._wanted: Set[Endpoint] | None = None

    def take(self, endpoint: Endpoint) -> Upstream | None:
        """An idle connection, the one used last."""
        idle = self._idle.get(endpoint)
        while idle:
            upstream = idle.pop()
            if upstream.open:
                return upstream
        return None

    async def connect(self, endpoint: Endpoint) -> Upstream:
        """A new connection. Raises ``OSError`` (``TimeoutError`` is one)."""
        async with asyncio.timeout(self.limits.connect_seconds):
            loop = asyncio.get_running_loop()
            made = await pod_sockets.connect(self.pod_sockets, endpoint.host, endpoint.port)
            if made is None:
                _, upstream = await loop.create_connection(
                    lambda: Upstream(self, endpoint), endpoint.host, endpoint.port)
            else:
                _, upstream = await loop.create_connection(lambda: Upstream(self, endpoint), sock=made)
        return upstream

    def put(self, upstream: Upstream) -> None:
        """Keep an idle connection, unless there are enough or its endpoint is in no route any more."""
        idle = self._idle.get(upstream.endpoint)
        if idle is None:
            idle = self._idle[upstream.endpoint] = deque()
        if len(idle) >= self.limits.idle_upstreams or (
                self._wanted is not None and upstream.endpoint not in self._wanted):
            upstream.drop()
        else:
            idle.append(upstream)

    def discard(self, upstream: Upstream) -> None:
        """A connection has ended."""
        idle = self._idle.get(upstream.endpoint)
        if idle is not None:
            if upstream in idle:
                idle.remove(upstream)
            if not idle:
                del self._idle[upstream.endpoint]

    def keep(self, endpoints: Set[Endpoint]) -> None:
        """Close idle connections to all other endpoints: a model server that drains waits for that."""
        self._wanted = endpoints
        for endpoint in [endpoint for endpoint in self._idle if endpoint not in endpoints]:
            for upstream in self._idle.pop(endpoint):
                upstream.drop()

    def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        self.keep(frozenset())
