"""One request on its way: found a route, admitted, sent to an endpoint, answered.

``downstream`` makes me for each request and tells me of its body; ``upstream`` tells me of the answer. The usual case
(token known, connection idle) runs without a task. A request goes to another endpoint only while nothing of it has
been sent, or where it is a GET or HEAD on a kept-alive connection that turned out to be closed. Where its revision has
no endpoint yet, or each has as many requests as it may, it waits in the revision's queue (``loads``).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

from lightship import errors as trunk
from lightship.gateway import admin, admission, errors, heads, recipes
from lightship.gateway.core import Core
from lightship.gateway.gatekeeper import Target, Verdict
from lightship.gateway.heads import Header, RequestHead, ResponseHead
from lightship.gateway.payloads import Copy
from lightship.gateway.placement import Placement
from lightship.gateway.routes import Endpoint
from lightship.gateway.upstream import Upstream
from lightship.lib.deadline import Deadline


class Client(Protocol):
    """The connection that the request came on."""

    address: str
    forwarded: bytes
    """The end of a head for the model server, which says where the request comes from."""
    deadline: Deadline

    def write(self, data: bytes) -> None: ...

    def done(self, *, keep: bool) -> None:
        """The exchange is over; ``keep`` False closes the connection, gently."""
        ...

    def cut(self) -> None:
        """Break the connection off: the answer cannot be finished."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Exchange(Placement):
    """The life of one request."""

    # Defaults are the class's, so that a request which goes the usual way sets only what differs.
    tunnel = False
    """Whether both sides have changed to another protocol, whose bytes I pass on as they are."""
    digest = b""
    """The name of this request's head, where it came whole and may be learnt."""
    _upstream: Upstream | None = None
    _upward = b""
    _pending: list[bytes]
    _body_bytes = 0
    _trailers: Sequence[Header] = ()
    _request_sent = False
    _active = False
    _over = False
    _held: ResponseHead | None = None
    _held_body: list[bytes]
    _status = 0
    _chunked = False
    _copy: Copy | None = None

    def __init__(self, core: Core, client: Client, head: RequestHead) -> None:
        self.head = head
        self._core = core
        self._client = client
        self._table = core.table
        self._began = perf_counter()
        self._pending = []

    # ---- from the client

    def begin(self) -> None:
        """It is this request's turn."""
        self._active = True
        core, head = self._core, self.head
        refusal = admission.refusal(head, self._body_bytes, core.limits)
        if refusal is not None:
            head.keep_alive = False  # whoever sent this may have meant more than one request by it
            self._fail(refusal)
            return
        self._table = core.table
        match = self._match = self._find(core.table)
        target = Target(match.route.namespace, match.route.name) if match is not None else self._own_page()
        if target is None:
            return
        verdict = core.gatekeeper.known(head.header(b"authorization"), target)
        if verdict is None:
            core.spawn(self._review(target))
        else:
            self._judged(verdict)

    def begin_known(self, found: recipes.Found, body: bytes) -> None:
        """It is this request's turn, it is whole, and one like it was let in before."""
        self._active = self._request_complete = True
        match = self._match = found.recipe.match
        self._upward = found.upward
        if body:
            self._pending.append(body)
            self._pending_bytes = self._body_bytes = len(body)
        if match.route.log is not None:
            self.head = found.whole_head
            self._begin_copy()
        self._dispatch()

    def body(self, data: bytes) -> None:
        """A piece of the request's body, or of what follows a change of protocols."""
        if self._over:
            return
        if not self.head.upgrade:
            self._body_bytes += len(data)
            if self._active and self._body_bytes > self._core.limits.body_bytes:
                self._fail(admission.too_large(self._core.limits))
                return
        upstream = self._upstream
        if upstream is not None and upstream.writable and not self._pending and (
                self.tunnel or not self._request_complete):
            if self._copy is not None:
                self._copy.request(data)
            upstream.write(heads.chunk(data) if self.head.length is None else data)
            self._await_upstream()
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > self._core.limits.buffer_bytes or self._queued is not None:
            self._client.pause()

    def body_end(self, trailers: list[Header]) -> None:
        """The request is whole."""
        self._request_complete = True
        self._trailers = trailers
        if self._upstream is not None:
            self._flush()

    def client_lost(self) -> None:
        """Nobody waits for the answer any more."""
        if not self._over:
            self._status = self._status or 499  # as nginx counts it
            self._end()
            if self._upstream is not None:
                self._upstream.drop()

    def client_blocked(self) -> None:
        """The client does not read: read no more from the model server."""
        if self._upstream is not None:
            self._upstream.pause_reading()
        self._client.deadline.set(self._core.limits.write_seconds)

    def client_writable(self) -> None:
        if self._upstream is not None:
            self._upstream.resume_reading()
        self._await_upstream()

    def expired(self) -> None:
        """The deadline of whatever was awaited has passed."""
        if self._status:
            self._broken_off()
        elif not self._request_complete and self._upstream is not None and self._upstream.writable:
            self._fail(trunk.BadRequest("the request's body did not arrive in time"), status=408)
        else:
            assert self._match is not None
            self._fail(admission.silent(self._match.route))

    # ---- admission

    def _own_page(self) -> Target | None:
        """What the caller must be allowed to get; None where the answer is given already."""
        path = self.head.target.partition("?")[0]
        if not admin.known(path):
            self._fail(admission.no_route(self._core.table, self.head))
        elif self.head.method not in (b"GET", b"HEAD"):
            self._fail(trunk.BadRequest(f"{path} wants GET"), status=405)
        elif path in admin.OPEN:
            self._core.spawn(self._page())
        else:
            return Target("", path)
        return None

    async def _review(self, target: Target) -> None:
        verdict = await self._core.gatekeeper.review(self.head.header(b"authorization"), target)
        if not self._over:
            self._judged(verdict)

    def _judged(self, verdict: Verdict) -> None:
        if verdict.error is not None:
            self._fail(verdict.error)
        elif self._match is None:
            self._core.spawn(self._page())
        else:
            if not self._request_complete and self.head.http11 and (
                    self.head.header(b"expect").lower() == b"100-continue"):
                self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self.digest and recipes.repeats(self.head) and self._core.recipes.worth_learning(self.digest):
                self._learn()
            self._begin_copy()
            self._dispatch()

    def _learn(self) -> None:
        match, head, core = self._match, self.head, self._core
        assert match is not None and head.length is not None
        permit = core.gatekeeper.permit(head.header(b"authorization"), Target(match.route.namespace, match.route.name))
        lasting = recipes.lasting(head)
        core.recipes.learn_request(self.digest, recipes.Request(
            lasting, match, self._table, permit, heads.to_upstream(lasting, match.path, framed=False),
            head.count(b"content-length") == 1))

    def _begin_copy(self) -> None:
        match, payloads = self._match, self._core.payloads
        assert match is not None
        if match.route.log is not None and payloads is not None and not self.head.upgrade:
            self._copy = payloads.copy(self.head, match, match.route.log)

    # ---- sending

    def _read_no_more(self) -> None:
        self._client.pause()

    def _connect_to(self, endpoint: Endpoint) -> None:
        idle = self._core.pool.take(endpoint)
        if idle is not None:
            self._send(idle)
        else:
            self._core.spawn(self._connect(endpoint))

    async def _connect(self, endpoint: Endpoint) -> None:
        try:
            upstream = await self._core.pool.connect(endpoint)
        except OSError as problem:
            if not self._over:
                self._unreachable(endpoint, problem)
            return
        if self._over:
            upstream.drop()
        else:
            self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        assert self._match is not None
        self._upstream = upstream
        head = self.head
        upstream.attach(self, head.method, may_upgrade=bool(head.upgrade))
        data = (self._upward or heads.to_upstream(head, self._match.path)) + self._client.forwarded
        upstream.write(data + self._outgoing() if self._pending or head.length is None else data)
        self._client.resume()
        self._await_upstream()

    def _outgoing(self) -> bytes:
        """What of the body has come and not gone, framed; the end with it where that has come."""
        if self.head.upgrade and not self.tunnel:
            return b""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        if data and self._copy is not None:
            self._copy.request(data)
        if self.head.length is not None:
            return data
        framed = heads.chunk(data) if data else b""
        if self._request_complete and not self._request_sent:
            self._request_sent = True
            framed += heads.last_chunk(self._trailers)
        return framed

    def _flush(self) -> None:
        upstream = self._upstream
        assert upstream is not None
        if upstream.writable:
            data = self._outgoing()
            if data:
                upstream.write(data)
                self._client.resume()
        self._await_upstream()

    def upstream_writable(self) -> None:
        self._flush()

    def _await_upstream(self) -> None:
        if self._over or self._match is None or self._queued is not None:
            return
        if self.tunnel:
            self._client.deadline.set(self._core.limits.tunnel_idle_seconds)
        elif self._request_complete or self._status:
            self._client.deadline.set(self._match.route.timeout_seconds)
        else:
            self._client.deadline.set(self._core.limits.read_seconds)

    # ---- from the model server

    def response_head(self, head: ResponseHead) -> None:
        whole = head.length is not None and head.length <= self._core.limits.whole_response_bytes
        if whole and not head.bodiless:
            self._held, self._held_body = head, []
            return
        self._client.write(self._answer_head(head))

    def _answer_head(self, head: ResponseHead) -> bytes:
        self._status = head.status
        self._chunked = head.length is None and not head.bodiless and self.head.http11
        if self._copy is not None:
            self._copy.answered(head)
        return heads.to_client(head, chunked=self._chunked, keep=self._keep(head))

    def _keep(self, head: ResponseHead | None = None) -> bool:
        endless = head is not None and head.length is None and not head.bodiless and not self.head.http11
        return (self.head.keep_alive and self._request_complete and not self._core.draining and not endless
                and not self.head.upgrade)

    def response_upgraded(self, head: ResponseHead) -> None:
        """The model server speaks the other protocol from here on."""
        self._status = 101
        self.tunnel = True
        self._client.write(heads.upgraded(head, self.head.upgrade))
        self._flush()

    def response_body(self, data: bytes) -> None:
        if self._held is not None:
            self._held_body.append(data)
        elif self._status:
            if self._copy is not None:
                self._copy.response(data)
            self._client.write(heads.chunk(data) if self._chunked else data)
            self._await_upstream()

    def response_end(self, *, reusable: bool, trailers: list[Header]) -> None:
        upstream = self._upstream
        assert upstream is not None
        keep = self._keep()
        if self._held is not None:
            held, self._held = self._held, None
            head, body = self._answer_head(held), b"".join(self._held_body)
            if self._copy is not None:
                self._copy.response(body)
            self._client.write(head + body)
        elif self._chunked:
            self._client.write(heads.last_chunk(trailers))
        else:
            keep = keep and self.head.http11
        if reusable and self._request_complete:
            upstream.release()
        else:
            upstream.drop()
        self._end()
        self._client.done(keep=keep)

    def response_whole(self, answer: recipes.Answer, body: bytes) -> None:
        upstream = self._upstream
        assert upstream is not None
        keep = self._keep()
        self._status = answer.head.status
        if self._copy is not None:
            self._copy.answered(answer.head)
            self._copy.response(body)
        head = answer.downward if keep else heads.to_client(answer.head, chunked=False, keep=False)
        self._client.write(head + body)
        if self._request_complete:
            upstream.release()
        else:
            upstream.drop()
        self._end()
        self._client.done(keep=keep)

    def response_broken(self, why: str) -> None:
        upstream = self._upstream
        assert upstream is not None
        if self._status:
            self._broken_off()
            return
        nothing_answered = self._held is None
        if (nothing_answered and upstream.reused and self.head.method in (b"GET", b"HEAD")
                and self._request_complete and not self._body_bytes and not self.head.upgrade):
            # The usual race of kept-alive connections, with a method that may be sent twice.
            self._upstream, self._request_sent = None, False
            self._leave_endpoint()
            self._count_retry()
            self._leave_load()
            self._current()
            self._dispatch()
            return
        assert self._match is not None
        how = "before answering" if nothing_answered else "in the middle of its answer"
        self._fail(admission.broken(self._match.route, f"{why} {how}"))

    # ---- ending

    def _broken_off(self) -> None:
        """Part of the answer is out: all that is left is to break the connection, so that nobody takes it for whole."""
        self._end()
        if self._upstream is not None:
            self._upstream.drop()
        self._client.cut()

    async def _page(self) -> None:
        """Answer with a page of the gateway's own."""
        path, _, query = self.head.target.partition("?")
        page = await admin.page(self._core, path, query)
        if self._over:
            return
        keep = self._keep()
        body = b"" if self.head.method == b"HEAD" else page.body
        self._client.write(heads.answer(page.status, body, keep=keep, content_type=page.content_type))
        self._over = True
        self._client.done(keep=keep)

    def _fail(self, error: trunk.LightshipError, *, status: int = 0) -> None:
        """Answer with an error of the gateway's own."""
        self._status = status or errors.http_status(error)
        service = self._match.route.key if self._match is not None else ""
        body = heads.error_body(error.message, remedy=error.remedy, service=service)
        keep = self._keep()
        if self.head.method == b"HEAD":
            body = b""
        if self._active:
            self._client.write(heads.answer(self._status, body, keep=keep, extra=_EXTRA.get(self._status, ())))
        self._end()
        if self._upstream is not None:
            self._upstream.drop()
        self._client.done(keep=keep)

    def _end(self) -> None:
        """Count, and let go of what is shared."""
        self._over = True
        if self._queued is not None:
            self._stop_waiting()
        if self._pending:
            self._pending, self._pending_bytes = [], 0
        if self._endpoint is not None:
            self._leave_endpoint()
        load, self._load = self._load, None
        if load is None:
            self._core.metrics.refused.add((str(self._status),))
        else:
            now = perf_counter()
            load.answered(now, self._status, now - self._began)
        if self._copy is not None:
            self._copy.finish(self._status, self._backend.revision if self._backend is not None else "")
            self._copy = None
        if load is not None and load.waiting:
            load.release()

_EXTRA = {401: ((b"www-authenticate", b"Bearer"),), 503: ((b"retry-after", b"1"),)}
