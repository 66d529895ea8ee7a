"""The object store: compare-and-swap writes, reads from memory, and watches, over a durable log.

The API server alone calls me. I know bytes and revisions, no kinds. A write is acknowledged **and** published only
once it is on disk. Reads see what is committed. All methods run on one event loop; the disk has its own thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

from lightship import errors
from lightship.cluster.store.broadcast import Event, EventType, History, Hub, Key, Watcher
from lightship.cluster.store.errors import Overloaded, RevisionConflict, WriteFailed
from lightship.cluster.store.log import Log
from lightship.cluster.store.writer import Compaction, Write, Writer

LIMIT_PENDING_WRITES = 10_000
COMPACTION_ROWS = 1_000

Render = Callable[[int], bytes]
"""Makes the value, given the revision at which it will be stored."""

_logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A stored value and the revision that wrote it."""

    revision: int
    value: bytes


class Item(NamedTuple):
    """One entry of a snapshot, with its place."""

    namespace: str
    name: str
    entry: Entry


class Snapshot(NamedTuple):
    """All entries of a resource as of one revision, ordered by namespace and name."""

    revision: int
    items: list[Item]


_Resource = dict[str, dict[str, Entry]]


class Store:
    """Use ``open``; close when done."""

    def __init__(self, log: Log, state: _State) -> None:
        self._log, self._state = log, state
        self._next = state.revision + 1
        self._epoch = 0
        self._pending: dict[Key, Write] = {}
        self._pending_count = 0
        self._unflushed: list[Write] = []
        self._loop = asyncio.get_running_loop()
        self._hub = Hub(self._loop)
        self._closed = False
        self._writer = Writer(log, self._committed, self._failed)

    @classmethod
    async def open(cls, path: Path) -> Store:
        """The store in the file ``path``, made if missing. Raises ``errors.StateError``."""
        log, state = await asyncio.to_thread(_load, path)
        return cls(log, state)

    async def close(self) -> None:
        """End every watch, write what is queued, close the file."""
        if self._closed:
            return
        self._closed = True
        self._hub.end("the store is closing")
        self._flush()
        await self._writer.stop()
        await asyncio.to_thread(self._log.close)

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        return self._state.revision

    @property
    def compacted(self) -> int:
        """The revision before which history is gone."""
        return self._state.history.compacted

    def get(self, key: Key) -> Entry | None:
        namespaces = self._state.resources.get(key.resource)
        names = namespaces.get(key.namespace) if namespaces else None
        return names.get(key.name) if names else None

    def snapshot(self, resource: str, namespace: str = "", *, revision: int | None = None) -> Snapshot:
        """Everything of a resource (in one namespace, or in all), now or as it was at ``revision``.

        Raises ``errors.Gone`` where ``revision`` is older than history, ``errors.DeadlineExceeded`` where it is yet
        to come.
        """
        found = self._state.resources.get(resource) or {}
        if revision is None or revision == self.revision:
            spaces = [namespace] if namespace else sorted(found)
            return Snapshot(self.revision, [Item(space, name, entry) for space in spaces if space in found
                                            for name, entry in sorted(found[space].items())])
        if revision > self.revision:
            raise errors.DeadlineExceeded(f"Too large resource version: {revision}, current: {self.revision}")
        entries = {(space, name): entry for space, names in found.items() for name, entry in names.items()}
        for event in self._state.history.after(revision):
            if event.key.resource != resource:
                continue
            place = (event.key.namespace, event.key.name)
            if event.previous is None:
                entries.pop(place, None)
            else:
                entries[place] = Entry(revision, event.previous)
        return Snapshot(revision, [Item(*place, entry) for place, entry in sorted(entries.items())
                                   if not namespace or place[0] == namespace])

    def count(self, resource: str) -> int:
        return sum(len(names) for names in (self._state.resources.get(resource) or {}).values())

    def watching(self, resource: str) -> int:
        """How many watchers a resource has."""
        return self._hub.watching(resource)

    def watch(self, resource: str, since: int, namespace: str = "") -> Watcher:
        """Changes after ``since``. Raises ``errors.Gone`` where history does not reach (or not yet)."""
        if self._closed:
            raise errors.Unavailable("the store is closed")
        if since > self.revision:
            raise errors.Gone(f"resource version {since} is not of this store, which is at {self.revision}",
                              remedy="List again and watch from there")
        backlog = [event for event in self._state.history.after(since) if event.key.resource == resource]
        backlog.reverse()
        return self._hub.subscribe(resource, namespace, backlog)

    def any(self, resource: str, namespace: str) -> bool:
        """Whether there is anything of a resource in a namespace; cheaper than a snapshot."""
        namespaces = self._state.resources.get(resource)
        return namespaces is not None and namespace in namespaces

    def changes(self, resources: Container[str], since: int) -> list[Event]:
        """What was committed to ``resources`` after the revision ``since``, in order. Raises ``errors.Gone``.

        For an index inside the server that must be as new as what a client was just told.
        """
        found = [event for event in self._state.history.after(since) if event.key.resource in resources]
        found.reverse()
        return found

    async def put(self, key: Key, render: Render, expected: int | None = None) -> Entry:
        """Store what ``render`` makes. ``expected`` is the revision that must be current, or 0 for a new object.

        Raises ``RevisionConflict`` (once the write that won is on disk), ``errors.AlreadyExists``, ``WriteFailed``.
        """
        current, pending = self._current(key)
        if expected is not None and expected != current:
            await self._settled(pending)
            if expected == 0:
                raise errors.AlreadyExists(f'{key.resource} "{key.name}" already exists')
            raise RevisionConflict(f"{key.resource} {key.name!r} is at revision {current}, not {expected}")
        write = self._submit("MODIFIED" if current else "ADDED", key, render)
        await write.done
        return Entry(write.revision, write.value)

    async def delete(self, key: Key, render: Render, expected: int | None = None) -> Entry:
        """Delete; ``render`` makes the last state that watchers see. Raises as ``put``, and ``errors.NotFound``."""
        current, pending = self._current(key)
        if current == 0 or (expected is not None and expected != current):
            await self._settled(pending)
            if current == 0:
                raise errors.NotFound(f'{key.resource} "{key.name}" not found')
            raise RevisionConflict(f"{key.resource} {key.name!r} is at revision {current}, not {expected}")
        write = self._submit("DELETED", key, render)
        await write.done
        return Entry(write.revision, write.value)

    def _current(self, key: Key) -> tuple[int, Write | None]:
        """The revision that the next write of ``key`` follows (0: none), and the write in flight, if any."""
        pending = self._pending.get(key)
        if pending is not None:
            return (0 if pending.type == "DELETED" else pending.revision), pending
        entry = self.get(key)
        return (entry.revision if entry else 0), None

    async def _settled(self, write: Write | None) -> None:
        """Wait until ``write`` is committed or has failed, so that a reader who then retries sees its outcome."""
        if write is None:
            return
        waiter = self._loop.create_future()
        if write.waiters is None:
            write.waiters = []
        write.waiters.append(waiter)
        await waiter

    def _submit(self, type: EventType, key: Key, render: Render) -> Write:
        if self._closed:
            raise errors.Unavailable("the store is closed")
        if self._pending_count >= LIMIT_PENDING_WRITES:
            raise Overloaded(f"{LIMIT_PENDING_WRITES} writes wait for the disk", remedy="Try again later")
        revision = self._next
        write = Write(self._epoch, revision, type, key, render(revision), self._loop.create_future())
        self._next = revision + 1
        self._pending[key] = write
        self._pending_count += 1
        if not self._unflushed:
            self._loop.call_soon(self._flush)
        self._unflushed.append(write)
        return write

    def _flush(self) -> None:
        if self._unflushed:
            self._writer.submit(self._unflushed)
            self._unflushed = []

    def _committed(self, writes: list[Write]) -> None:
        events = [self._state.apply(write.revision, write.type, write.key, write.value) for write in writes]
        for write in writes:
            if self._pending.get(write.key) is write:
                del self._pending[write.key]
        self._pending_count -= len(writes)
        self._hub.publish(events)
        for write in writes:
            _resolve(write, None)
        if self._state.garbage_ready() >= COMPACTION_ROWS:
            self._writer.submit(Compaction(self._state.take_garbage(COMPACTION_ROWS), self.compacted))

    def _failed(self, writes: list[Write], cause: Exception) -> None:
        """Fail ``writes`` and, at the first failure of an epoch, all that count on them and are not yet handed over."""
        if writes[-1].epoch == self._epoch:
            _logger.error("could not write to the object store",
                          extra={"path": str(self._log.path), "error": str(cause), "writes": len(writes)})
            self._epoch += 1
            self._next = self.revision + 1
            self._pending.clear()
            writes, self._unflushed = writes + self._unflushed, []
        self._pending_count -= len(writes)
        for write in writes:
            error = WriteFailed(f"could not write to {self._log.path}: {cause}",
                                remedy="Free space on that disk and try again; nothing of this write was kept")
            error.__cause__ = cause
            _resolve(write, error)


