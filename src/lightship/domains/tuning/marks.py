"""Setting Katib's conditions, which have one time more than Kubernetes' own and stand in the order they were set. Pure.

The last condition is the state that ``kubectl get`` and the SDKs show, so one that is set anew goes to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lightship.domains.tuning import names
from lightship.kube import times

Status = dict[str, Any]
LIMIT_MESSAGE_CHARACTERS = 2000


def is_true(status: Mapping[str, Any], type: str) -> bool:
    return any(one.get("type") == type and one.get("status") == "True" for one in status.get("conditions") or ())


def reason_of(status: Mapping[str, Any], type: str) -> str:
    """The reason of a condition that is true, or nothing."""
    return next((str(one.get("reason")) for one in status.get("conditions") or ()
                 if one.get("type") == type and one.get("status") == "True"), "")


def mark(status: Status, type: str, reason: str, message: str, now: datetime) -> Status:
    """The status with a condition that is true; where it says the same already, nothing changes."""
    return _set(status, {"type": type, "status": "True", "reason": reason, "message": message}, now)


def deny(status: Status, type: str, reason: str, message: str, now: datetime) -> Status:
    """The status with a condition that is false."""
    return _set(status, {"type": type, "status": "False", "reason": reason, "message": message}, now)


def stop_running(status: Status, now: datetime) -> Status:
    """What ended no longer runs; its words stay."""
    before = next((one for one in status.get("conditions") or () if one.get("type") == names.RUNNING), None)
    if before is None:
        return status
    return deny(status, names.RUNNING, str(before.get("reason")), str(before.get("message")), now)


def without(status: Status, *types: str) -> Status:
    return status | {"conditions": [one for one in status.get("conditions") or () if one.get("type") not in types]}


def _set(status: Status, wanted: dict[str, str], now: datetime) -> Status:
    stamp = times.rfc3339(now)
    wanted = wanted | {"message": wanted["message"][:LIMIT_MESSAGE_CHARACTERS]}
    kept = [one for one in status.get("conditions") or () if one.get("type") != wanted["type"]]
    there = (one for one in status.get("conditions") or () if one.get("type") == wanted["type"])
    before: dict[str, str] = next(there, {})
    if all(before.get(name) == value for name, value in wanted.items()):
        return status
    since = before.get("lastTransitionTime") if before.get("status") == wanted["status"] else stamp
    return status | {"conditions": [*kept, wanted | {"lastUpdateTime": stamp, "lastTransitionTime": since}]}
