"""What was committed, kept for a while and handed to watchers.

``store`` publishes to me; the API server's watches read a ``Watcher``. A watcher's queue is bounded: who falls behind
is dropped and resumes from its last revision, and never holds up a writer.

Deliveries are paced: a change that follows a quiet while goes out at once, and what comes soon after waits for the next
round, so that under load a watcher is woken for a batch rather than for each event. Many watchers are woken a few at a
time, with the loop's other work between them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from lightship import errors
from lightship.cluster.store.errors import WatchEnded

LIMIT_HISTORY_EVENTS = 10_000
LIMIT_HISTORY_BYTES = 20 * 1024 * 1024
LIMIT_MEMO_EVENTS = 512
"""Of so many of the latest events readers' memos are kept: these are as large as the events, and soon have served."""
LIMIT_WATCHER_EVENTS = 4096
PACE_SECONDS_A_WATCHER = 100e-6
"""The rest between two rounds of a resource's deliveries, for each watcher: about thrice what waking one costs."""
LIMIT_PACE_SECONDS = 0.05
WATCHERS_A_TURN = 32
"""How many watchers are woken before the loop does something else."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Key(NamedTuple):
    """Where an object lies: its group resource (``deployments.apps``), its namespace or ``""``, its name."""

    resource: str
    namespace: str
    name: str


class Event:
    """One committed change. ``memo`` is for readers: what they made of it, made once and shared by all."""

    __slots__ = ("key", "memo", "previous", "revision", "type", "value")

    def __init__(self, revision: int, type: EventType, key: Key, value: bytes, previous: bytes | None) -> None:
        self.revision = revision
        self.type: EventType = type
        self.key = key
        self.value = value
        """The object after the change; of a deletion, its last state at the deletion's revision."""
        self.previous = previous
        self.memo: dict[object, object] | None = None


