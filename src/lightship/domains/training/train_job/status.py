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


def propagate_job_set(status: Status, job_set: Object, now: datetime) -> Status:
    """The JobSet's end, in its words, and how far its Jobs are."""
    for theirs, ours in _FROM_JOB_SET.items():
        found = conditions.find(job_set, theirs)
        if found is not None and found.get("status") == "True":
            status = _with(status, conditions.make(
                ours, True, str(found.get("reason") or theirs), str(found.get("message") or "")), now)
    jobs = objects.status(job_set).get("replicatedJobsStatus") or ()
    counted = [{"name": one["name"]} | {count: int(one.get(count) or 0) for count in _COUNTS} for one in jobs]
    return status | {"jobsStatus": counted} if counted else status


def _with(status: Status, condition: Condition, now: datetime) -> Status:
    condition.setdefault("message", "")
    return status | {"conditions": conditions.merge(status.get("conditions"), condition, now)}
