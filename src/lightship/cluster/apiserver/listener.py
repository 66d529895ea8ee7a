"""The TLS listener: HTTP/1.1 on httptools and the loop's own streams.

``app`` starts me with the API server's ``handle``. One connection serves one request at a time, in order; a watch or
a followed log is sent in chunks and waits for a slow client; a client that goes away cancels its request. Who has not
shown who he is gets seconds where others get minutes, and gives way first when all places are taken.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools

from lightship import errors
from lightship.client.transport import Request, Response, User
from lightship.cluster.apiserver import arrivals, statuses
from lightship.cluster.apiserver.access import certificates, impersonation
from lightship.cluster.apiserver.bodies import LIMIT_BODY_BYTES
from lightship.cluster.apiserver.streams.upgraded import Upgraded

LIMIT_HEADER_BYTES = 64 * 1024
LIMIT_CONNECTIONS = 4096
LIMIT_PIPELINED_REQUESTS = 16
LIMIT_WRITE_BUFFER_BYTES = 256 * 1024
WRITE_BYTES = 256 * 1024
IDLE_SECONDS = 600.0
UPGRADED_IDLE_SECONDS = 4 * 3600.0
"""As Kubernetes': an exec or a forwarded port over which nothing went for so long is hung up."""
ARRIVAL_SECONDS = 60.0
"""How long a request may take to arrive, so that a client that drips bytes holds nothing for long."""
STRANGER_SECONDS = 10.0
"""How long a client that has not shown who it is may take for a request's head, its first or the next."""
SWEEP_SECONDS = 5.0
DRAIN_SECONDS = 5.0
LINGER_SECONDS = 2.0

Handle = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger(__name__)
_KNOWN = {spelt.encode(): name for name in (
    "accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent")
    for spelt in (name, name.title())}
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen. Port 0 is any free one. ``bound`` is a socket that listens already, in place of both."""

    host: str = "127.0.0.1"
    port: int = 0
    bound: socket.socket | None = None


def tls(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """A server context. Clients may show certificates of the authority ``clients``, but need not.

    Raises ``errors.StateError`` for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as e:
        raise errors.StateError(f"could not use the certificate {certificate} with {key}: {e}",
                                remedy=f"Remove {certificate.parent} to have them made again") from e
    return context


