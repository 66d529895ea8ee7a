"""Whether the file system of Pods' files is nearly full. ``agent`` makes me, and ``pressure`` says what follows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightship.cluster.node import pressure, usage
from lightship.kube import objects
from lightship.lib.clock import Clock

FREE_PERCENT, LIMIT_FREE_BYTES = 10, 1 << 30
"""Less than so much of the file system is pressure, but never more than so many bytes: a laptop's disk is often 90 %
full and has room for much."""
FREE_INODES_PERCENT, LIMIT_FREE_INODES = 5, 20_000
STORAGE = "ephemeral-storage"


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
        return (f"The node was low on resource: {STORAGE}. Threshold quantity: {least}, "
                f"available: {disk.free_bytes >> 10}Ki. ")
    least = min(disk.inodes * FREE_INODES_PERCENT // 100, LIMIT_FREE_INODES)
    if disk.free_inodes < least:
        return f"The node was low on resource: inodes. Threshold quantity: {least}, available: {disk.free_inodes}. "
    return ""


class DiskWatch(pressure.Watch):
    """``directory`` is the node's."""

    kind = pressure.Kind(condition="DiskPressure", short_reason="NodeHasDiskPressure",
                         enough_reason="NodeHasNoDiskPressure", resource=STORAGE)

    def __init__(self, directory: Path, running: Callable[[], Collection[pressure.Evictable]],
                 changed: Callable[[], Awaitable[None]], clock: Clock) -> None:
        super().__init__(running, changed, clock)
        self._directory = directory
        self.look: Callable[[Path], Disk] = look_at

    def shortage(self) -> str:
        return shortage(self.look(self._directory))

    async def used_bytes(self, running: Sequence[pressure.Evictable]) -> Mapping[str, int]:
        """What lies in each Pod's directory."""
        return {uid: await asyncio.to_thread(usage.used_bytes, self._directory / "pods" / uid)
                for uid in (objects.uid(one.pod) for one in running)}