class History:
    """A ring of the last events, bounded in number and bytes. ``compacted`` is the newest revision it lost."""

    def __init__(self, compacted: int) -> None:
        self.compacted = compacted
        self._events: deque[Event] = deque()
        self._bytes = 0

    def append(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > LIMIT_MEMO_EVENTS:
            self._events[-LIMIT_MEMO_EVENTS - 1].memo = None
        self._bytes += len(event.value)
        while len(self._events) > LIMIT_HISTORY_EVENTS or (self._bytes > LIMIT_HISTORY_BYTES and
                                                           len(self._events) > 1):
            lost = self._events.popleft()
            self._bytes -= len(lost.value)
            self.compacted = lost.revision

    def after(self, revision: int) -> Iterator[Event]:
        """The events after ``revision``, newest first. Raises ``errors.Gone`` when some are lost."""
        if revision < self.compacted:
            raise errors.Gone(f"too old resource version: {revision} ({self.compacted})",
                              remedy="List again and watch from there")
        for event in reversed(self._events):
            if event.revision <= revision:
                return
            yield event


class Batch(list[Event]):
    """Events that are delivered together, in order. ``memo`` is as ``Event.memo``, of the whole batch."""

    __slots__ = ("memo",)

    def __init__(self, events: Sequence[Event] = ()) -> None:
        super().__init__(events)
        self.memo: dict[object, object] | None = None


class Watcher:
    """A subscription to one resource, from just after a revision on. Close it when done."""

    def __init__(self, topic: _Topic, namespace: str) -> None:
        self._topic = topic
        self.namespace = namespace
        self._queue: deque[Batch] = deque()
        self._queued_events = 0
        self._waiter: asyncio.Future[None] | None = None
        self._ended = ""

    async def next(self, timeout_seconds: float | None = None) -> Batch:
        """All events that wait, at least one; or none after the timeout. Raises ``WatchEnded``.

        After an empty answer every event up to the store's current revision has been delivered.
        """
        if not self._queue:
            if self._ended:
                raise WatchEnded(self._ended)
            await self._wait(timeout_seconds)
            if not self._queue:
                self._topic.catch_up()
        batch = self._take()
        if not batch and self._ended:
            raise WatchEnded(self._ended)
        return batch

    def _take(self) -> Batch:
        queue, self._queued_events = self._queue, 0
        if len(queue) == 1:
            return queue.popleft()
        batch = Batch([event for some in queue for event in some])
        queue.clear()
        return batch

    async def _wait(self, timeout_seconds: float | None) -> None:
        assert self._waiter is None, "one reader a watcher"
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed(self, batch: Batch) -> None:
        """Called by the topic with events that this watcher is to see, at least one."""
        self._queue.append(batch)
        self._queued_events += len(batch)
        if self._queued_events > LIMIT_WATCHER_EVENTS:
            self._queue.clear()
            self.end(f"the watcher fell {LIMIT_WATCHER_EVENTS} events behind")
            self._topic.forget(self)
        else:
            self._wake()

    def end(self, reason: str) -> None:
        self._ended = reason
        self._wake()

    def close(self) -> None:
        self._topic.forget(self)
        self._queue.clear()
        self.end("the watch was closed")


class _Topic:
    """One resource's watchers, and the events that wait for the next round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.watchers: dict[Watcher, None] = {}
        self._loop = loop
        self._waiting: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._round: Iterator[None] | None = None
        self._ended_at = float("-inf")

    def subscribe(self, namespace: str, backlog: Sequence[Event]) -> Watcher:
        self.catch_up()  # What waits is part of the backlog, and must not come twice.
        watcher = Watcher(self, namespace)
        self.watchers[watcher] = None
        mine = _inside(namespace, backlog)
        if mine:
            watcher.feed(mine)
        return watcher

    def publish(self, events: list[Event]) -> None:
        self._waiting += events
        self._schedule()

    def catch_up(self) -> None:
        """Deliver all that waits, now."""
        for _ in self._round or ():
            pass
        while self._waiting:
            for _ in self._deliver():
                pass

    def forget(self, watcher: Watcher) -> None:
        self.watchers.pop(watcher, None)

    def end(self, reason: str) -> None:
        self.catch_up()
        for watcher in list(self.watchers):
            self.forget(watcher)
            watcher.end(reason)

    def _schedule(self) -> None:
        """Begin a round, now or when its time comes, unless one is under way."""
        if self._timer is not None or self._round is not None or not self._waiting:
            return
        pace = min(PACE_SECONDS_A_WATCHER * len(self.watchers), LIMIT_PACE_SECONDS)
        rest = self._ended_at + pace - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._timer = None
        if self._waiting and self._round is None:
            self._round = self._deliver()
            self._turn()

    def _turn(self) -> None:
        for _ in self._round or ():
            self._loop.call_soon(self._turn)
            return
        self._schedule()

    def _deliver(self) -> Iterator[None]:
        """One round; yields after some watchers, for the others to have their turn later."""
        events, self._waiting = self._waiting, []
        batches: dict[str, Batch] = {}
        for number, watcher in enumerate(list(self.watchers), 1):
            batch = batches.get(watcher.namespace)
            if batch is None:
                batch = batches[watcher.namespace] = _inside(watcher.namespace, events)
            if batch and watcher in self.watchers:
                watcher.feed(batch)
            if not number % WATCHERS_A_TURN:
                yield
        self._round, self._ended_at = None, self._loop.time()


def _inside(namespace: str, events: Sequence[Event]) -> Batch:
    return Batch([event for event in events if event.key.namespace == namespace] if namespace else events)


class Hub:
    """Who watches what."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._topics: dict[str, _Topic] = {}

    def subscribe(self, resource: str, namespace: str, backlog: Sequence[Event]) -> Watcher:
        """A watcher that first gets ``backlog`` and then what is published; no await lies in between."""
        topic = self._topics.get(resource)
        if topic is None:
            topic = self._topics[resource] = _Topic(self._loop)
        return topic.subscribe(namespace, backlog)

    def publish(self, events: list[Event]) -> None:
        by_resource: dict[str, list[Event]] = {}
        for event in events:
            if event.key.resource in self._topics:
                by_resource.setdefault(event.key.resource, []).append(event)
        for resource, some in by_resource.items():
            topic = self._topics[resource]
            if topic.watchers:
                topic.publish(some)
            else:
                del self._topics[resource]

    def watching(self, resource: str) -> int:
        """How many watchers a resource has."""
        topic = self._topics.get(resource)
        return len(topic.watchers) if topic else 0

    def end(self, reason: str) -> None:
        for topic in self._topics.values():
            topic.end(reason)
