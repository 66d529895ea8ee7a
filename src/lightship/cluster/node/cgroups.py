"""Memory limits by cgroup, where this process may make groups: version 1 as root. ``runner`` calls me.

Elsewhere ``MemoryGroups.available`` is false and the node says so in a condition.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup/memory")


@dataclass(frozen=True, kw_only=True)
class MemoryGroup:
    """One container's group."""

    path: Path

    @property
    def procs(self) -> str:
        return str(self.path / "cgroup.procs")

    def oom_killed(self) -> bool:
        """Whether the kernel ended a process of the group for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self.path / "memory.oom_control").read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1]) > 0
        return False

    def remove(self) -> None:
        with contextlib.suppress(OSError):  # busy for a moment after the last process: the next start sweeps it
            self.path.rmdir()
            self.path.parent.rmdir()  # made anew by the next container with a limit


class MemoryGroups:
    """The groups of one node, under ``lightship-<name>`` in the group this process is in."""

    def __init__(self, name: str) -> None:
        self._directory = _own_group() / f"lightship-{name}"
        self.available = self._try()

    def make(self, name: str, limit_bytes: int) -> MemoryGroup:
        path = self._directory / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "memory.limit_in_bytes").write_text(str(limit_bytes))
        with contextlib.suppress(OSError):  # swap accounting may be off
            (path / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes))
        return MemoryGroup(path=path)

    def sweep(self) -> None:
        """Removes the groups that a former life left; they are empty, since its processes died with it."""
        if self.available and self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.is_dir():
                    MemoryGroup(path=path).remove()

    def close(self) -> None:
        self.sweep()
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def _try(self) -> bool:
        if os.geteuid() != 0 or not (_MOUNT / "memory.limit_in_bytes").exists():
            return False
        parent = self._directory.parent
        return os.access(parent, os.W_OK) and not os.statvfs(parent).f_flag & os.ST_RDONLY


def _own_group() -> Path:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                return _MOUNT / path.lstrip("/")
    return _MOUNT
