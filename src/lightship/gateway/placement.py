"""Finds an endpoint for a request: chooses a revision by its share, then the endpoint with the fewest in flight; waits
in the revision's queue where it has none yet, or each has as many requests as it may; tries another where one cannot be
reached.

``exchange`` and ``grpc_calls`` are made of me, for requests of HTTP/1.1 and of HTTP/2; ``loads`` tells me when to look
again.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from lightship import errors as trunk
from lightship.gateway import admission, errors
from lightship.gateway.core import Core
from lightship.gateway.heads import RequestHead
from lightship.gateway.loads import Load
from lightship.gateway.routes import Backend, Endpoint, Match, Table


class Placement:
    """The part of a request's life that ends with an endpoint. Whoever is made of me says what comes then."""

    head: RequestHead
    port = 0
    """The port of one service alone that the request came to; 0 for the port of all."""
    _core: Core
    _table: Table
    _match: Match | None = None
    _backend: Backend | None = None
    _load: Load | None = None
    _queued: Load | None = None
    _timer: asyncio.TimerHandle | None = None
    _endpoint: Endpoint | None = None
    _tried: tuple[Endpoint, ...] = ()
    _pending_bytes = 0
    """Of the body, held here."""
    _request_complete = False

    # ---- what others say

    def _connect_to(self, endpoint: Endpoint) -> None:
        """An endpoint has been found, and is counted as having this request."""
        raise NotImplementedError

    def _fail(self, error: trunk.LightshipError, *, status: int = 0) -> None:
        raise NotImplementedError

    def _read_no_more(self) -> None:
        """The request waits: what it has not sent must not come yet."""
        raise NotImplementedError

    def _find(self, table: Table) -> Match | None:
        """Where the request goes by a table."""
        if self.port:
            tag = self.head.header(admission.TAG_HEADER).decode("latin-1").lower()
            return table.on_port(self.port, self.head.target, tag)
        return admission.match(table, self.head)

    # ---- choosing

    def _dispatch(self) -> None:
        """Choose a revision and an endpoint of it and send, or wait for one."""
        match, core = self._match, self._core
        assert match is not None
        backend = self._backend = core.balancer.choose(match, self._tried)
        route, now = match.route, perf_counter()
        if backend is None:
            self._wait(core.loads.of((route.namespace, route.name, match.component.name, ""), now))
            return
        load = self._load = core.loads.of((route.namespace, route.name, match.component.name, backend.revision), now)
        load.enter(now)
        endpoint = None if load.waiting else core.balancer.endpoint(backend, self._tried)
        if endpoint is None:
            self._wait(load)
        else:
            self._go(endpoint)

    def _wait(self, load: Load) -> None:
        """Wait in a revision's queue, or for a moment where there is no revision to wait for."""
        core, route = self._core, self._current().route
        full = core.queue(load, self, self._pending_bytes)
        if full:
            self._fail(errors.QueueFull(f'InferenceService "{route.key}" has no place for the request: {full}',
                                        remedy="Try again later, or allow it more replicas"))
            return
        self._queued = load
        if not self._request_complete:
            self._read_no_more()
        seconds = route.timeout_seconds
        if self._backend is None:
            seconds = core.limits.hold_seconds
        elif not self._backend.endpoints:
            seconds = max(seconds, core.limits.activation_seconds)
            if len(load.waiting) == 1:
                core.metrics.activations.add((route.namespace, route.name, self._backend.revision))
                core.pokes.poke()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._waited_long_enough, seconds)

    def try_again(self) -> bool:
        """A place may be free, or the table was swapped."""
        match, balancer = self._current(), self._core.balancer
        if self._backend is None:
            if balancer.choose(match, ()) is None:
                return False
            self._tried = ()
        else:
            backend = next((one for one in match.component.backends if one.revision == self._backend.revision), None)
            if backend is not None and (backend.endpoints or backend.activate):
                endpoint = balancer.endpoint(backend, self._tried)
                if endpoint is None:
                    return False
                self._match, self._backend = match, backend
                self._stop_waiting()
                self._go(endpoint)
                return True
        self._match = match
        self._stop_waiting()
        self._leave_load()
        self._dispatch()
        return True

    def _current(self) -> Match:
        """The match as it is in the newest table, where the route is still there."""
        assert self._match is not None
        if self._table is not self._core.table:
            self._table = self._core.table
            self._match = self._find(self._table) or self._match
        return self._match

    def _waited_long_enough(self, seconds: float) -> None:
        route = self._current().route
        if self._backend is None:
            self._fail(admission.no_endpoint(route))
        else:
            self._fail(admission.waited(route, self._backend, seconds))

    def _stop_waiting(self) -> None:
        if self._queued is not None:
            assert self._timer is not None
            self._timer.cancel()
            self._core.loads.quit(self._queued, self)
            self._queued = self._timer = None

    def _go(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._core.balancer.begin(endpoint)
        self._connect_to(endpoint)

    def _unreachable(self, endpoint: Endpoint, problem: OSError) -> None:
        """Nothing was sent: another endpoint may be tried."""
        self._tried = (*self._tried, endpoint)
        self._leave_endpoint()
        match = self._current()
        if self._core.balancer.choose(match, self._tried) is not None:
            self._count_retry()
            self._leave_load()
            self._dispatch()
            return
        self._fail(admission.unreachable(match.route, endpoint, problem))

    # ---- leaving

    def _leave_endpoint(self) -> None:
        if self._endpoint is not None:
            self._core.balancer.end(self._endpoint)
            self._endpoint = None

    def _leave_load(self) -> None:
        load, self._load = self._load, None
        if load is not None:
            load.leave(perf_counter())
            if load.waiting:
                load.release()

    def _count_retry(self) -> None:
        assert self._load is not None
        self._load.retries += 1