def _resolve(write: Write, error: Exception | None) -> None:
    if not write.done.done():
        if error is None:
            write.done.set_result(None)
        else:
            write.done.set_exception(error)
    for waiter in write.waiters or ():
        if not waiter.done():
            waiter.set_result(None)


class _State:
    """The index and the history that the log's rows amount to."""

    def __init__(self, compacted: int) -> None:
        self.revision = compacted
        self.resources: dict[str, _Resource] = {}
        self.history = History(compacted)
        self._garbage: deque[tuple[int, int]] = deque()
        """(revision from which on a row is superseded, the row's revision), in order."""

    def apply(self, revision: int, type: EventType, key: Key, value: bytes) -> Event:
        """Take in a committed write; the event is what to publish."""
        previous = self._index(revision, type == "DELETED", key, value)
        event = Event(revision, type, key, value, previous)
        self.history.append(event)
        return event

    def replayed(self, revision: int, key: Key, deleted: bool, value: bytes) -> None:
        """Take in a row of the log; rows at or before compaction make no history."""
        previous = self._index(revision, deleted, key, value)
        if revision > self.history.compacted:
            type: EventType = "DELETED" if deleted else "ADDED" if previous is None else "MODIFIED"
            self.history.append(Event(revision, type, key, value, previous))

    def _index(self, revision: int, deleted: bool, key: Key, value: bytes) -> bytes | None:
        names = self.resources.setdefault(key.resource, {}).setdefault(key.namespace, {})
        old = names.get(key.name)
        if old is not None:
            self._garbage.append((revision, old.revision))
        if deleted:
            names.pop(key.name, None)
            if not names:
                del self.resources[key.resource][key.namespace]
            self._garbage.append((revision, revision))
        else:
            names[key.name] = Entry(revision, value)
        self.revision = revision
        return old.value if old else None

    def garbage_ready(self) -> int:
        """How many rows no reader of history needs, counted up to one compaction's worth."""
        if len(self._garbage) < COMPACTION_ROWS or self._garbage[COMPACTION_ROWS - 1][0] > self.history.compacted:
            return 0
        return COMPACTION_ROWS

    def take_garbage(self, count: int) -> list[int]:
        return [self._garbage.popleft()[1] for _ in range(count)]


def _load(path: Path) -> tuple[Log, _State]:
    log = Log(path)
    try:
        state = _State(log.compacted())
        for revision, resource, namespace, name, deleted, value in log.replay():
            state.replayed(revision, Key(resource, namespace, name), bool(deleted), value)
    except BaseException:
        log.close()
        raise
    return log, state
