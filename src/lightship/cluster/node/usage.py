"""What a Pod has written to disk, and whether that is more than it may. ``supervisor`` asks me in a thread.

I look at emptyDirs with a sizeLimit and at containers with an ephemeral-storage limit; what I say is kubelet's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightship.kube import objects, quantities
from lightship.kube.objects import Object

LOOK_SECONDS = 10.0
LIMIT_ENTRIES = 200_000
"""A tree with more entries is not looked at further: so many count as too much."""
_STORAGE = "ephemeral-storage"


def is_limited(pod: Object) -> bool:
    """Whether there is anything to look at."""
    spec = objects.spec(pod)
    return any((volume.get("emptyDir") or {}).get("sizeLimit") for volume in spec.get("volumes") or ()) or any(
        _limit(container) for container in spec.get("containers") or ())


def excess(pod: Object, directory: Path) -> str:
    """Why the Pod is to be evicted, or nothing. ``directory`` is the Pod's own."""
    spec = objects.spec(pod)
    total = 0
    for volume in spec.get("volumes") or ():
        if volume.get("emptyDir") is None:
            continue
        used = used_bytes(directory / "volumes" / volume["name"])
        total += used
        limit = volume["emptyDir"].get("sizeLimit")
        if limit and used > quantities.whole(limit):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    containers = spec.get("containers") or ()
    for container in containers:
        used = used_bytes(directory / "containers" / container["name"])
        used += used_bytes(directory / "logs" / container["name"])
        total += used
        if _limit(container) and used > quantities.whole(_limit(container)):
            return (f'Container {container["name"]} exceeded its local ephemeral storage limit '
                    f'"{_limit(container)}". ')
    if containers and all(_limit(container) for container in containers):
        allowed = sum(quantities.whole(_limit(container)) for container in containers)
        if total > allowed:
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {allowed}. "
    return ""


def used_bytes(directory: Path) -> int:
    """What the tree takes on disk, following no links."""
    total, entries, waiting = 0, 0, [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    if entries > LIMIT_ENTRIES:
                        return 1 << 62
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue  # it went while we looked
    return total


def _limit(container: Mapping[str, Any]) -> str:
    return str(((container.get("resources") or {}).get("limits") or {}).get(_STORAGE) or "")
