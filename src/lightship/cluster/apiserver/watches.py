"""Watch: a stream of changes, one JSON line each. ``server`` calls me; I read the store's ``Watcher``.

What is delivered together is rendered once for each shape, and the bytes are shared by all watchers. A watcher with
selectors sees an object that comes into its selection as ADDED, and one that leaves it as DELETED. A watch of a custom
kind ends when the kind's definition changes or goes, so that its client lists anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import reads, tables
from lightship.cluster.apiserver.backend import Backend, Call, encode, object_of, on_wire
from lightship.cluster.apiserver.reads import Chosen
from lightship.cluster.store.broadcast import Batch, Event, Watcher
from lightship.cluster.store.errors import WatchEnded
from lightship.cluster.store.store import Item
from lightship.kube.objects import Object

DEFAULT_TIMEOUT_SECONDS = 3600
LIMIT_TIMEOUT_SECONDS = 24 * 3600
BOOKMARK_SECONDS = 30.0
LIMIT_CHUNK_EVENTS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What a watch starts with. ``initial`` is None where only changes are wanted."""

    since: int
    initial: list[Item] | None
    initial_bookmark: bool


def watch(backend: Backend, call: Call) -> Response:
    """The answer whose body is the stream. Raises ``errors.Gone`` and ``errors.BadRequest`` before it starts."""
    which = reads.chosen(call)
    seconds = min(call.query.number("timeoutSeconds", DEFAULT_TIMEOUT_SECONDS), LIMIT_TIMEOUT_SECONDS)
    call.query.flag("allowWatchBookmarks")
    tables.include_object(call.query.text("includeObject"))
    plan = _plan(backend, call)
    watcher = backend.store.watch(call.served.store_resource, plan.since, call.target.namespace)
    stream = _Stream(backend, call, which)
    deadline = backend.clock.monotonic() + (seconds or DEFAULT_TIMEOUT_SECONDS)
    leave = backend.registry.follow(call.served, watcher) if call.served.custom else None
    return Response(status=200, headers=reads.HEADERS,
                    body=_Body(watcher, stream.lines(watcher, plan, deadline), leave))


