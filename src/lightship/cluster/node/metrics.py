"""Measures what containers and the machine use, from ``/proc``: when somebody asks, and at most every some seconds.

``agent`` makes me and the app hands me to the API server. A container is its first process with all that descends from
it, whatever isolation there is, so one look at ``/proc`` serves all. Nobody asks: nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lightship.client.usage import Measured, Usage
from lightship.kube.objects import Key
from lightship.lib.clock import Clock

FRESH_SECONDS = 15.0
"""A sample of that age is given again."""
MINIMUM_WINDOW_SECONDS = 1.0
LIMIT_PROCESSES_IN_DETAIL = 64
"""Of a container with more processes memory is counted without sharing out what they share."""
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Root:
    """The first process of a container."""

    pod: Key
    labels: Mapping[str, str]
    container: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a container has used: CPU since its start, and memory now; ``start`` tells it from another of its pid."""

    cpu_seconds: float
    memory_bytes: int
    start_seconds: float
    """Of the machine's uptime."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at everything. ``uptime_seconds`` is the machine's."""

    at: datetime
    uptime_seconds: float
    roots: Sequence[Root] = ()
    readings: Mapping[int, Reading] = field(default_factory=dict)
    busy_seconds: float = 0.0
    memory_bytes: int = 0


class NodeMetrics:
    """A ``client.usage.MetricsSource``. ``roots`` says what runs."""

    def __init__(self, node: str, roots: Callable[[], Awaitable[Sequence[Root]]], clock: Clock,
                 proc: Path = Path("/proc")) -> None:
        self._node = Key("", node)
        self._roots = roots
        self._clock = clock
        self._proc = proc
        self._before: Sample | None = None
        self._last: Sample | None = None
        self._taken = 0.0
        self._turn = asyncio.Lock()

    async def nodes(self) -> Sequence[Measured]:
        now, before = await self._samples()
        window = now.uptime_seconds - before.uptime_seconds if before else now.uptime_seconds
        busy = now.busy_seconds - (before.busy_seconds if before else 0.0)
        usage = Usage(nanocores=_nanocores(busy, window), memory_bytes=now.memory_bytes)
        return [Measured(key=self._node, labels={"kubernetes.io/hostname": self._node.name}, at=now.at,
                         window_seconds=window, parts={"": usage})]

    async def pods(self) -> Sequence[Measured]:
        now, before = await self._samples()
        found: dict[Key, tuple[Root, float, dict[str, Usage]]] = {}
        for root in now.roots:
            reading = now.readings.get(root.pid)
            if reading is None:
                continue  # it has ended between the question and the look
            used, window = _since(root.pid, now, before)
            _, longest, parts = found.setdefault(root.pod, (root, window, {}))
            parts[root.container] = Usage(nanocores=_nanocores(used, window), memory_bytes=reading.memory_bytes)
            found[root.pod] = (root, max(longest, window), parts)
        return [Measured(key=key, labels=root.labels, at=now.at, window_seconds=window, parts=parts)
                for key, (root, window, parts) in found.items()]

    async def _samples(self) -> tuple[Sample, Sample | None]:
        """The newest sample, and one before it to compare with."""
        async with self._turn:
            if self._last is None or self._clock.monotonic() - self._taken >= FRESH_SECONDS:
                roots = await self._roots()
                at = self._clock.now()
                sample = await asyncio.to_thread(look, self._proc, roots, at)
                self._before, self._last, self._taken = self._last, sample, self._clock.monotonic()
            return self._last, self._before


def look(proc: Path, roots: Sequence[Root], at: datetime) -> Sample:
    """Reads ``/proc`` once, for all ``roots`` together."""
    ticks = os.sysconf("SC_CLK_TCK")
    processes = {process.pid: process for entry in os.scandir(proc) if entry.name.isdigit()
                 if (process := _process(proc / entry.name, ticks)) is not None} if roots else {}
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    readings = {}
    for root in roots:
        first = processes.get(root.pid)
        if first is None:
            continue
        members = _tree(root.pid, children)
        readings[root.pid] = Reading(
            cpu_seconds=sum(processes[pid].cpu_seconds for pid in members), start_seconds=first.start_seconds,
            memory_bytes=sum(_memory(proc / str(pid), processes[pid], len(members)) for pid in members))
    uptime = float((proc / "uptime").read_text().split()[0])
    busy = _busy((proc / "stat").read_text(), ticks)
    return Sample(at=at, uptime_seconds=uptime, roots=roots, readings=readings, busy_seconds=busy,
                  memory_bytes=_used_memory((proc / "meminfo").read_text()))


@dataclass(frozen=True, kw_only=True)
class _Process:
    pid: int
    parent: int
    cpu_seconds: float
    start_seconds: float
    resident_bytes: int


def _process(path: Path, ticks: int) -> _Process | None:
    try:
        text = (path / "stat").read_text()
    except OSError:
        return None  # it has just ended
    fields = text[text.rindex(")") + 2:].split()
    used = sum(int(fields[number]) for number in range(11, 15))  # its own time, and of children that have ended
    return _Process(pid=int(path.name), parent=int(fields[1]), cpu_seconds=used / ticks,
                    start_seconds=int(fields[19]) / ticks, resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def _tree(root: int, children: Mapping[int, list[int]]) -> list[int]:
    found, open_ends = [], [root]
    while open_ends:
        pid = open_ends.pop()
        found.append(pid)
        open_ends += children.get(pid, ())
    return found


def _memory(path: Path, process: _Process, members: int) -> int:
    """The process's share of what it has: pages that several have count in parts, as with forks of one server."""
    if members <= LIMIT_PROCESSES_IN_DETAIL:
        with contextlib.suppress(OSError):  # another user's, or it has just ended
            for line in (path / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    return process.resident_bytes


def _busy(stat: str, ticks: int) -> float:
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(word) for word in stat.split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / ticks


def meminfo(text: str) -> dict[str, int]:
    """The machine's memory as ``/proc/meminfo`` tells it, in bytes."""
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.strip()}


def _used_memory(text: str) -> int:
    amounts = meminfo(text)
    return amounts["MemTotal"] - amounts.get("MemAvailable", amounts.get("MemFree", 0))


def _since(pid: int, now: Sample, before: Sample | None) -> tuple[float, float]:
    """CPU used since the sample before (or since the container's start, if that is later), and in how long."""
    reading = now.readings[pid]
    there = before.readings.get(pid) if before is not None else None
    if before is not None and there is not None and there.start_seconds == reading.start_seconds:
        return max(0.0, reading.cpu_seconds - there.cpu_seconds), now.uptime_seconds - before.uptime_seconds
    return reading.cpu_seconds, max(MINIMUM_WINDOW_SECONDS, now.uptime_seconds - reading.start_seconds)


def _nanocores(seconds: float, window: float) -> int:
    return int(max(0.0, seconds) / max(MINIMUM_WINDOW_SECONDS, window) * NANOSECONDS)
