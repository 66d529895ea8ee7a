"""A local, current copy of the objects of one kind: list once, then watch.

``runtime.manager`` shares me between controllers; the node and the gateway start their own. I call ``client``.

The life of one: a paged list, then a watch from its revision. A stream that ends or breaks is resumed from the last
revision seen, bookmarks included. When the server has forgotten that revision (410) I list again and tell subscribers
of what vanished meanwhile, as deletions. Failures are retried for ever, with jittered back-off; the copy stays
readable, if old, until the server is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from lightship import errors
from lightship.client.client import EVERYTHING, Client, Selection, WatchEvent
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.lib import clock as clocks
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.runtime.cache import Cache, IndexFunction, Objects, by_label

_log = logging.getLogger(__name__)

Subscriber = Callable[[Object | None, Object | None], None]
"""Gets ``(old, new)``: ``old`` is None for a new object, ``new`` is None for one that is gone."""

RELIST_BACKOFF = Backoff(initial_seconds=0.2, maximum_seconds=30, jitter=0.5)
SHORT_WATCH_SECONDS = 1.0
"""A watch that says nothing and ends sooner than this counts as a failure, so that it is not retried in a spin."""


@dataclass(frozen=True, kw_only=True)
class InformerOptions:
    """The informer's limits. ``random`` gives numbers in [0, 1) for jitter."""

    page_objects: int = 500
    watch_timeout_seconds: int = 1800
    """A watch is renewed after this and up to as much again, which bounds how long a dead connection goes unseen."""
    backoff: Backoff = RELIST_BACKOFF
    random: Callable[[], float] = random.random
    transform: Callable[[Object], Object] | None = None
    """Trims what is kept of each object, where a reader needs little of very many."""


def metadata_only(obj: Object) -> Object:
    """A transform: what garbage collection needs, a fraction of most objects' size."""
    metadata = objects.meta(obj)
    kept = {name: metadata[name] for name in _KEPT_METADATA if name in metadata}
    if "namespace" in kept:
        kept["namespace"] = sys.intern(kept["namespace"])
    return {"apiVersion": sys.intern(obj.get("apiVersion", "")), "kind": sys.intern(obj.get("kind", "")),
            "metadata": kept}


_KEPT_METADATA = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")


