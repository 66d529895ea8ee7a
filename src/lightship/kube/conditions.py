"""Status conditions: finding and setting them without mutating what is shared.

I am pure; domains' ``status.py`` and the node call me.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from lightship.kube import times

Status = Literal["True", "False", "Unknown"]
Condition = dict[str, Any]


def find(obj: Mapping[str, Any], type: str) -> Condition | None:
    """The object's condition of that type."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type:
            return dict(condition)
    return None


def is_true(obj: Mapping[str, Any], type: str) -> bool:
    condition = find(obj, type)
    return condition is not None and condition.get("status") == "True"


def make(type: str, status: Status | bool, reason: str = "", message: str = "") -> Condition:
    """A condition without a transition time, which ``merge`` stamps."""
    text = status if isinstance(status, str) else str(status)
    condition: Condition = {"type": type, "status": text}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def merge(existing: Iterable[Condition] | None, new: Condition, now: datetime) -> list[Condition]:
    """The conditions with ``new`` set; its ``lastTransitionTime`` moves only when its status changes."""
    result, placed = [], False
    for condition in existing or ():
        if condition.get("type") != new["type"]:
            result.append(condition)
            continue
        kept = condition.get("lastTransitionTime") if condition.get("status") == new["status"] else None
        result.append(new | {"lastTransitionTime": kept or times.rfc3339(now)})
        placed = True
    if not placed:
        result.append(new | {"lastTransitionTime": times.rfc3339(now)})
    return result
