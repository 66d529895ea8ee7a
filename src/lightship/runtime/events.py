"""Events: a line in ``kubectl describe`` for what a controller did or could not do.

Reconcilers call me after their writes; I call ``client``. The same event again is counted on one object rather than
written anew; many that differ in their words only are combined into one; and of one object so many are told at once,
and then one in a while. An event is a courtesy: one that cannot be written is logged and never fails the pass.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

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
LIMIT_SIMILAR_EVENTS = 10
"""So many events of one object and reason may differ in their words before they are combined."""
SIMILAR_SECONDS = 600.0
LIMIT_BURST_EVENTS = 25
"""So many events of one object are told at once; after that one every ``REFILL_SECONDS``."""
REFILL_SECONDS = 300.0
COMBINED = "(combined from similar events): "
EventType = Literal["Normal", "Warning"]


class Announcement(NamedTuple):
    """An event that a pass has yet to tell: events come after the status."""

    type: EventType
    reason: str
    message: str


class Correlator:
    """Decides what of the events of one component is told, and in which words. ``seconds`` never goes back."""

    def __init__(self) -> None:
        self._similar: OrderedDict[tuple[str, str, str], tuple[set[str], float]] = OrderedDict()
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, uid: str, words: Announcement, seconds: float) -> Announcement | None:
        """The event as it is to be told, or None where the object has told enough for now."""
        if not self._spend(uid, seconds):
            return None
        place = (uid, words.type, words.reason)
        known, since = self._similar.get(place, (set(), seconds))
        if seconds - since > SIMILAR_SECONDS:
            known = set()
        if len(known) < LIMIT_SIMILAR_EVENTS:
            known.add(words.message)
        _remember(self._similar, place, (known, seconds))
        if words.message in known:
            return words
        return words._replace(message=_cut(COMBINED + words.message))

    def _spend(self, uid: str, seconds: float) -> bool:
        left, since = self._budgets.get(uid, (float(LIMIT_BURST_EVENTS), seconds))
        left = min(float(LIMIT_BURST_EVENTS), left + (seconds - since) / REFILL_SECONDS)
        _remember(self._budgets, uid, (max(0.0, left - 1), seconds) if left >= 1 else (left, seconds))
        return left >= 1


def _remember(entries: OrderedDict[Any, Any], place: Any, value: Any) -> None:
    entries[place] = value
    entries.move_to_end(place)
    while len(entries) > LIMIT_REMEMBERED_EVENTS:
        entries.popitem(last=False)


class Recorder:
    """Records events as ``component``."""

    def __init__(self, client: Client, component: str, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._counts: OrderedDict[Key, int] = OrderedDict()
        self._correlator = Correlator()

    async def event(self, obj: Object, type: EventType, reason: str, message: str) -> None:
        """Say that ``reason`` befell ``obj``, which came from the server."""
        told = self._correlator.admit(objects.uid(obj) or str(objects.key(obj)),
                                      Announcement(type, reason, _cut(message)), self._clock.monotonic())
        if told is None:
            return
        same = COMBINED if told.message.startswith(COMBINED) else told.message
        key = event_key(obj, self._component, reason, same)
        try:
            await self._write(key, obj, told)
        except errors.LightshipError as error:
            # Events of what goes with its namespace have no place to be in, and nobody is to read them.
            level = logging.DEBUG if "being terminated" in error.message else logging.WARNING
            _log.log(level, "could not record an event", extra={
                "object": str(objects.key(obj)), "reason": reason, "error": str(error)})

    async def announce(self, obj: Object, announcements: Sequence[Announcement]) -> None:
        """Say several things of ``obj``, at once."""
        await tasks.each([partial(self.event, obj, *announcement) for announcement in announcements],
                         at_once=LIMIT_WRITES_AT_ONCE)

    async def _write(self, key: Key, obj: Object, words: Announcement) -> None:
        count = self._counts.get(key, 0) + 1
        if count > 1:
            try:
                await self._count(key, count, words.message)
                return
            except errors.NotFound:
                count = 1  # it has expired: begin again
        try:
            await self._client.create(EVENTS, self._make(key, obj, words))
        except errors.AlreadyExists:
            there = await self._client.get(EVENTS, key.name, key.namespace)
            count = int(there.get("count") or 1) + 1
            await self._count(key, count, words.message)
        _remember(self._counts, key, count)

    async def _count(self, key: Key, count: int, message: str) -> None:
        stamp = clocks.timestamp(self._clock.now())
        await self._client.patch(EVENTS, key, {"count": count, "lastTimestamp": stamp, "message": message})
        _remember(self._counts, key, count)

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