class Informer:
    """``synced`` is set once the first list is in. Reads never wait and never touch the server."""

    def __init__(self, client: Client, resource: Resource, selection: Selection = EVERYTHING,
                 clock: clocks.Clock = clocks.SYSTEM, *, options: InformerOptions | None = None) -> None:
        self.resource = resource
        self.selection = selection
        self.synced = asyncio.Event()
        self._client = client
        self._clock = clock
        self._options = options or InformerOptions()
        self._cache = Cache()
        self._subscribers: list[Subscriber] = []
        self._tasks = tasks.Tasks(f"informer of {resource.group_resource}")
        self._revision = ""
        self._failures = 0

    async def start(self) -> None:
        """Begin to list and watch in a task of my own; wait on ``synced`` for the first list."""
        self._tasks.spawn(self.run())

    async def stop(self) -> None:
        await self._tasks.close()

    def get(self, key: Key) -> Object | None:
        return self._cache.get(key)

    def list(self, namespace: str = "") -> Objects:
        return self._cache.list(namespace)

    def owned_by(self, uid: str) -> Objects:
        """The objects that have an owner reference to ``uid``."""
        return self._cache.indexed("owner", uid)

    def index_label(self, label: str) -> None:
        """Keep an index of ``label``, for ``labelled``."""
        self._cache.add_index(f"label:{label}", by_label(label))

    def labelled(self, label: str, value: str) -> Objects:
        """The objects whose ``label`` is ``value``, in all namespaces; ``index_label`` must have been called."""
        return self._cache.indexed(f"label:{label}", value)

    def add_index(self, name: str, function: IndexFunction) -> None:
        self._cache.add_index(name, function)

    def indexed(self, name: str, value: str) -> Objects:
        return self._cache.indexed(name, value)

    def index_values(self, name: str) -> tuple[str, ...]:
        """The values under which index ``name`` holds something."""
        return self._cache.index_values(name)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell ``subscriber`` of every change from now on, and now of everything there is; returns how to stop.

        A subscriber must be quick and must not wait: it puts a key in a queue or sets an event.
        """
        self._subscribers.append(subscriber)
        for obj in self._cache.list():
            self._tell(subscriber, None, obj)
        return lambda: self._subscribers.remove(subscriber)

    def observe(self, obj: Object) -> None:
        """Take in what a write of ours returned, so that the next pass reads its own writes.

        What the watch has already told, or told since, wins: a revision at or before mine is ignored.
        """
        if self._revision and not _newer(_revision(obj), self._revision):
            return
        old = self._cache.get(objects.key(obj))
        if old is None or _newer(_revision(obj), _revision(old)):
            self._put(obj)

    def clear(self) -> None:
        """Forget everything, and tell subscribers that it has gone: for a kind that is no longer served."""
        for key in self._cache.keys():  # noqa: SIM118 - a cache is no dict, and it changes in the loop
            self._drop(key)

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                await self._list()
                await self._watch_until_gone()
            except errors.LightshipError as error:
                self._failures += 1
                if self._failures > 1 or not isinstance(error, errors.Gone):
                    _log.warning("could not list or watch; will try again", extra=self._fields(error))
            except Exception:
                self._failures += 1
                _log.exception("an informer failed unexpectedly; will list again", extra=self._fields())
            await self._pause()

    async def _watch_until_gone(self) -> None:
        """Watch, and watch again from the last revision, until the server has forgotten it."""
        while True:
            try:
                await self._watch()
            except errors.Unavailable as error:
                self._failures += 1
                _log.info("a watch broke off; will resume it", extra=self._fields(error))
            await self._pause()

    async def _pause(self) -> None:
        if self._failures:
            options = self._options
            await self._clock.sleep(options.backoff.delay_seconds(self._failures, options.random))

    async def _list(self) -> None:
        found: dict[Key, Object] = {}
        token, revision = "", ""
        limit = self._options.page_objects
        while True:
            try:
                page = await self._client.list(self.resource, self.selection, limit=limit, continue_token=token)
            except errors.Gone:
                if not token:
                    raise
                # The history under the pages was compacted: one list without pages is consistent by itself.
                found, token, limit = {}, "", 0
                continue
            for obj in page.items:
                found[objects.key(obj)] = obj
            revision = page.resource_version
            token = page.continue_token
            if not token:
                break
        self._replace(found, revision)
        self.synced.set()

    def _replace(self, found: dict[Key, Object], revision: str) -> None:
        if _newer(self._revision, revision):
            # The server went back in time (restored, or made anew): nothing that I hold is ahead of it.
            for key in self._cache.keys():  # noqa: SIM118 - a cache is no dict, and it changes in the loop
                self._drop(key)
        for key in self._cache.keys():  # noqa: SIM118
            old = self._cache.get(key)
            # What a write of ours put here after the list was taken is not gone: the watch will tell of it.
            if key not in found and old is not None and not _newer(_revision(old), revision):
                self._drop(key)
        self._revision = revision
        for key, obj in found.items():
            old = self._cache.get(key)
            if old is not None and (_revision(old) == _revision(obj) or _newer(_revision(old), revision)):
                continue
            if old is not None and objects.uid(old) != objects.uid(obj):
                self._drop(key)  # deleted and made anew while I did not look: subscribers see both
            self._put(obj)

    async def _watch(self) -> None:
        seconds = self._options.watch_timeout_seconds
        timeout = int(seconds * (1 + self._options.random()))
        stream = self._client.watch(self.resource, self.selection, resource_version=self._revision,
                                    timeout_seconds=timeout)
        began, heard = self._clock.monotonic(), False
        async with aclosing(stream):
            async for event in stream:
                self._failures, heard = 0, True
                self._take(event)
        if heard or self._clock.monotonic() - began >= SHORT_WATCH_SECONDS:
            self._failures = 0
        else:
            self._failures += 1

    def _take(self, event: WatchEvent) -> None:
        obj = event.object
        revision = _revision(obj)
        if event.type != "BOOKMARK":
            key = objects.key(obj)
            old = self._cache.get(key)
            if old is not None and _newer(_revision(old), revision):
                pass  # a write of ours is ahead of the watch
            elif event.type == "DELETED":
                self._drop(key, last=obj)
            else:
                if old is not None and objects.uid(old) != objects.uid(obj):
                    self._drop(key)
                self._put(obj)
        self._revision = revision or self._revision

    def _put(self, obj: Object) -> None:
        if self._options.transform is not None:
            obj = self._options.transform(obj)
        objects.meta(obj).pop("managedFields", None)  # no reader of ours wants them, and they are half of an object
        old = self._cache.put(obj)
        if old is None or _revision(old) != _revision(obj):
            self._publish(old, obj)

    def _drop(self, key: Key, last: Object | None = None) -> None:
        old = self._cache.remove(key)
        if old is not None:
            self._publish(last or old, None)

    def _publish(self, old: Object | None, new: Object | None) -> None:
        for subscriber in list(self._subscribers):
            self._tell(subscriber, old, new)

    def _tell(self, subscriber: Subscriber, old: Object | None, new: Object | None) -> None:
        try:
            subscriber(old, new)
        except Exception:
            # One subscriber's bug must not stop the copy that all others read.
            key = objects.key(new or old or {})
            _log.exception("a subscriber raised", extra=self._fields() | {"key": str(key)})

    def _fields(self, error: Exception | None = None) -> dict[str, object]:
        fields: dict[str, object] = {"resource": self.resource.group_resource, "failures": self._failures}
        return fields | {"error": str(error)} if error else fields


def _revision(obj: Object) -> str:
    return str(objects.meta(obj).get("resourceVersion") or "")


def _newer(revision: str, than: str) -> bool:
    """Whether one revision is later. Kubernetes promises that they compare as integers (KEP-5504)."""
    return revision.isdigit() and than.isdigit() and int(revision) > int(than)
