"""Limits of memory, CPU and processes by control groups, where this process may make groups. ``runner`` calls me.

Version 1 as root; version 2 as root, or for a user whose service manager delegated a subtree. Elsewhere ``controllers``
is empty, and the node says so in its conditions.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from lightship.lib.clock import SYSTEM, Clock

CPU_PERIOD_MICROSECONDS = 100_000
_CONTROLLERS = ("memory", "pids", "cpu")
_LEAST_QUOTA_MICROSECONDS = 1000
_PREFIX = "lightship-"
_NO_LIMIT_BYTES = 1 << 62
"""Version 1 says so much and more where there is no limit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one container may use; 0 for no limit."""

    memory_bytes: int = 0
    processes: int = 0
    cpu_millis: int = 0
    cpu_request_millis: int = 0
    """Its share where CPU is short; 0 for the least there is, so that a thousand of its processes weigh as one."""


_CLOSING_TRIES = 40
_CLOSING_PAUSE_SECONDS = 0.025


@dataclass(frozen=True, kw_only=True)
class Group:
    """One container's group: a directory, or with version 1 one a controller."""

    paths: tuple[Path, ...]
    entry: str = "cgroup.procs"
    """The file by which a process, writing 0, gets in."""

    @property
    def procs(self) -> tuple[str, ...]:
        return tuple(str(path / self.entry) for path in self.paths)

    def oom_killed(self) -> bool:
        """Whether the kernel ended a process of the group for want of memory."""
        for path in self.paths:
            for name in ("memory.oom_control", "memory.events"):
                with contextlib.suppress(OSError, ValueError):
                    for line in (path / name).read_text().splitlines():
                        if line.startswith("oom_kill ") and int(line.split()[1]) > 0:
                            return True
        return False

    def remove(self) -> None:
        for path in self.paths:
            with contextlib.suppress(OSError):  # busy for a moment after the last process: the next start sweeps it
                path.rmdir()


