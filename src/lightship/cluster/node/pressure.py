"""What looking after something that runs short has in common: the Node's condition, and which Pod goes first.

``disk_watch`` and ``memory_pressure`` say what is short and what each Pod has of it; ``agent`` runs them together by
``run``. A Node under pressure is tainted by the node controller, and one Pod a look is evicted as kubelet chooses it,
until there is room again.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightship.cluster.node import plan
from lightship.kube import conditions, objects, quantities
from lightship.kube.objects import Object
from lightship.lib.clock import Clock

LOOK_SECONDS = 10.0
HOLD_SECONDS = 300.0
"""The pressure is over when there has been room for so long, or Pods would come back at once and fill it again."""
CRITICAL_PRIORITY = 2_000_000_000
"""Pods of this priority, a cluster's own, are not evicted."""
WORTH_BYTES = 1 << 20
"""A Pod with less is left: its end would give nothing back."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A Pod that could be evicted, and what it has of the resource that is short."""

    pod: Object
    resource: str
    used_bytes: int

    @property
    def requested_bytes(self) -> int:
        """What the Pod's containers asked for."""
        asked = [((container.get("resources") or {}).get("requests") or {}).get(self.resource)
                 for container in plan.containers(self.pod)]
        return sum(quantities.whole(amount) for amount in asked if amount is not None)

    @property
    def excess_bytes(self) -> int:
        return self.used_bytes - self.requested_bytes


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """Who goes first: one beyond its request before one within it, then the lowest priority, then the furthest over.
    One that is being deleted goes anyway."""
    able = [one for one in candidates if _priority(one.pod) < CRITICAL_PRIORITY and one.used_bytes >= WORTH_BYTES
            and not objects.deleting(one.pod)]
    return max(able, key=lambda one: (one.excess_bytes > 0, -_priority(one.pod), one.excess_bytes), default=None)


def told(short: str, chosen: Candidate) -> str:
    """Why the Pod is evicted, in kubelet's words."""
    return (f"{short}Pod {objects.name(chosen.pod)} was using {chosen.used_bytes >> 10}Ki, request is "
            f"{chosen.requested_bytes}, has larger consumption of {chosen.resource}. ")


def _priority(pod: Object) -> int:
    return int(objects.spec(pod).get("priority") or 0)


class Evictable(Protocol):
    """A Pod that runs: its supervisor."""

    @property
    def pod(self) -> Object: ...

    @property
    def evicted(self) -> bool: ...

    def evict(self, message: str) -> None: ...

    def memory_files_bytes(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of pressure: the Node's condition, its reasons, and the resource by which Pods ask for what is short."""

    condition: str
    short_reason: str
    enough_reason: str
    resource: str


class Watch(ABC):
    """``running`` says what runs, ``changed`` has the Node tell its conditions anew."""

    kind: Kind

    def __init__(self, running: Callable[[], Collection[Evictable]], changed: Callable[[], Awaitable[None]],
                 clock: Clock) -> None:
        self._running = running
        self._changed = changed
        self._clock = clock
        self._short = ""
        self._last: float | None = None
        """When there was a shortage last."""
        self._relieving = False
        """A Pod has been evicted, and what it gives back has not been looked at."""

    @abstractmethod
    def shortage(self) -> str:
        """Looks; what the node is low on, in kubelet's words, or nothing."""

    @abstractmethod
    async def used_bytes(self, running: Sequence[Evictable]) -> Mapping[str, int]:
        """What each Pod has of what is short, by its uid."""

    @property
    def look_seconds(self) -> float:
        """When to look again."""
        return LOOK_SECONDS

    def condition(self) -> conditions.Condition:
        """The Node's, as of the last look."""
        if self._last is None:
            return conditions.make(self.kind.condition, False, self.kind.enough_reason)
        message = self._short or "there is room again, and the pressure ends when that lasts"
        return conditions.make(self.kind.condition, True, self.kind.short_reason, message)

    def observe(self) -> bool:
        """Looks; whether the pressure began or ended by that."""
        before, now = self._last is not None, self._clock.monotonic()
        self._short = self.shortage()
        if self._short:
            self._last = now
        elif self._last is not None and now - self._last >= HOLD_SECONDS:
            self._last = None
        return before != (self._last is not None)

    async def pass_once(self) -> None:
        """Looks, tells of a change, and relieves the node where it is short."""
        if self.observe():
            _log.warning("a pressure on the node began or ended",
                         extra={"condition": self.kind.condition, "shortage": self._short})
            await self._changed()
        if self._short:
            await self._relieve()

    async def _relieve(self) -> None:
        """Evicts the one Pod that is to go first; waits for the room that an earlier one gives back, a look after it
        has gone."""
        running = list(self._running())
        if any(one.evicted for one in running):
            return
        if self._relieving:
            self._relieving = False
            return
        used = await self.used_bytes(running)
        chosen = choose(Candidate(pod=one.pod, resource=self.kind.resource,
                                  used_bytes=used.get(objects.uid(one.pod), 0)) for one in running)
        for one in running:
            if chosen is not None and objects.uid(one.pod) == objects.uid(chosen.pod):
                one.evict(told(self._short, chosen))
                self._relieving = True


async def run(watches: Sequence[Watch], clock: Clock) -> None:
    """Until cancelled; those that look equally often do so in one go, so that an idle node wakes once for all."""
    due = dict.fromkeys(watches, 0.0)
    while True:
        now = clock.monotonic()
        for watch in [watch for watch in watches if due[watch] <= now]:
            await watch.pass_once()
            due[watch] = now + watch.look_seconds
        await clock.sleep(max(0.0, min(due.values()) - clock.monotonic()))
