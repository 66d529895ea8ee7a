"""Copies of requests and answers for whoever asked for them (``logger`` of an InferenceService).

``exchange`` makes a ``Copy`` of what passes; when it is over I queue its events, and sinks (``cloudevents``,
``payload_files``) take them from there. A queue that is full drops what comes and counts it: a slow sink costs no
request anything. Each sink has its own queue, so that one service's does not starve another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightship.gateway.heads import RequestHead, ResponseHead
from lightship.gateway.metrics import Metrics
from lightship.gateway.options import Limits
from lightship.gateway.routes import Match, PayloadLog
from lightship.lib.clock import Clock
from lightship.lib.ids import IdSource
from lightship.lib.tasks import Tasks

_log = logging.getLogger(__name__)

REQUEST, RESPONSE = "request", "response"
EVENT_TYPE = "org.kubeflow.serving.inference."
_NEVER = frozenset({b"authorization", b"cookie"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One copy. ``time`` is in seconds since 1970; ``status`` is 0 for a request."""

    kind: str
    id: str
    namespace: str
    name: str
    component: str
    endpoint: str
    content_type: str
    body: bytes
    time: float
    status: int
    metadata: dict[str, list[str]]
    annotations: tuple[tuple[str, str], ...]


class Sink(Protocol):
    """Takes events from a queue, some at a time."""

    async def take(self, events: Sequence[Event]) -> None:
        """Raises ``OSError`` where they could not be delivered."""
        ...

    async def close(self) -> None: ...


class Copy:
    """What passes of one exchange, up to a limit."""

    __slots__ = ("_answer", "_answer_type", "_head", "_log", "_match", "_oversized", "_payloads", "_request", "_sizes",
                 "_time")

    def __init__(self, payloads: Payloads, head: RequestHead, match: Match, log: PayloadLog) -> None:
        self._payloads, self._head, self._match, self._log = payloads, head, match, log
        self._time = payloads.clock.now().timestamp()
        self._request: list[bytes] = []
        self._answer: list[bytes] = []
        self._sizes = [0, 0]
        self._oversized = [False, False]
        self._answer_type = ""

    def request(self, data: bytes) -> None:
        if self._log.requests:
            self._add(0, self._request, data)

    def answered(self, head: ResponseHead) -> None:
        self._answer_type = next((value.decode("latin-1") for name, value in head.headers if name == b"content-type"),
                                 "")

    def response(self, data: bytes) -> None:
        if self._log.responses:
            self._add(1, self._answer, data)

    def finish(self, status: int, backend: str) -> None:
        """The exchange is over: hand on what there is. Of answers only good ones are logged, as upstream does."""
        head, route, log = self._head, self._match.route, self._log
        own = head.header(b"ce-id").decode("latin-1")
        asked = {name.decode("latin-1"): [value.decode("latin-1")] for name, value in head.headers
                 if name in log.headers and name not in _NEVER}

        def event(kind: str, content_type: str, body: bytes) -> Event:
            return Event(kind=kind, id=own or identity, namespace=route.namespace, name=route.name, body=body,
                         component=self._match.component.name, endpoint=backend, content_type=content_type,
                         time=self._time, status=status if kind is RESPONSE else 0, metadata=asked,
                         annotations=log.annotations)

        identity = own or self._payloads.ids.uid()
        events = []
        if log.requests and self._sizes[0]:
            events.append((self._oversized[0], event(
                REQUEST, head.header(b"content-type").decode("latin-1"), b"".join(self._request))))
        if log.responses and status == 200:
            events.append((self._oversized[1], event(RESPONSE, self._answer_type, b"".join(self._answer))))
        for oversized, made in events:
            self._payloads.offer(log, made, oversized=oversized)

    def _add(self, direction: int, pieces: list[bytes], data: bytes) -> None:
        self._sizes[direction] += len(data)
        if self._sizes[direction] > self._payloads.limits.payload_bytes:
            self._oversized[direction] = True
            pieces.clear()
        elif not self._oversized[direction]:
            pieces.append(data)


class _Queue:
    """What waits for one sink, and who carries it there."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.bytes = 0
        self.carriers = 0
        self.failed = False


class Payloads:
    """All queues of a gateway. ``sink_of`` makes a sink for what a logger names."""

    def __init__(self, sink_of: Callable[[PayloadLog], Sink], metrics: Metrics, limits: Limits, clock: Clock,
                 ids: IdSource) -> None:
        self.limits, self.clock, self.ids = limits, clock, ids
        self._sink_of = sink_of
        self._metrics = metrics
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._bytes = 0
        self._closing = asyncio.Event()
        self._tasks = Tasks("payload log")

    def copy(self, head: RequestHead, match: Match, log: PayloadLog) -> Copy:
        return Copy(self, head, match, log)

    def offer(self, log: PayloadLog, event: Event, *, oversized: bool = False) -> None:
        """Queue an event for its sink, or drop and count it."""
        key = (log.url, log.format)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        if oversized or len(queue.events) >= self.limits.payload_queue or (
                self._bytes + len(event.body) > self.limits.payload_queue_bytes):
            self._metrics.payloads.add(("dropped",))
            if not queue.carriers:
                del self._queues[key]
            return
        queue.events.append(event)
        self._bytes += len(event.body)
        # Files are written by one at a time.
        carriers = self.limits.payload_carriers if log.url else 1
        if queue.carriers < carriers and len(queue.events) > queue.carriers:
            queue.carriers += 1
            self._tasks.spawn(self._carry(key, queue, self._sink_of(log), log))

    async def _carry(self, key: tuple[str, str], queue: _Queue, sink: Sink, log: PayloadLog) -> None:
        """Take events to the sink until none is left."""
        limits = self.limits
        gather = 0.0 if log.url else (
            limits.payload_gather_seconds if log.format == "parquet" else limits.payload_line_seconds)
        try:
            while queue.events:
                if gather:
                    # To write, or to make a file of its own, for each copy would cost too much.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), gather)
                taken = [queue.events.popleft() for _ in range(min(len(queue.events), self.limits.payload_batch))]
                try:
                    await sink.take(taken)
                    self._metrics.payloads.add(("logged",), len(taken))
                except OSError as problem:
                    self._metrics.payloads.add(("failed",), len(taken))
                    if not queue.failed:
                        queue.failed = True
                        _log.warning("copies of requests could not be delivered; they are counted from here on",
                                     extra={"problem": str(problem)})
                finally:
                    self._bytes -= _size(taken)
        finally:
            await sink.close()
            queue.carriers -= 1
            if not queue.carriers and not queue.events:
                self._queues.pop(key, None)

    async def close(self, limit_seconds: float) -> None:
        """Let what is queued go out, for so long at most."""
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await self._tasks.drain()
        await self._tasks.close()


def _size(events: Iterable[Event]) -> int:
    return sum(len(event.body) for event in events)
