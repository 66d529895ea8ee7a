"""One request on its way: found a route, admitted, sent to an endpoint, answered.

``downstream`` makes me for each request and tells me of its body; ``upstream`` tells me of the answer. The usual case
(token known, connection idle) runs without a task. A request goes to another endpoint only while nothing of it has
been sent, or where it is a GET or HEAD on a kept-alive connection that turned out to be closed.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Protocol

from lightship import errors as trunk
from lightship.gateway import admin, errors, heads
from lightship.gateway.core import Core
from lightship.gateway.gatekeeper import Target, Verdict
from lightship.gateway.heads import RequestHead, ResponseHead
from lightship.gateway.routes import Backend, Endpoint, Match
from lightship.gateway.upstream import Upstream
from lightship.lib.deadline import Deadline


class Client(Protocol):
    """The connection that the request came on."""

    address: str
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


class Exchange:
    """The life of one request."""

    def __init__(self, core: Core, client: Client, head: RequestHead) -> None:
        self.head = head
        self._core = core
        self._client = client
        self._match: Match | None = None
        self._backend: Backend | None = None
        self._upstream: Upstream | None = None
        self._endpoint: Endpoint | None = None
        self._tried: list[Endpoint] = []
        self._began = perf_counter()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._body_bytes = 0
        self._request_complete = False
        self._active = False
        self._over = False
        self._held: ResponseHead | None = None
        self._held_body: list[bytes] = []
        self._status = 0
        self._chunked = False
        self._holding: asyncio.TimerHandle | None = None

    # ---- from the client

    def begin(self) -> None:
        """It is this request's turn."""
        self._active = True
        core, head = self._core, self.head
        refusal = self._refusal()
        if refusal is not None:
            self.head.keep_alive = False  # whoever sent this may have meant more than one request by it
            self._fail(refusal)
            return
        self._match = core.table.match(head.header(b"host").decode("latin-1"), head.target)
        target = self._target()
        if target is None:
            return
        verdict = core.gatekeeper.known(head.header(b"authorization"), target)
        if verdict is None:
            core.spawn(self._review(target))
        else:
            self._judged(verdict)

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._over:
            return
        self._body_bytes += len(data)
        if self._active and self._body_bytes > self._core.limits.body_bytes:
            self._fail(self._too_large())
            return
        upstream = self._upstream
        framed = heads.chunk(data) if self.head.length is None else data
        if upstream is not None and upstream.writable and not self._pending:
            upstream.write(framed)
            self._client.deadline.set(self._core.limits.read_seconds)
            return
        self._pending.append(framed)
        self._pending_bytes += len(framed)
        if self._pending_bytes > self._core.limits.buffer_bytes:
            self._client.pause()

    def body_end(self) -> None:
        """The request is whole."""
        self._request_complete = True
        if self.head.length is None and not self._over:
            self._pending.append(heads.LAST_CHUNK)
        if self._upstream is not None:
            self._flush()

    def client_lost(self) -> None:
        """Nobody waits for the answer any more."""
        if not self._over:
            self._status = 499  # as nginx counts it
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
            route = self._match.route
            self._fail(errors.UpstreamSilent(
                f'InferenceService "{route.key}" did not answer within {route.timeout_seconds:g} s',
                remedy="Raise spec.predictor.timeout if the model needs longer"))

    # ---- admission

    def _refusal(self) -> trunk.LightshipError | None:
        """What is wrong with the request itself."""
        if self.head.count(b"host") > 1:
            return trunk.BadRequest("a request has one Host header")
        coding = self.head.header(b"transfer-encoding").lower()
        if coding not in (b"", b"chunked"):
            return trunk.Unsupported(f"the transfer coding \"{coding.decode('latin-1')}\" is not supported")
        return self._too_large() if self._body_bytes > self._core.limits.body_bytes else None

    def _too_large(self) -> trunk.TooLarge:
        return trunk.TooLarge(f"the request's body is larger than {self._core.limits.body_bytes} bytes")

    def _target(self) -> Target | None:
        """What the caller must be allowed to do; None where the answer is given already."""
        if self._match is not None:
            return Target(self._match.route.namespace, self._match.route.name)
        path = self.head.target.partition("?")[0]
        found = admin.page(self._core, path)
        if found is None:
            self._fail(self._no_route())
        elif self.head.method not in (b"GET", b"HEAD"):
            self._fail(trunk.BadRequest(f"{path} wants GET"), status=405)
        elif path in admin.OPEN:
            self._page(found)
        else:
            return Target("", path)
        return None

    def _no_route(self) -> trunk.LightshipError:
        if not self._core.table.loaded:
            return trunk.Unavailable("the gateway has not learnt its routes yet", remedy="Try again in a moment")
        host = self.head.header(b"host").decode("latin-1")
        path = self.head.target.partition("?")[0]
        return errors.NoRoute(f'no InferenceService is served at host "{host}", path "{path}"',
                              remedy="See kubectl get inferenceservices -A for their URLs: "
                                     "/serving/<namespace>/<name>/...")

    async def _review(self, target: Target) -> None:
        verdict = await self._core.gatekeeper.review(self.head.header(b"authorization"), target)
        if not self._over:
            self._judged(verdict)

    def _judged(self, verdict: Verdict) -> None:
        if verdict.error is not None:
            self._fail(verdict.error)
        elif self._match is None:
            found = admin.page(self._core, self.head.target.partition("?")[0])
            assert found is not None
            self._page(found)
        else:
            if self.head.http11 and self.head.header(b"expect").lower() == b"100-continue":
                self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._dispatch()

    # ---- sending

    def _dispatch(self) -> None:
        """Choose an endpoint and send, or wait a moment for the first one."""
        assert self._match is not None
        picked = self._core.balancer.pick(self._match.route, self._tried)
        if picked is None:
            self._hold()
            return
        self._backend, endpoint = picked
        self._endpoint = endpoint
        self._core.balancer.begin(endpoint)
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

    def _unreachable(self, endpoint: Endpoint, problem: OSError) -> None:
        """Nothing was sent: another endpoint may be tried."""
        self._tried.append(endpoint)
        self._leave_endpoint()
        assert self._match is not None
        route = self._current().route
        if self._core.balancer.pick(route, self._tried) is not None:
            self._count_retry()
            self._match = Match(route, self._match.path)
            self._dispatch()
            return
        why = str(problem) or type(problem).__name__
        self._fail(errors.UpstreamBroken(f'could not connect to InferenceService "{route.key}" at {endpoint}: {why}',
                                         remedy=_see(route.namespace, route.name)))

    def _current(self) -> Match:
        """The match with the route as it is in the newest table, where it is still there."""
        assert self._match is not None
        fresh = self._core.table.match(self.head.header(b"host").decode("latin-1"), self.head.target)
        return fresh if fresh is not None else self._match

    def _send(self, upstream: Upstream) -> None:
        assert self._match is not None
        self._upstream = upstream
        upstream.attach(self, for_head=self.head.method == b"HEAD")
        upstream.write(b"".join((heads.to_upstream(self.head, self._match, self._client.address), *self._pending)))
        self._pending, self._pending_bytes = [], 0
        self._client.resume()
        self._await_upstream()

    def _flush(self) -> None:
        upstream = self._upstream
        assert upstream is not None
        if self._pending and upstream.writable:
            upstream.write(b"".join(self._pending))
            self._pending, self._pending_bytes = [], 0
            self._client.resume()
        self._await_upstream()

    def upstream_writable(self) -> None:
        self._flush()

    def _await_upstream(self) -> None:
        if self._over or self._match is None:
            return
        if self._request_complete or self._status:
            self._client.deadline.set(self._match.route.timeout_seconds)
        else:
            self._client.deadline.set(self._core.limits.read_seconds)

    # ---- waiting for an endpoint

    def _hold(self) -> None:
        if self._holding is None:
            if not self._core.wait_for_swap(self, self._retry):
                self._no_endpoint()
                return
            self._holding = asyncio.get_running_loop().call_later(self._core.limits.hold_seconds, self._no_endpoint)

    def _retry(self) -> None:
        """The table was swapped."""
        match = self._current()
        if match.route.ready:
            self._match = match
            self._stop_holding()
            self._tried = []
            self._dispatch()

    def _no_endpoint(self) -> None:
        route = self._current().route
        why = f": {route.message}" if route.message else ""
        self._fail(errors.NoEndpoint(f'InferenceService "{route.key}" has no ready endpoint{why}',
                                     remedy=_see(route.namespace, route.name)))

    def _stop_holding(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
            self._core.stop_waiting(self)

    # ---- from the model server

    def response_head(self, head: ResponseHead) -> None:
        whole = head.length is not None and head.length <= self._core.limits.whole_response_bytes
        if whole and not head.bodiless:
            self._held = head
            return
        self._start_answer(head)

    def _start_answer(self, head: ResponseHead) -> None:
        self._status = head.status
        self._chunked = head.length is None and not head.bodiless and self.head.http11
        self._client.write(heads.to_client(head, chunked=self._chunked, keep=self._keep(head)))

    def _keep(self, head: ResponseHead | None = None) -> bool:
        endless = head is not None and head.length is None and not head.bodiless and not self.head.http11
        return self.head.keep_alive and self._request_complete and not self._core.draining and not endless

    def response_body(self, data: bytes) -> None:
        if self._held is not None:
            self._held_body.append(data)
        elif self._status:
            self._client.write(heads.chunk(data) if self._chunked else data)
            self._await_upstream()

    def response_end(self, *, reusable: bool) -> None:
        upstream = self._upstream
        assert upstream is not None
        keep = self._keep()
        if self._held is not None:
            held, self._held = self._held, None
            self._start_answer(held)
            self._client.write(b"".join(self._held_body))
        elif self._chunked:
            self._client.write(heads.LAST_CHUNK)
        else:
            keep = keep and self.head.http11
        if reusable and self._request_complete:
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
                and self._request_complete and not self._body_bytes):
            # The usual race of kept-alive connections, with a method that may be sent twice.
            self._upstream = None
            self._leave_endpoint()
            self._count_retry()
            self._dispatch()
            return
        assert self._match is not None
        route = self._match.route
        how = "before answering" if nothing_answered else "in the middle of its answer"
        self._fail(errors.UpstreamBroken(f'the model server of InferenceService "{route.key}" {why} {how}',
                                         remedy=_see(route.namespace, route.name)))

    # ---- ending

    def _broken_off(self) -> None:
        """Part of the answer is out: all that is left is to break the connection, so that nobody takes it for whole."""
        self._end()
        if self._upstream is not None:
            self._upstream.drop()
        self._client.cut()

    def _page(self, page: admin.Page) -> None:
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
        extra = ((b"www-authenticate", b"Bearer"),) if self._status == 401 else ()
        keep = self._keep()
        if self.head.method == b"HEAD":
            body = b""
        if self._active:
            self._client.write(heads.answer(self._status, body, keep=keep, extra=extra))
        self._end()
        if self._upstream is not None:
            self._upstream.drop()
        self._client.done(keep=keep)

    def _end(self) -> None:
        """Count, and let go of what is shared."""
        self._over = True
        self._stop_holding()
        self._pending, self._pending_bytes = [], 0
        self._leave_endpoint()
        if self._match is None or self._backend is None:
            self._core.metrics.refused.add((str(self._status),))
            return
        route = self._match.route
        labels = (route.namespace, route.name, self._backend.revision)
        self._core.metrics.requests.add((*labels, str(self._status)))
        self._core.metrics.seconds.observe(labels, perf_counter() - self._began)

    def _leave_endpoint(self) -> None:
        if self._endpoint is not None:
            self._core.balancer.end(self._endpoint)
            self._endpoint = None

    def _count_retry(self) -> None:
        assert self._match is not None and self._backend is not None
        route = self._match.route
        self._core.metrics.retries.add((route.namespace, route.name, self._backend.revision))


def _see(namespace: str, name: str) -> str:
    return f"See why: kubectl -n {namespace} describe inferenceservice {name}"
