"""What Pods that have ended leave behind: moved aside at once, deleted once the node has a quiet moment.

``supervisor`` and ``agent`` put directories in, ``agent`` runs me. A Pod's scratch is some fifty small files, and to
delete them while the next Pods start costs those more than anything else that the node does: on some file systems
each new file then looks at all that were deleted lately. Where much has gathered, or the disk is short, I do not wait.
What a killed node left here, its next life deletes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import deque
from pathlib import Path

from lightship.lib import ids
from lightship.lib.clock import Clock

QUIET_SECONDS = 3.0
"""So long nothing must have been put in."""
LIMIT_HELD_DIRECTORIES = 4000
LIMIT_HELD_SECONDS = 120.0
LEAST_FREE_FRACTION = 0.1
"""Of the disk's blocks and files. With less, what is here goes at once."""


class Trash:
    """One directory on the file system of the Pods' own, so that a move is a rename."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._held: deque[tuple[float, Path]] = deque()
        self._filled = asyncio.Event()
        self._last = 0.0

    def start(self) -> None:
        """Makes the directory; what is in it is deleted in time."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._directory.iterdir():
            self._hold(left)

    def put(self, directory: Path) -> None:
        """Moves a directory here; one that is not there is well."""
        target = self._directory / ids.RandomIds().uid()
        try:
            os.rename(directory, target)
        except FileNotFoundError:
            return
        self._hold(target)

    async def run(self) -> None:
        """Deletes what is held, one directory after the other, until cancelled."""
        while True:
            await self._filled.wait()
            while self._held:
                seconds = self._wait_seconds()
                if seconds > 0:
                    await self._clock.sleep(seconds)
                    continue
                _, path = self._held.popleft()
                await asyncio.to_thread(shutil.rmtree, path, True)
            self._filled.clear()

    def _hold(self, path: Path) -> None:
        self._last = self._clock.monotonic()
        self._held.append((self._last, path))
        self._filled.set()

    def _wait_seconds(self) -> float:
        now = self._clock.monotonic()
        oldest, _ = self._held[0]
        if len(self._held) > LIMIT_HELD_DIRECTORIES or now - oldest > LIMIT_HELD_SECONDS or _is_short(self._directory):
            return 0.0
        return self._last + QUIET_SECONDS - now


def _is_short(directory: Path) -> bool:
    """Whether the disk has little left."""
    disk = os.statvfs(directory)
    return disk.f_bavail < disk.f_blocks * LEAST_FREE_FRACTION or disk.f_favail < disk.f_files * LEAST_FREE_FRACTION
