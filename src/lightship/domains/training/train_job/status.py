"""How a TrainJob's status comes from what was decided and from its JobSet. Pure; ``decide`` calls me.

Conditions are only Suspended, Complete and Failed; see ``names``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lightship.domains.training import names
from lightship.kube import conditions, objects
from lightship.kube.conditions import Condition
from lightship.kube.objects import Object

_FROM_JOB_SET = {"Completed": names.COMPLETE, "Failed": names.FAILED}
_COUNTS = ("ready", "succeeded", "failed", "active", "suspended")

Status = dict[str, Any]


def finished(job: Object) -> bool:
    return conditions.is_true(job, names.COMPLETE) or conditions.is_true(job, names.FAILED)


def mark_suspension(status: Status, suspend: bool, now: datetime) -> Status:
    """Suspended; or resumed, where it had been suspended."""
    if suspend:
        return _with(status, conditions.make(
            names.SUSPENDED, True, names.REASON_SUSPENDED, names.SAYS_SUSPENDED), now)
    if conditions.is_true({"status": status}, names.SUSPENDED):
        return _with(status, conditions.make(names.SUSPENDED, False, names.REASON_RESUMED, names.SAYS_RESUMED), now)
    return status


def mark_failed(status: Status, reason: str, message: str, now: datetime) -> Status:
    return _with(status, conditions.make(names.FAILED, True, reason, message), now)


def mark_trouble(status: Status, trouble: str, now: datetime) -> Status:
    """Why nothing could be made, as long as that is so."""
    if trouble:
        return _with(status, conditions.make(names.CREATED, False, names.REASON_NOT_CREATED, trouble), now)
    there = status.get("conditions") or []
    kept = [one for one in there if one.get("type") != names.CREATED]
    return status if len(kept) == len(there) else status | {"conditions": kept}


def propagate_job_set(status: Status, job_set: Object, now: datetime, detail: str = "") -> Status:
    """The JobSet's end, in its words and with ``detail`` of a failure, and how far its Jobs are."""
    for theirs, ours in _FROM_JOB_SET.items():
        found = conditions.find(job_set, theirs)
        if found is not None and found.get("status") == "True":
            message = str(found.get("message") or "")
            if ours == names.FAILED and detail and not conditions.is_true({"status": status}, ours):
                message = f"{message}; {detail}"
            elif conditions.is_true({"status": status}, ours):
                continue  # told already, perhaps with a detail that is forgotten by now
            status = _with(status, conditions.make(ours, True, str(found.get("reason") or theirs), message), now)
    jobs = objects.status(job_set).get("replicatedJobsStatus") or ()
    counted = [{"name": one["name"]} | {count: int(one.get(count) or 0) for count in _COUNTS} for one in jobs]
    return status | {"jobsStatus": counted} if counted else status


def _with(status: Status, condition: Condition, now: datetime) -> Status:
    condition.setdefault("message", "")
    return status | {"conditions": conditions.merge(status.get("conditions"), condition, now)}
