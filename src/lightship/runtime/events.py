"""Events: a line in ``kubectl describe`` for what a controller did or could not do.

Reconcilers call me after their writes; I call ``client``. The same event again is counted on one object rather than
written anew. An event is a courtesy: one that cannot be written is logged and never fails the pass.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS
from lightship.lib import clock as clocks
from lightship.lib import tasks
from lightship.runtime import apply

_log = logging.getLogger(__name__)

LIMIT_REMEMBERED_EVENTS = 4096
LIMIT_MESSAGE_CHARACTERS = 1024
LIMIT_WRITES_AT_ONCE = 16
EventType = Literal["Normal", "Warning"]


class Announcement(NamedTuple):
    """An event that a pass has yet to tell: events come after the status."""

    type: EventType
    reason: str
    message: str


class Recorder:
    """Records events as ``component``."""

    def __init__(self, client: Client, component: str, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._counts: OrderedDict[Key, int] = OrderedDict()

    async def event(self, obj: Object, type: EventType, reason: str, message: str) -> None:
        """Say that ``reason`` befell ``obj``, which came from the server."""
        message = _cut(message)
        key = event_key(obj, self._component, reason, message)
        try:
            await self._write(key, obj, Announcement(type, reason, message))
        except errors.LightshipError as error:
            _log.warning("could not record an event", extra={
                "object": str(objects.key(obj)), "reason": reason, "error": str(error)})

    async def announce(self, obj: Object, announcements: Sequence[Announcement]) -> None:
        """Say several things of ``obj``, at once."""
        await tasks.each([partial(self.event, obj, *announcement) for announcement in announcements],
                         at_once=LIMIT_WRITES_AT_ONCE)

    async def _write(self, key: Key, obj: Object, words: Announcement) -> None:
        count = self._counts.get(key, 0) + 1
        if count > 1:
            try:
                await self._count(key, count)
                return
            except errors.NotFound:
                count = 1  # it has expired: begin again
        try:
            await self._client.create(EVENTS, self._make(key, obj, words))
        except errors.AlreadyExists:
            there = await self._client.get(EVENTS, key.name, key.namespace)
            count = int(there.get("count") or 1) + 1
            await self._count(key, count)
        self._remember(key, count)

    async def _count(self, key: Key, count: int) -> None:
        stamp = clocks.timestamp(self._clock.now())
        await self._client.patch(EVENTS, key, {"count": count, "lastTimestamp": stamp})
        self._remember(key, count)

    def _remember(self, key: Key, count: int) -> None:
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > LIMIT_REMEMBERED_EVENTS:
            self._counts.popitem(last=False)

    def _make(self, key: Key, obj: Object, words: Announcement) -> Object:
        type, reason, message = words
        stamp = clocks.timestamp(self._clock.now())
        involved = {
            "apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", ""), "name": objects.name(obj),
            "uid": objects.uid(obj), "resourceVersion": objects.meta(obj).get("resourceVersion", ""),
        }
        if objects.namespace(obj):
            involved["namespace"] = objects.namespace(obj)
        return {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": key.name, "namespace": key.namespace},
            "involvedObject": involved, "type": type, "reason": reason, "message": message,
            "source": {"component": self._component}, "reportingComponent": self._component, "reportingInstance": "",
            "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
        }


def event_key(obj: Object, component: str, reason: str, message: str) -> Key:
    """The name under which equal events of one object are counted. Cluster-scoped objects' go to ``default``."""
    words = apply.digest([objects.uid(obj), component, reason, message])
    return Key(objects.namespace(obj) or "default", f"{objects.name(obj)}.{words}")


def _cut(message: str) -> str:
    if len(message) <= LIMIT_MESSAGE_CHARACTERS:
        return message
    return message[:LIMIT_MESSAGE_CHARACTERS - 3] + "..."