def _plan(backend: Backend, call: Call) -> _Plan:
    query, store = call.query, backend.store
    version, match = query.text("resourceVersion"), query.text("resourceVersionMatch")
    send = query.flag("sendInitialEvents") if "sendInitialEvents" in query else None
    if send is not None and match != "NotOlderThan":
        raise errors.BadRequest("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if send is None and match:
        raise errors.BadRequest("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    wanted = reads.revision_of(version) if version else 0
    if send or (send is None and wanted == 0):
        if wanted > store.revision:
            raise errors.DeadlineExceeded(f"Too large resource version: {wanted}, current: {store.revision}")
        snapshot = store.snapshot(call.served.store_resource, call.target.namespace)
        return _Plan(since=snapshot.revision, initial=snapshot.items, initial_bookmark=bool(send))
    return _Plan(since=wanted or store.revision, initial=None, initial_bookmark=False)


class _Body:
    """The stream as a body that frees its watcher when closed, even where nothing was ever read of it."""

    def __init__(self, watcher: Watcher, lines: AsyncGenerator[bytes, None], leave: Callable[[], None] | None) -> None:
        self._watcher, self._lines, self._leave = watcher, lines, leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._lines.__anext__()

    async def aclose(self) -> None:
        await self._lines.aclose()
        self._watcher.close()
        if self._leave is not None:
            self._leave()


class _Stream:
    """Renders for one watch."""

    def __init__(self, backend: Backend, call: Call, which: Chosen) -> None:
        self._backend, self._call, self._which = backend, call, which
        self._all, self._served = which.all, call.served
        self._include = tables.include_object(call.query.text("includeObject"))
        self._bookmarks = call.query.flag("allowWatchBookmarks")
        self._memo_key = (call.format, self._served.resource.api_version, self._include)

    async def lines(self, watcher: Watcher, plan: _Plan, deadline: float) -> AsyncGenerator[bytes, None]:
        clock = self._backend.clock
        try:
            for chunk in self._initial(plan):
                yield chunk
            if plan.initial_bookmark and self._bookmarks:
                yield self._bookmark(plan.since, initial=True)
            while (left := deadline - clock.monotonic()) > 0:
                batch = await watcher.next(min(left, BOOKMARK_SECONDS))
                for chunk in self._chunks(batch):
                    yield chunk
                if not batch and self._bookmarks:
                    yield self._bookmark(self._backend.store.revision)
            if self._bookmarks:
                yield self._bookmark(self._backend.store.revision)
        except WatchEnded:
            return
        finally:
            watcher.close()

    def _initial(self, plan: _Plan) -> list[bytes]:
        items = [item.entry.value for item in plan.initial or ()
                 if self._which.all or self._which.matches_value(self._served, item.entry.value)]
        return [b"".join(self._frame("ADDED", value) for value in items[start:start + LIMIT_CHUNK_EVENTS])
                for start in range(0, len(items), LIMIT_CHUNK_EVENTS)]

    def _chunks(self, batch: Batch) -> Iterable[bytes]:
        """The batch as this watch shows it; the chunks of one who selects nothing are shared by all such watches."""
        if not self._all:
            return self._joined(batch)
        if batch.memo is None:
            batch.memo = {}
        chunks = batch.memo.get(self._memo_key)
        if chunks is None:
            chunks = batch.memo[self._memo_key] = list(self._joined(batch))
        assert isinstance(chunks, list)
        return chunks

    def _joined(self, batch: Batch) -> Iterator[bytes]:
        for start in range(0, len(batch), LIMIT_CHUNK_EVENTS):
            chunk = b"".join(map(self._line, batch[start:start + LIMIT_CHUNK_EVENTS]))
            if chunk:
                yield chunk

    def _line(self, event: Event) -> bytes:
        """The event as this watch shows it; empty where it is not selected."""
        if self._all:
            return self._frame(event.type, event.value)
        if self._which.name is not None and event.key.name != self._which.name:
            return b""
        selected = event.type != "DELETED" and self._which.matches_value(self._served, event.value)
        was = event.previous is not None and self._which.matches_value(self._served, event.previous)
        if selected:
            return self._shared(event) if was == (event.type == "MODIFIED") else self._frame("ADDED", event.value)
        if was:
            return self._shared(event) if event.type == "DELETED" else self._frame("DELETED", event.value)
        return b""

    def _shared(self, event: Event) -> bytes:
        if event.memo is None:
            event.memo = {}
        line = event.memo.get(self._memo_key)
        if line is None:
            line = event.memo[self._memo_key] = self._frame(event.type, event.value)
        assert isinstance(line, bytes)
        return line

    def _frame(self, type: str, value: bytes) -> bytes:
        if self._call.format.shape == "object":
            shown = on_wire(self._served, value)
        else:
            shown = encode(self._shape(object_of(self._served, value)))
        return b'{"type":"%b","object":%b}\n' % (type.encode(), shown)

    def _shape(self, obj: Object) -> Object:
        if self._call.format.shape == "metadata":
            return tables.partial(obj)
        return tables.table(self._served, [obj], version=self._call.format.version, include=self._include,
                            now=self._backend.clock.now()) | {
            "metadata": {"resourceVersion": obj["metadata"].get("resourceVersion", "")}}

    def _bookmark(self, revision: int, *, initial: bool = False) -> bytes:
        resource = self._served.resource
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._call.format.shape == "metadata":
            obj |= {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        elif self._call.format.shape == "table":
            obj = {"kind": "Table", "apiVersion": f"meta.k8s.io/{self._call.format.version}",
                   "metadata": {"resourceVersion": str(revision)}, "columnDefinitions": [],
                   "rows": [{"cells": [], "object": tables.partial(obj)}]}
        return b'{"type":"BOOKMARK","object":%b}\n' % encode(obj)
