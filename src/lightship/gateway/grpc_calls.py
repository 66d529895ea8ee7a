"""One call of gRPC, or any other request of HTTP/2: found a route, admitted, passed on both ways, piece by piece.

``grpc_clients`` makes me for each stream that a client opens. What I have in common with requests of HTTP/1.1 is in
``placement``; the model server is spoken to in HTTP/2 with prior knowledge. A call that fails here is answered with
gRPC's status, other requests with the body that every failure has.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from urllib.parse import quote

from lightship import errors as trunk
from lightship.gateway import admission, errors, heads
from lightship.gateway.core import Core
from lightship.gateway.gatekeeper import Target, Verdict
from lightship.gateway.h2_link import Field, Link
from lightship.gateway.heads import RequestHead
from lightship.gateway.placement import Placement
from lightship.gateway.routes import Endpoint
from lightship.lib import grpc
from lightship.lib import http2_wire as wire
from lightship.lib.deadline import Deadline


class Call(Placement):
    """The life of one stream: the client's on one connection, the model server's on another."""

    def __init__(self, core: Core, link: Link, number: int, address: str, port: int) -> None:
        self._core = core
        self._client = link
        self._number = number
        self._address = address
        self.port = port
        self._table = core.table
        self._began = perf_counter()
        self._pending: list[bytes] = []
        self._trailers: list[Field] | None = None
        self._upstream: Link | None = None
        self._up_number = 0
        self._answering = False
        self._status = 0
        self._headed = self._over = False
        self._unread = self._untaken = 0
        self._deadline = Deadline(asyncio.get_running_loop(), self._expired)

    # ---- from the client

    def fields(self, fields: list[Field], *, ended: bool) -> None:
        if self._over:
            return
        if self._headed:
            self._trailers, self._request_complete = fields, True
            self._send_on()
            return
        self._headed, self._request_complete = True, ended
        head = request_head(fields)
        if head is None:
            self.head = RequestHead(b"", "", [], None, True, True)
            self._fail(trunk.BadRequest("the request's head is malformed"))
            return
        self.head = head
        match = self._match = self._find(self._table)
        if match is None:
            self._fail(admission.no_route(self._table, head))
            return
        target = Target(match.route.namespace, match.route.name)
        self._deadline.set(match.route.timeout_seconds)
        verdict = self._core.gatekeeper.known(head.header(b"authorization"), target)
        if verdict is None:
            self._core.spawn(self._review(target))
        else:
            self._judged(verdict)

    def data(self, data: bytes, *, ended: bool) -> None:
        if self._over:
            return
        self._request_complete = ended
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._send_on()

    def gone(self, code: int, why: str) -> None:
        """The client left."""
        if not self._over:
            self._status = 499
            self._drop_upstream()
            self._end()

    def writable(self) -> None:
        """The client has taken all there was: the model server may send more."""
        if self._upstream is not None:
            self._upstream.consumed(self._up_number, self._unread)
            self._unread = 0

    # ---- admission

    async def _review(self, target: Target) -> None:
        verdict = await self._core.gatekeeper.review(self.head.header(b"authorization"), target)
        if not self._over:
            self._judged(verdict)

    def _judged(self, verdict: Verdict) -> None:
        if verdict.error is not None:
            self._fail(verdict.error)
        else:
            self._dispatch()

    def _read_no_more(self) -> None:
        return  # the client's window is given back only for what has gone on

    # ---- to the model server

    def _connect_to(self, endpoint: Endpoint) -> None:
        self._core.spawn(self._connect(endpoint))

    async def _connect(self, endpoint: Endpoint) -> None:
        try:
            link = await self._core.links.take(endpoint)
        except OSError as problem:
            if not self._over:
                self._unreachable(endpoint, problem)
            return
        if self._over:
            return
        assert self._match is not None
        self._upstream = link
        whole = self._request_complete and not self._pending and self._trailers is None
        fields = to_upstream(self.head, self._match.path, self._address)
        self._up_number = link.open(_Answer(self), fields, ended=whole)
        if not whole:
            self._send_on()

    def _send_on(self) -> None:
        """Pass on what has come."""
        upstream = self._upstream
        if upstream is None:
            return
        self._await_answer()
        pending, self._pending, size, self._pending_bytes = self._pending, [], self._pending_bytes, 0
        ended = self._request_complete and self._trailers is None
        taken = (not pending and not ended) or upstream.send_data(self._up_number, b"".join(pending), ended=ended)
        if self._trailers is not None:
            kept = [field for field in self._trailers if _plain(field)]
            upstream.send_fields(self._up_number, kept, ended=True)
        if taken:
            self._client.consumed(self._number, size)
        else:
            self._untaken += size

    def upstream_writable(self) -> None:
        self._client.consumed(self._number, self._untaken)
        self._untaken = 0

    def _await_answer(self) -> None:
        assert self._match is not None
        self._deadline.set(self._match.route.timeout_seconds)

    # ---- from the model server

    def answer_fields(self, fields: list[Field], *, ended: bool) -> None:
        if self._over:
            return
        self._await_answer()
        if not self._answering:
            status = next((value for name, value in fields if name == b":status"), b"")
            if not status.isdigit():
                self.answer_gone(wire.PROTOCOL_ERROR, "sent an answer without a status")
                return
            self._answering = status[:1] != b"1"
            self._status = int(status)
        self._client.send_fields(self._number, [field for field in fields if field[0] not in _NOT_TO_CLIENT],
                                 ended=ended)
        if ended:
            self._finish()

    def answer_data(self, data: bytes, *, ended: bool) -> None:
        if self._over:
            return
        self._await_answer()
        if self._client.send_data(self._number, data, ended=ended):
            assert self._upstream is not None
            self._upstream.consumed(self._up_number, len(data))
        else:
            self._unread += len(data)
        if ended:
            self._finish()

    def answer_gone(self, code: int, why: str) -> None:
        if self._over:
            return
        self._upstream = None
        if self._answering:
            self._client.reset(self._number, wire.INTERNAL_ERROR)
            self._end()
            return
        assert self._match is not None
        self._fail(admission.broken(self._match.route, f"{why} before answering"))

    # ---- ending

    def _expired(self) -> None:
        if self._over or self._queued is not None:
            return
        assert self._match is not None
        if self._answering:
            self._client.reset(self._number, wire.CANCEL)
            self._drop_upstream()
            self._end()
        else:
            self._fail(admission.silent(self._match.route))

    def _fail(self, error: trunk.LightshipError, *, status: int = 0) -> None:
        """Answer with an error of the gateway's own."""
        self._status = status or errors.http_status(error)
        self._drop_upstream()
        if self.head.header(b"content-type").startswith(b"application/grpc"):
            text = f"{error.message}. {error.remedy}" if error.remedy else error.message
            # 502 is a connection that failed, which gRPC's clients know as UNAVAILABLE.
            code = grpc.Code.UNAVAILABLE if self._status == 502 else grpc.code_of(error)
            fields = [(b":status", b"200"), (b"content-type", b"application/grpc"),
                      (b"grpc-status", b"%d" % code), (b"grpc-message", quote(text, safe=" ").encode())]
            self._client.send_fields(self._number, fields, ended=True)
        else:
            service = self._match.route.key if self._match is not None else ""
            body = heads.error_body(error.message, remedy=error.remedy, service=service)
            self._client.send_fields(self._number, [
                (b":status", b"%d" % self._status), (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body))], ended=False)
            self._client.send_data(self._number, body, ended=True)
        if not self._request_complete:
            self._client.reset(self._number, wire.NO_ERROR)
        self._end()

    def _finish(self) -> None:
        """The answer is whole; a request that is not will not be read to its end."""
        if not self._request_complete:
            self._drop_upstream()
        self._end()

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.reset(self._up_number, wire.CANCEL)

    def _end(self) -> None:
        self._over = True
        self._deadline.close()
        self._stop_waiting()
        self._pending, self._pending_bytes = [], 0
        self._leave_endpoint()
        load, self._load = self._load, None
        if load is None:
            self._core.metrics.refused.add((str(self._status),))
            return
        now = perf_counter()
        load.answered(now, self._status, now - self._began)
        if load.waiting:
            load.release()


