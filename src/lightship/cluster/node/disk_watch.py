"""Whether the file system of Pods' files is nearly full, and which Pod goes first when it is. ``agent`` runs me.

I look every ten seconds; the decisions are pure. A Node under DiskPressure is tainted by the node controller, and one
Pod a look is evicted as kubelet chooses it, until there is room again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightship.cluster.node import plan, usage
from lightship.kube import conditions, objects, quantities
from lightship.kube.objects import Object
from lightship.lib.clock import Clock

LOOK_SECONDS = 10.0
HOLD_SECONDS = 300.0
"""The pressure is over when there has been room for so long, or Pods would come back at once and fill it again."""
FREE_PERCENT, LIMIT_FREE_BYTES = 10, 1 << 30
"""Less than so much of the file system is pressure, but never more than so many bytes: a laptop's disk is often 90 %
full and has room for much."""
FREE_INODES_PERCENT, LIMIT_FREE_INODES = 5, 20_000
CRITICAL_PRIORITY = 2_000_000_000
"""Pods of this priority, a cluster's own, are not evicted."""
WORTH_BYTES = 1 << 20
"""A Pod with less on disk is left: its end would give nothing back."""
_STORAGE = "ephemeral-storage"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A file system. ``inodes`` is 0 where it does not count them."""

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


def look_at(directory: Path) -> Disk:
    """The file system below ``directory``, as it is for who is not its superuser."""
    found = os.statvfs(directory)
    return Disk(size_bytes=found.f_blocks * found.f_frsize, free_bytes=found.f_bavail * found.f_frsize,
                inodes=found.f_files, free_inodes=found.f_favail)


def shortage(disk: Disk) -> str:
    """What the node is low on, in kubelet's words; empty for nothing."""
    least = min(disk.size_bytes * FREE_PERCENT // 100, LIMIT_FREE_BYTES)
    if disk.free_bytes < least:
        return (f"The node was low on resource: {_STORAGE}. Threshold quantity: {least}, "
                f"available: {disk.free_bytes >> 10}Ki. ")
    least = min(disk.inodes * FREE_INODES_PERCENT // 100, LIMIT_FREE_INODES)
    if disk.free_inodes < least:
        return f"The node was low on resource: inodes. Threshold quantity: {least}, available: {disk.free_inodes}. "
    return ""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A Pod that could be evicted, and what it has on disk."""

    pod: Object
    used_bytes: int


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """Who goes first: one beyond its request before one within it, then the lowest priority, then the furthest over."""
    able = [one for one in candidates if _priority(one.pod) < CRITICAL_PRIORITY and one.used_bytes >= WORTH_BYTES]
    return max(able, key=lambda one: (_excess(one) > 0, -_priority(one.pod), _excess(one)), default=None)


def told(short: str, chosen: Candidate) -> str:
    """Why the Pod is evicted, in kubelet's words."""
    asked = requested_bytes(chosen.pod)
    return (f"{short}Pod {objects.name(chosen.pod)} was using {chosen.used_bytes >> 10}Ki, request is {asked}, has "
            f"larger consumption of {_STORAGE}. ")


def requested_bytes(pod: Object) -> int:
    """The disk that the Pod's containers asked for."""
    asked = [((container.get("resources") or {}).get("requests") or {}).get(_STORAGE)
             for container in plan.containers(pod)]
    return sum(int(quantities.whole(amount)) for amount in asked if amount is not None)


def _priority(pod: Object) -> int:
    return int(objects.spec(pod).get("priority") or 0)


def _excess(candidate: Candidate) -> int:
    return candidate.used_bytes - requested_bytes(candidate.pod)


class Evictable(Protocol):
    """A Pod that runs: its supervisor."""

    @property
    def pod(self) -> Object: ...

    @property
    def evicted(self) -> bool: ...

    def evict(self, message: str) -> None: ...


class DiskWatch:
    """``running`` says what runs, ``changed`` has the Node tell its conditions anew."""

    def __init__(self, directory: Path, running: Callable[[], Collection[Evictable]],
                 changed: Callable[[], Awaitable[None]], clock: Clock) -> None:
        self._directory = directory
        self._running = running
        self._changed = changed
        self._clock = clock
        self.look: Callable[[Path], Disk] = look_at
        self._short = ""
        self._last: float | None = None
        """When there was a shortage last."""

    def condition(self) -> conditions.Condition:
        """DiskPressure, as of the last look."""
        if self._last is None:
            return conditions.make("DiskPressure", False, "NodeHasNoDiskPressure")
        message = self._short or "there is room again, and the pressure ends when that lasts"
        return conditions.make("DiskPressure", True, "NodeHasDiskPressure", message)

    def observe(self) -> bool:
        """Looks at the disk; whether the pressure began or ended by that."""
        before, now = self._last is not None, self._clock.monotonic()
        self._short = shortage(self.look(self._directory))
        if self._short:
            self._last = now
        elif self._last is not None and now - self._last >= HOLD_SECONDS:
            self._last = None
        return before != (self._last is not None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.pass_once()
            await self._clock.sleep(LOOK_SECONDS)

    async def pass_once(self) -> None:
        """Looks, tells of a change, and relieves the disk where it is short."""
        if self.observe():
            _log.warning("the disk's pressure began or ended", extra={"shortage": self._short})
            await self._changed()
        if self._short:
            await self._relieve()

    async def _relieve(self) -> None:
        """Evicts the one Pod that is to go first; waits for the room that an earlier one gives back."""
        running = list(self._running())
        if any(one.evicted for one in running):
            return
        candidates = {}
        for one in running:
            used = await asyncio.to_thread(usage.used_bytes, self._directory / "pods" / objects.uid(one.pod))
            candidates[objects.uid(one.pod)] = Candidate(pod=one.pod, used_bytes=used)
        chosen = choose(candidates.values())
        for one in running:
            if chosen is not None and objects.uid(one.pod) == objects.uid(chosen.pod):
                one.evict(told(self._short, chosen))
