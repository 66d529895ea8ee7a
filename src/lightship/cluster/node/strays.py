"""Ends what a killed node left running where containers have no PID namespace. ``agent`` calls me at its start.

There a container's home lies in its Pod's directory, and its environment says so: that is how I know its processes,
however they detached themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def sweep(pods_directory: Path, proc: Path = Path("/proc")) -> int:
    """Kills every process whose environment names ``pods_directory``; how many there were."""
    mark = os.fsencode(pods_directory) + b"/"
    found = 0
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or it ended while we looked
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable.partition(b"=")[2].startswith(mark) for variable in variables):
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found