class Groups:
    """The groups of one node, under ``lightship-NAME`` in the group that this process is in."""

    def __init__(self, name: str, mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> None:
        self._name = _PREFIX + name
        self._second: Path | None = None
        self._first: dict[str, Path] = {}
        self._held: dict[Path, int] = {}
        """Descriptors of my directories, locked: while they are, no other node takes these for a dead one's."""
        places = _places(own)
        if (mount / "cgroup.controllers").exists():
            if "" in places:
                self._second = self._delegated(mount / places[""].lstrip("/"))
        elif os.geteuid() == 0:
            for controller in _CONTROLLERS:
                parent = mount / controller / places.get(controller, "/").lstrip("/")
                if _writable(parent):
                    self._first[controller] = parent / self._name

    @property
    def controllers(self) -> frozenset[str]:
        """What can be limited: some of memory, pids and cpu."""
        if self._second is not None:
            return frozenset(_CONTROLLERS) & set((self._second.parent / "cgroup.subtree_control").read_text().split())
        return frozenset(self._first)

    def make(self, name: str, limits: Limits) -> Group | None:
        """A new group with these limits; None where no controller can be had.

        Every container has a group for its CPU, whatever it asks for: all of them together then weigh no more than the
        server, and a fork bomb in one of them no more than a neighbour.
        """
        if self._second is not None:
            return self._make_second(self._second / name, limits)
        paths = []
        for controller, wanted in _first_files(limits).items():
            if wanted and controller in self._first:
                self._hold(self._first[controller])
                paths.append(_made(self._first[controller] / name, wanted))
        # A single thread that moves itself takes no lock over the whole machine, which costs milliseconds.
        return Group(paths=tuple(paths), entry="tasks") if paths else None

    def sweep(self) -> None:
        """Removes the groups that a former life left; they are empty, since its processes died with it."""
        for directory in self._directories():
            _empty(directory)

    def sweep_strangers(self) -> None:
        """Removes what nodes left that were killed and never started again: groups that nobody holds or is in."""
        for own in self._directories():
            for directory in own.parent.glob(_PREFIX + "*"):
                if directory != own and directory.is_dir():
                    with contextlib.suppress(OSError):  # its node lives, or another sweeps it
                        _remove_unheld(directory)

    async def close(self, clock: Clock = SYSTEM) -> None:
        """Removes all there is. A group is busy until its last process was waited for, and nothing tells of that."""
        for _ in range(_CLOSING_TRIES):
            self.sweep()
            for directory in self._directories():
                with contextlib.suppress(OSError):  # nothing was ever made, or something is still dying
                    directory.rmdir()
            if not any(directory.is_dir() for directory in self._directories()):
                break
            await clock.sleep(_CLOSING_PAUSE_SECONDS)
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _hold(self, directory: Path) -> None:
        """Makes the node's own group and locks it; nothing where that was done."""
        if directory in self._held and directory.is_dir():
            return
        directory.mkdir(parents=True, exist_ok=True)
        if directory in self._held:
            os.close(self._held.pop(directory))
        self._held[directory] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # another looks at it this moment, and finds it in use
            fcntl.flock(self._held[directory], fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _directories(self) -> list[Path]:
        return [self._second] if self._second is not None else list(self._first.values())

    def _make_second(self, path: Path, limits: Limits) -> Group | None:
        wanted: dict[str, str] = {}
        if limits.memory_bytes:
            wanted |= {"memory.max": str(limits.memory_bytes), "memory.swap.max": "0", "memory.oom.group": "1"}
        if limits.processes:
            wanted["pids.max"] = str(limits.processes)
        if limits.cpu_millis:
            wanted["cpu.max"] = f"{_quota(limits.cpu_millis)} {CPU_PERIOD_MICROSECONDS}"
        wanted["cpu.weight"] = str(min(10_000, max(1, limits.cpu_request_millis * 100 // 1000)))
        have = self.controllers
        wanted = {file: value for file, value in wanted.items() if file.partition(".")[0] in have}
        return Group(paths=(_made(path, wanted),)) if wanted else None

    def _delegated(self, parent: Path) -> Path | None:
        """Version 2 allows no processes beside groups: this process moves into a leaf, if it is alone."""
        if not os.access(parent, os.W_OK) or not _writable(parent):
            return None
        leaf = parent / f"{self._name}-server"
        try:
            leaf.mkdir(exist_ok=True)
            for pid in (parent / "cgroup.procs").read_text().split():
                (leaf / "cgroup.procs").write_text(pid)
            there = (parent / "cgroup.controllers").read_text().split()
            (parent / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in _CONTROLLERS if c in there))
            groups = parent / self._name
            groups.mkdir(exist_ok=True)
            (groups / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in _CONTROLLERS if c in there))
            self._hold(groups)
        except OSError:
            return None  # somebody else's group: limits are not to be had
        return groups


def memory_around(mount: Path, own: Path) -> list[tuple[int, int]]:
    """The memory limits of the groups that this process is in, from the innermost outwards, and what is used of each:
    without files that were read and lie idle, which are given up at once. A group without a limit is left out."""
    places = _places(own)
    second = (mount / "cgroup.controllers").exists()
    root = mount if second else mount / "memory"
    names = ("memory.max", "memory.current", "inactive_file") if second else (
        "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    inner = root / places.get("" if second else "memory", "/").lstrip("/")
    found = []
    for directory in (inner, *inner.parents):
        if not directory.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError):  # the root has none of these, and "max" is no number
            limit = int((directory / names[0]).read_text())
            if limit < _NO_LIMIT_BYTES:
                idle = [int(line.split()[1]) for line in (directory / "memory.stat").read_text().splitlines()
                        if line.startswith(names[2] + " ")]
                found.append((limit, max(0, int((directory / names[1]).read_text()) - sum(idle))))
    return found


def _first_files(limits: Limits) -> dict[str, dict[str, str]]:
    memory: dict[str, str] = {}
    pids: dict[str, str] = {}
    cpu = {"cpu.shares": str(max(2, limits.cpu_request_millis * 1024 // 1000))}
    if limits.memory_bytes:
        memory = {"memory.limit_in_bytes": str(limits.memory_bytes),
                  "memory.memsw.limit_in_bytes": str(limits.memory_bytes)}
    if limits.processes:
        pids = {"pids.max": str(limits.processes)}
    if limits.cpu_millis:
        cpu |= {"cpu.cfs_period_us": str(CPU_PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(_quota(limits.cpu_millis))}
    return {"memory": memory, "pids": pids, "cpu": cpu}


def _quota(millis: int) -> int:
    return max(_LEAST_QUOTA_MICROSECONDS, millis * CPU_PERIOD_MICROSECONDS // 1000)


def _empty(directory: Path) -> None:
    if directory.is_dir():
        Group(paths=tuple(path for path in directory.iterdir() if path.is_dir())).remove()


def _remove_unheld(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(directory)
        directory.rmdir()
    finally:
        os.close(descriptor)


def _made(path: Path, files: dict[str, str]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        try:
            (path / name).write_text(value)
        except OSError:
            if "swap" not in name and "memsw" not in name:  # swap may not be accounted for here
                raise
    return path


def _writable(parent: Path) -> bool:
    return parent.is_dir() and os.access(parent, os.W_OK) and not os.statvfs(parent).f_flag & os.ST_RDONLY


def _places(own: Path) -> dict[str, str]:
    """The group of this process by controller; version 2's by the empty name."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                found[controller] = path
    return found
