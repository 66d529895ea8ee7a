"""Whether the machine's memory, or what this process may have of it, is nearly used up. ``agent`` makes me.

What follows from that is ``pressure``'s: the Node's condition and who is evicted. ``memory_watch`` is another: it holds
containers to limits of their own. Pods without any, and their files in memory, are bounded by me alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightship.cluster.node import cgroups, metrics, pressure
from lightship.kube import objects
from lightship.lib.clock import Clock

LEAST_BYTES = 100 << 20
"""Less is pressure on any machine, as kubelet has it."""
LEAST_PERCENT, LIMIT_LEAST_BYTES = 2, 1 << 30
"""A larger machine keeps more, since its Pods get further between two looks and what is then left is what the kernel
must do with; but never more than so many bytes."""
NEAR = 4
"""With less than so many times that I look every second: the last of it goes fast."""
NEAR_LOOK_SECONDS = 1.0
MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What there is and what can be had of it without anything being swapped."""

    size_bytes: int
    available_bytes: int

    @property
    def least_bytes(self) -> int:
        return max(LEAST_BYTES, min(self.size_bytes * LEAST_PERCENT // 100, LIMIT_LEAST_BYTES))

    @property
    def near(self) -> bool:
        return self.available_bytes < NEAR * self.least_bytes


def look_at(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Memory | None:
    """The machine, or the control group around this process that has less left; None where nobody tells."""
    try:
        told = metrics.meminfo((proc / "meminfo").read_text())
    except OSError:
        return None
    size, available = told["MemTotal"], told.get("MemAvailable", told.get("MemFree", 0))
    for limit, used in cgroups.memory_around(groups, proc / "self" / "cgroup"):
        size, available = min(size, limit), min(available, max(0, limit - used))
    return Memory(size_bytes=size, available_bytes=available)


def shortage(memory: Memory | None) -> str:
    """What the node is low on, in kubelet's words; empty for nothing."""
    if memory is None or memory.available_bytes >= memory.least_bytes:
        return ""
    return (f"The node was low on resource: {MEMORY}. Threshold quantity: {memory.least_bytes}, "
            f"available: {memory.available_bytes >> 10}Ki. ")


class MemoryPressure(pressure.Watch):
    """``roots`` says which processes run."""

    kind = pressure.Kind(condition="MemoryPressure", short_reason="NodeHasInsufficientMemory",
                         enough_reason="NodeHasSufficientMemory", resource=MEMORY)

    def __init__(self, roots: Callable[[], Awaitable[Sequence[metrics.Root]]],
                 running: Callable[[], Collection[pressure.Evictable]], changed: Callable[[], Awaitable[None]],
                 clock: Clock) -> None:
        super().__init__(running, changed, clock)
        self._roots = roots
        self.look: Callable[[], Memory | None] = look_at
        self._near = False

    def shortage(self) -> str:
        found = self.look()
        self._near = found is not None and found.near
        return shortage(found)

    @property
    def look_seconds(self) -> float:
        return NEAR_LOOK_SECONDS if self._near else pressure.LOOK_SECONDS

    async def used_bytes(self, running: Sequence[pressure.Evictable]) -> Mapping[str, int]:
        """What each Pod's processes have, and its files in memory."""
        roots = await self._roots()
        sample = await asyncio.to_thread(metrics.look, Path("/proc"), roots, self._clock.now())
        taken = {objects.uid(one.pod): one.memory_files_bytes() for one in self._running()}
        uids = {objects.key(one.pod): objects.uid(one.pod) for one in running}
        for root in roots:
            if root.pod in uids and root.pid in sample.readings:
                uid = uids[root.pod]
                taken[uid] = taken.get(uid, 0) + sample.readings[root.pid].memory_bytes
        return taken