class _Answer:
    """The model server's side of a call, as its connection sees it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def fields(self, fields: list[Field], *, ended: bool) -> None:
        self._call.answer_fields(fields, ended=ended)

    def data(self, data: bytes, *, ended: bool) -> None:
        self._call.answer_data(data, ended=ended)

    def gone(self, code: int, why: str) -> None:
        self._call.answer_gone(code, why)

    def writable(self) -> None:
        self._call.upstream_writable()


_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_A_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NOT_TO_CLIENT = _OF_A_CONNECTION
_NOT_UP = _OF_A_CONNECTION | {b"host", b"authorization", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
                              b"x-forwarded-prefix", b"forwarded", b"cookie"}


def request_head(fields: list[Field]) -> RequestHead | None:
    """The head of a request as one of HTTP/1.1 would have it; None for one that is malformed (RFC 9113, 8.1 to 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = []
    for name, value in fields:
        if name.startswith(b":"):
            if headers or name in pseudo or name not in _PSEUDO:
                return None
            pseudo[name] = value
        elif name in _OF_A_CONNECTION or not _plain((name, value)):
            return None
        else:
            headers.append((name, value))
    path = pseudo.get(b":path", b"")
    if not {b":method", b":scheme", b":path"} <= pseudo.keys() or not path.startswith(b"/") or any(
            octet <= 32 or octet >= 127 for octet in path):
        return None
    authority = pseudo.get(b":authority")
    if authority is not None:
        headers = [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    return RequestHead(pseudo[b":method"], path.decode(), headers, None, True, True)


def to_upstream(head: RequestHead, path: str, address: str) -> list[Field]:
    """The fields that the model server gets."""
    host = head.header(b"host")
    return [(b":method", head.method), (b":scheme", b"http"), (b":path", path.encode("latin-1")),
            (b":authority", host), *(field for field in head.headers if field[0] not in _NOT_UP),
            (b"x-forwarded-for", address.encode()), (b"x-forwarded-proto", b"http"), (b"x-forwarded-host", host)]


def _plain(field: Field) -> bool:
    """Whether a field has a lower-case name and a value of one line."""
    name, value = field
    return bool(name) and name == name.lower() and not any(
        octet <= 32 or octet >= 127 or octet == 58 for octet in name) and not any(
        octet in (0, 10, 13) for octet in value)
