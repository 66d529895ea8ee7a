"""The note in each environment of what belongs to it and how large it is. ``environments`` writes and reads it.

With it a torn environment is told from a whole one without a walk, and the least used can go when there are too many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = ".lightship-environment.json"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """``entries``: what lies in the environment's own directories; ``size_bytes`` counts linked files in full."""

    entries: tuple[str, ...]
    size_bytes: int


def write(place: Path) -> None:
    """Once a build is complete."""
    size = sum(os.lstat(os.path.join(root, name)).st_size for root, _, names in os.walk(place) for name in names)
    (place / NAME).write_text(json.dumps({"entries": _entries(place), "bytes": size}))


def read(place: Path) -> Stamp | None:
    """None where there is none: made by an older version, or torn."""
    try:
        content = json.loads((place / NAME).read_text())
        return Stamp(entries=tuple(content["entries"]), size_bytes=int(content["bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(place: Path) -> bool:
    """Whether what belongs to the environment is still there, as far as its top levels tell."""
    if not (place / "bin" / "python3").exists():
        return False
    stamp = read(place)
    return stamp is None or set(stamp.entries) <= set(_entries(place))


def to_collect(found: Mapping[str, tuple[float, int]], used: Iterable[str], limit_bytes: int) -> list[str]:
    """Which environments go, the longest unused first, until the rest fits. ``found``: name to (last use, bytes).
    What is ``used`` stays, whatever its size. Pure."""
    total = sum(size for _, size in found.values())
    kept = set(used)
    gone = []
    for name, (_, size) in sorted(found.items(), key=lambda item: item[1][0]):
        if total <= limit_bytes:
            break
        if name not in kept:
            gone.append(name)
            total -= size
    return gone


def _entries(place: Path) -> list[str]:
    found = [f"bin/{entry.name}" for entry in (place / "bin").iterdir()]
    for packages in place.glob("lib/python*/site-packages"):
        found += [str(entry.relative_to(place)) for entry in packages.iterdir() if entry.name != "__pycache__"]
    return sorted(found)