class Listener:
    """Start, then stop. ``port`` is the port that it got."""

    def __init__(self, handle: Handle, address: Address, context: ssl.SSLContext | None) -> None:
        self.handle = handle
        self.draining = False
        self.connections: set[Connection] = set()
        self.door = arrivals.Door(context, lambda: Connection(self), self.has_room)
        self._address = address
        self._sweeper: asyncio.TimerHandle | None = None
        self.port = address.port

    async def start(self) -> None:
        """Raises ``errors.Unavailable`` when the port is taken or may not be used."""
        address = self._address
        try:
            self.port = self.door.open(address.host, address.port, address.bound)
        except OSError as e:
            raise errors.Unavailable(
                f"could not listen on {address.host}:{address.port}: {e.strerror or e}",
                remedy="Another program uses that port: stop it, or choose another port") from e
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def has_room(self) -> bool:
        """Whether one more may come; when all places are taken, those that wait for their clients longest go."""
        if self.draining:
            return False
        held = len(self.connections) + len(self.door.arriving)
        if held < LIMIT_CONNECTIONS:
            return True
        leaving = arrivals.giving_way([*self.door.arriving, *self.connections], LIMIT_CONNECTIONS)
        _log.warning("connections gave way to new ones" if leaving else "a connection was refused",
                     extra={"connections": held, "ended": len(leaving)})
        for one in leaving:
            one.abort()
        self.door.arriving.difference_update(leaving)
        self.connections.difference_update(leaving)
        return bool(leaving)

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Take no more connections, end the streams, let requests in flight finish, close what is left."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.door.close()
        for connection in list(self.connections):
            connection.drain()
        running = [c.task for c in self.connections if c.task is not None]
        if running:
            await asyncio.wait(running, timeout=drain_seconds)
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self.connections):
            if connection.is_overdue(loop.time()):
                connection.abort()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[tuple[Request, bool, bool]] = deque()
        """Requests, whether the connection is kept after each, and whether its client knows chunks (HTTP/1.1)."""
        self._writable: asyncio.Future[None] | None = None
        self._upgraded: Upgraded | None = None
        self._streaming = self._closing = self._refused = False
        self._arriving_since = 0.0
        self.task: asyncio.Task[None] | None = None
        self.proven = False
        self._user: User | None = None
        self._stuck_since = 0.0
        self.last_seen = self._rested = self._loop.time()
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=LIMIT_WRITE_BUFFER_BYTES)
        if self._listener.draining:
            self._transport.abort()
            return
        self._listener.connections.add(self)
        self._user = certificates.user_of(transport.get_extra_info("peercert"))
        self.proven = self._user is not None

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.connections.discard(self)
        self._transport = None
        self._queue.clear()
        if self._upgraded is not None:
            self._upgraded.end()
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self.last_seen = self._loop.time()
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._leave_http(data[e.args[0]:])
        except httptools.HttpParserError as e:
            if not self._refused:
                self._refuse(errors.BadRequest(f"this is not an HTTP request: {e}"))

    def _leave_http(self, rest: bytes) -> None:
        """A request asks to go on as something else, and what follows it is not HTTP, whatever the answer."""
        if self._transport is None:
            return
        self._upgraded = Upgraded(self._transport, self._drained)
        if rest:
            self._upgraded.feed(rest)

    async def _drained(self) -> None:
        self.last_seen = self._loop.time()
        if self._writable is not None:
            await asyncio.shield(self._writable)  # others may wait for it too, and one who gives up must not end them

    def is_overdue(self, now: float) -> bool:
        """Whether it has been idle, or its request or a stranger's answer on the way, for too long."""
        if self._arriving_since and now - self._arriving_since > ARRIVAL_SECONDS:
            return True
        if not self.proven:
            if self.waiting_since and not self._body_bytes and now - self._rested > STRANGER_SECONDS:
                return True
            if self._writable is not None and now - self._stuck_since > ARRIVAL_SECONDS:
                return True
        limit = UPGRADED_IDLE_SECONDS if self._upgraded is not None else IDLE_SECONDS
        return (self.task is None or self._upgraded is not None) and now - self.last_seen > limit

    @property
    def waiting_since(self) -> float:
        """When it began to wait for its client's next request; 0 while one is answered."""
        return self._rested if self.task is None else 0.0

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._stuck_since = self._loop.time()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._arriving_since = self.last_seen
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        key, text = _KNOWN.get(name) or name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            between = impersonation.SEPARATOR if key.startswith(impersonation.PREFIX) else ", "
            text = f"{self._headers[key]}{between}{text}"
        self._headers[key] = text

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > LIMIT_HEADER_BYTES and not self._refused:
            self._refuse(errors.TooLarge(f"a request's line and headers may have {LIMIT_HEADER_BYTES} bytes"))

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > LIMIT_BODY_BYTES:
            self._refuse(errors.TooLarge(f"the request body has {length} bytes, the limit is {LIMIT_BODY_BYTES}"))
        elif "expect" in self._headers and self._headers["expect"].lower() == "100-continue" and (
                self._transport is not None and self.task is None):  # not into the midst of an earlier answer
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > LIMIT_BODY_BYTES:
            if not self._refused:
                self._refuse(errors.TooLarge(f"the limit of a request body is {LIMIT_BODY_BYTES} bytes"))
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._arriving_since = 0.0
        if self._refused:
            return
        target = self._url.decode("utf-8", errors="replace")
        if not target.startswith("/"):
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(method=self._parser.get_method().decode("latin-1"), path=path, query=query.partition("#")[0],
                          headers=self._headers, body=body, user=self._user)
        keep_alive = self._parser.should_keep_alive()
        # HTTP/1.0 keeps a connection alive only if a header says so: most requests need no look at the version.
        chunked = (keep_alive and "connection" not in self._headers) or self._parser.get_http_version() != "1.0"
        self._queue.append((request, keep_alive, chunked))
        self._begin()
        if len(self._queue) >= LIMIT_PIPELINED_REQUESTS and self._transport is not None:
            self._transport.pause_reading()
        if self.task is None:
            self.task = self._loop.create_task(self._serve())

    # Answering.

    async def _serve(self) -> None:
        """Answer what is queued, in order."""
        try:
            while self._queue and not self._closing:
                request, keep_alive, chunked = self._queue.popleft()
                if len(self._queue) == LIMIT_PIPELINED_REQUESTS - 1 and self._transport is not None:
                    self._transport.resume_reading()
                keep_alive = keep_alive and not (self._listener.draining or self._refused or self._upgraded)
                response = await self._listener.handle(request)
                if not self.proven:
                    self.proven = response.upgrade is not None or (
                        "authorization" in request.headers and response.status != HTTPStatus.UNAUTHORIZED)
                if response.upgrade is not None:
                    await self._upgrade(response)
                elif isinstance(response.body, bytes):
                    body = response.body if request.method != "HEAD" else b""
                    self._whole(response, body[:WRITE_BYTES], keep_alive, len(body))
                    await self._rest(body)
                else:
                    await self._stream(response, response.body, keep_alive and chunked, chunked)
                    keep_alive = keep_alive and chunked
                if not keep_alive:
                    self._close()
        finally:
            self.task = None
            self.last_seen = self._rested = self._loop.time()

    def _whole(self, response: Response, body: bytes, keep_alive: bool, size: int | None = None) -> None:
        """Send the head and the body, or as much of it as is given; ``size`` is that of the whole."""
        if self._transport is not None:
            length = f"content-length: {len(body) if size is None else size}"
            self._transport.write(_head(response, length, keep_alive) + body)

    async def _rest(self, body: bytes) -> None:
        """The rest of a long body, piece by piece: no ciphertext of its size, and the client can read meanwhile."""
        if self._writable is not None:
            await self._writable
        view = memoryview(body)
        for start in range(WRITE_BYTES, len(body), WRITE_BYTES):
            if self._transport is None:
                return
            self._transport.write(view[start:start + WRITE_BYTES])
            if self._writable is not None:
                await self._writable

    async def _upgrade(self, response: Response) -> None:
        """Send the head and hand the connection over; it does not come back to HTTP."""
        assert response.upgrade is not None
        if self._transport is None or self._upgraded is None:
            self._close()
            return
        self._streaming = True
        self._transport.write(_head(response, "", keep_alive=True))
        self._upgraded.begin()
        try:
            await response.upgrade(self._upgraded)
        except asyncio.CancelledError:
            if not self._listener.draining:
                raise
        except ConnectionError as e:
            _log.debug("an upgraded connection broke", extra={"cause": str(e)})
        except Exception as e:
            _log.error("an upgraded connection failed", exc_info=e)
        finally:
            self._streaming = False
            self._close()

    async def _stream(self, response: Response, body: AsyncIterator[bytes], keep_alive: bool, chunked: bool) -> None:
        """Send chunks as they come. A failure in the middle cuts the connection, so that the client notices."""
        self._streaming = True
        last = b"0\r\n\r\n" if chunked else b""  # to HTTP/1.0 a body lasts until the connection is closed
        try:
            if self._transport is not None:
                self._transport.write(_head(response, "transfer-encoding: chunked" if chunked else "", keep_alive))
            async for chunk in body:
                if self._transport is None:
                    return
                if chunk:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                if self._writable is not None:
                    await self._writable
            if self._transport is not None:
                self._transport.write(last)
        except asyncio.CancelledError:
            if not self._listener.draining:
                raise
            if self._transport is not None:
                self._transport.write(last)
            self._close()
        except Exception as e:
            _log.error("a stream failed", exc_info=e)
            self.abort()
        finally:
            self._streaming = False
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    def _refuse(self, error: errors.LightshipError) -> None:
        """Answer a request that could not be read, after those before it, and hang up."""
        self._refused = True
        _log.info("a request was refused", extra={"error": str(error)})
        if self.task is not None:
            self.task.add_done_callback(lambda task: self._refuse_now(error))
        else:
            self._refuse_now(error)

    def _refuse_now(self, error: errors.LightshipError) -> None:
        response = statuses.response_of(error)
        assert isinstance(response.body, bytes)
        self._whole(response, response.body, keep_alive=False)
        self._closing = True
        if self._transport is not None:
            # What the client is still sending must be read, or the kernel resets the connection and the answer is lost.
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._loop.call_later(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def drain(self) -> None:
        """Called when the listener stops: end a stream, hang up an idle connection, let a request finish."""
        if self.task is None:
            self._close()
        elif self._streaming:
            self.task.cancel()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()


def _head(response: Response, length: str, keep_alive: bool) -> bytes:
    if length:
        length += "\r\n"
    headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    connection = "" if keep_alive else "connection: close\r\n"
    reason = _REASONS.get(response.status, "")
    return f"HTTP/1.1 {response.status} {reason}\r\n{headers}{length}{connection}\r\n".encode("latin-1")
