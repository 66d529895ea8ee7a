"""What was committed, kept for a while and handed to watchers.

``store`` publishes to me; the API server's watches read a ``Watcher``. A watcher's queue is bounded: who falls behind
is dropped and resumes from its last revision, and never holds up a writer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from lightship import errors
from lightship.cluster.store.errors import WatchEnded

LIMIT_HISTORY_EVENTS = 10_000
LIMIT_HISTORY_BYTES = 32 * 1024 * 1024
LIMIT_WATCHER_EVENTS = 4096

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


class Watcher:
    """A subscription to one resource, from just after a revision on. Close it when done."""

    def __init__(self, hub: Hub, resource: str, namespace: str) -> None:
        self._hub = hub
        self.resource = resource
        self.namespace = namespace
        self._queue: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = ""

    async def next(self, timeout_seconds: float | None = None) -> list[Event]:
        """All events that wait, at least one; or none after the timeout. Raises ``WatchEnded``.

        After an empty answer every event up to the store's current revision has been delivered.
        """
        if not self._queue:
            if self._ended:
                raise WatchEnded(self._ended)
            await self._wait(timeout_seconds)
        events = list(self._queue)
        self._queue.clear()
        if not events and self._ended:
            raise WatchEnded(self._ended)
        return events

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

    def feed(self, events: Iterable[Event]) -> None:
        """Called by the hub with events of this resource, in order."""
        namespace, queue = self.namespace, self._queue
        if namespace:
            queue.extend(event for event in events if event.key.namespace == namespace)
        else:
            queue.extend(events)
        if len(queue) > LIMIT_WATCHER_EVENTS:
            queue.clear()
            self.end(f"the watcher fell {LIMIT_WATCHER_EVENTS} events behind")
            self._hub.forget(self)
        elif queue:
            self._wake()

    def end(self, reason: str) -> None:
        self._ended = reason
        self._wake()

    def close(self) -> None:
        self._hub.forget(self)
        self._queue.clear()
        self.end("the watch was closed")


class Hub:
    """Who watches what."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[Watcher, None]] = {}

    def subscribe(self, resource: str, namespace: str, backlog: Iterable[Event]) -> Watcher:
        """A watcher that first gets ``backlog`` and then what is published; no await lies in between."""
        watcher = Watcher(self, resource, namespace)
        watchers = self._watchers.setdefault(resource, {})
        watchers[watcher] = None
        watcher._queue.extend(event for event in backlog if not namespace or event.key.namespace == namespace)
        return watcher

    def publish(self, events: list[Event]) -> None:
        by_resource: dict[str, list[Event]] = {}
        for event in events:
            if event.key.resource in self._watchers:
                by_resource.setdefault(event.key.resource, []).append(event)
        for resource, some in by_resource.items():
            for watcher in list(self._watchers[resource]):
                watcher.feed(some)

    def forget(self, watcher: Watcher) -> None:
        watchers = self._watchers.get(watcher.resource)
        if watchers is not None and watcher in watchers:
            del watchers[watcher]
            if not watchers:
                del self._watchers[watcher.resource]

    def end(self, reason: str) -> None:
        for watchers in list(self._watchers.values()):
            for watcher in list(watchers):
                self.forget(watcher)
                watcher.end(reason)
