"""Memory limits where no control group can be had: a look a second at what limited containers use. ``agent`` runs me.

A container over its limit is killed and told as OOMKilled, as the kernel would have done; one that grows faster than I
look gets further than it would have. While nothing with a limit runs I sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightship.cluster.node import metrics, plan
from lightship.cluster.node.runner import Started
from lightship.kube import objects, quantities
from lightship.kube.objects import Key, Object
from lightship.lib.clock import Clock

LOOK_SECONDS = 1.0


def limits_of(pod: Object) -> dict[str, int]:
    """The memory limits of the Pod's containers, in bytes."""
    found: dict[str, int] = {}
    for container in (*plan.init_containers(pod), *plan.containers(pod)):
        limit: Any = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        if limit:
            found[container["name"]] = quantities.whole(limit)
    return found


def over(readings: Mapping[int, metrics.Reading], roots: Sequence[metrics.Root],
         limits: Mapping[Key, Mapping[str, int]]) -> list[metrics.Root]:
    """Which containers use more than they may. Pure."""
    return [root for root in roots if root.pid in readings
            and 0 < limits.get(root.pod, {}).get(root.container, 0) < readings[root.pid].memory_bytes]


class MemoryWatch:
    """``roots`` says what runs, ``running`` gives a container's present life."""

    def __init__(self, roots: Callable[[], Awaitable[Sequence[metrics.Root]]],
                 running: Callable[[Key, str], Started | None], clock: Clock) -> None:
        self._roots = roots
        self._running = running
        self._clock = clock
        self._limits: dict[Key, dict[str, int]] = {}
        self._some = asyncio.Event()

    def add(self, pod: Object) -> None:
        """A Pod begins."""
        if limits := limits_of(pod):
            self._limits[objects.key(pod)] = limits
            self._some.set()

    def remove(self, pod: Object) -> None:
        """A Pod has ended."""
        self._limits.pop(objects.key(pod), None)
        if not self._limits:
            self._some.clear()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Once over all that have limits."""
        roots = [root for root in await self._roots() if root.pod in self._limits]
        sample = await asyncio.to_thread(metrics.look, Path("/proc"), roots, self._clock.now())
        for root in over(sample.readings, roots, self._limits):
            started = self._running(root.pod, root.container)
            if started is not None:
                started.over_memory = True
                started.handle.kill()
