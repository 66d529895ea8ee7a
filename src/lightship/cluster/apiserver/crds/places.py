"""Where in an object a fault lies, in the three spellings that Kubernetes has, and whether an update may keep it.

Pure. ``walker`` and ``rules`` build places as linked pairs, which cost nothing until something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Place = tuple[Any, Any]
"""(the place of the parent, the key or index in it); the root is ``ROOT``."""
ROOT: Place = (None, None)
Keys = tuple[str | int, ...]

NOWHERE = "<nil>"
LIMIT_SHOWN_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """A fault found by a schema. ``anchor`` is the value that it judges: unchanged, it is no fault of an update."""

    path: str
    message: str
    anchor: Keys = ()
    blocking: bool = False
    """Rules are not run over an object that has such a fault."""


def keys(place: Place) -> Keys:
    """The steps from the root."""
    steps: list[str | int] = []
    while place is not ROOT:
        steps.append(place[1])
        place = place[0]
    return tuple(reversed(steps))


def dotted(steps: Sequence[str | int]) -> str:
    """``spec.list[0].name``; empty for the root."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def shown(value: Any) -> str:
    """A value as error texts quote it: strings in double quotes, everything else as JSON."""
    try:
        text = msgspec.json.encode(value).decode()
    except msgspec.MsgspecError:
        text = repr(value)
    return text if len(text) <= LIMIT_SHOWN_CHARACTERS else text[:LIMIT_SHOWN_CHARACTERS] + "..."


def follow(value: Any, old: Any, step: str | int, list_keys: Sequence[str]) -> tuple[Any, Any, bool]:
    """One step down in a value and its predecessor; False where no predecessor can be told.

    Fields correspond by name, items of a list only where it is a map by ``list_keys``.
    """
    if isinstance(step, str):
        if not isinstance(value, dict):
            return None, None, False
        return value.get(step), old.get(step) if isinstance(old, dict) else None, isinstance(old, dict) and step in old
    if not isinstance(value, list) or not -len(value) <= step < len(value):
        return None, None, False
    item = value[step]
    if not list_keys or not isinstance(old, list) or not isinstance(item, dict):
        return item, None, False
    wanted = [item.get(key) for key in list_keys]
    for candidate in old:
        if isinstance(candidate, dict) and [candidate.get(key) for key in list_keys] == wanted:
            return item, candidate, True
    return item, None, False


def same(a: Any, b: Any) -> bool:
    """Deep equality as JSON has it: 1 and true differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
