"""Forgets events after an hour, and the oldest when there are too many.

``builtin`` builds me; I call ``client``. I watch no events, for that would keep them all in memory: now and then I page
through them. While there are none I rest, until a Pod or node changes, for then somebody has something to tell.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from lightship import errors
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, NAMESPACES, NODES, PODS
from lightship.lib import tasks
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "event-controller"
LIFE_SECONDS = 3600.0
LIMIT_EVENTS = 5000
PAGE_EVENTS = 500
LIMIT_WRITES_AT_ONCE = 16
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60.0, 600.0
ALL = Key("", "events")


class Seen(NamedTuple):
    """An event and the moment that it last told of, in seconds since the epoch."""

    at: float
    key: Key


def last_told(event: Mapping[str, Any]) -> float:
    """When the event last happened, by whichever of its times is latest; 0 where it has none that can be read."""
    series = event.get("series") or {}
    told = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"),
            event.get("firstTimestamp"), objects.meta(event).get("creationTimestamp"))
    found = []
    for text in told:
        try:
            found.append(times.parse(text).timestamp() if isinstance(text, str) and text else 0.0)
        except errors.InvalidInput:
            continue
    return max(found, default=0.0)


def decide(seen: Iterable[Seen], now: datetime) -> tuple[list[Key], float]:
    """What is to go, and in how many seconds the next look is due."""
    horizon = now.timestamp() - LIFE_SECONDS
    everything = list(seen)
    doomed = [one for one in everything if one.at <= horizon]
    young = [one for one in everything if one.at > horizon]
    over = heapq.nsmallest(max(0, len(young) - LIMIT_EVENTS), young)
    kept = set(young) - set(over)
    oldest = min((one.at for one in kept), default=horizon + LIFE_SECONDS)
    pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, oldest - horizon))
    return [one.key for one in (*doomed, *over)], pause


class Expiry:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._resting = True

    def keys_of(self, obj: Object) -> Iterable[Key]:
        """Of any change: a look, if none is due anyhow."""
        return (ALL,) if self._resting else ()

    async def reconcile(self, key: Key) -> Result:
        self._resting = False
        seen = await self._seen()
        doomed, pause = decide(seen, self._clock.now())
        await tasks.each([partial(self._delete, one) for one in doomed], at_once=LIMIT_WRITES_AT_ONCE)
        if len(doomed) == len(seen):
            self._resting = True
            return DONE
        return Result(requeue_after_seconds=pause)

    async def _seen(self) -> list[Seen]:
        found: list[Seen] = []
        token = ""
        while True:
            try:
                page = await self._client.list(EVENTS, limit=PAGE_EVENTS, continue_token=token)
            except errors.Gone:
                return found  # the list has become too old under way: the rest waits for the next look
            found += [Seen(last_told(event), objects.key(event)) for event in page.items]
            token = page.continue_token
            if not token:
                return found

    async def _delete(self, key: Key) -> None:
        try:
            await self._client.delete(EVENTS, key)
        except errors.NotFound:
            return


def controller(deps: Deps) -> Controller:
    reconciler = Expiry(deps)
    return Controller(name=NAME, reconciler=reconciler, workers=1, watches=tuple(
        Watch(resource=resource, keys=reconciler.keys_of) for resource in (NAMESPACES, PODS, NODES)))
