"""How a v1 job's status changes: conditions in upstream's order and words, times, counts. Pure; ``plan`` calls me.

The last condition is the job's state, as ``kubectl get`` and the SDKs read it: one that changes moves to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from lightship.domains.training.v1 import children, names
from lightship.domains.training.v1.framework import Counts, Job
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

Status = dict[str, Any]
_INSTEAD = {names.RESTARTING: names.RUNNING, names.RUNNING: names.RESTARTING}
"""A condition that takes another's place."""
_ENDS = (names.FAILED, names.SUCCEEDED)


def has(status: Status, type: str) -> bool:
    return conditions.is_true({"status": status}, type)


def finished(status: Status) -> bool:
    return has(status, names.SUCCEEDED) or has(status, names.FAILED)


def message(status: Status, type: str) -> str:
    return str((conditions.find({"status": status}, type) or {}).get("message", ""))


def news(before: Object, status: Status) -> list[dict[str, Any]]:
    """The conditions that ``status`` has and the object had not, with that status and reason."""
    known = {(one.get("type"), one.get("status"), one.get("reason"))
             for one in objects.status(before).get("conditions") or ()}
    return [one for one in status.get("conditions") or ()
            if (one["type"], one["status"], one.get("reason")) not in known]


def mark_created(status: Status, job: Job, now: datetime) -> Status:
    if conditions.find({"status": status}, names.CREATED) is not None:
        return status
    return _with(status, job, _State(names.CREATED, True), f"{job.kind} {job.name} is created.", now)


def mark_running(status: Status, job: Job, now: datetime) -> Status:
    return _with(status, job, _State(names.RUNNING, True), job.framework.words(job).running, now)


def mark_restarting(status: Status, job: Job, why: str, now: datetime) -> Status:
    return _with(status, job, _State(names.RESTARTING, True), why, now)


def mark_succeeded(status: Status, job: Job, now: datetime) -> Status:
    return _ended(_with(status, job, _State(names.SUCCEEDED, True), job.framework.words(job).succeeded, now), now)


def mark_failed(status: Status, job: Job, why: str, now: datetime, word: str = names.FAILED) -> Status:
    return _ended(_with(status, job, _State(names.FAILED, True, word), why, now), now)


def explain_failure(status: Status, why: str) -> Status:
    """A failure with its cause after upstream's words."""
    return status | {"conditions": [
        one | {"message": f"{one['message']} {why}" if one["message"].endswith(".") else f"{one['message']}. {why}"}
        if one["type"] == names.FAILED else one for one in status["conditions"]]}


def mark_suspended(status: Status, job: Job, now: datetime) -> Status:
    why = f"{job.kind} {job.name} is suspended."
    if has(status, names.RUNNING):
        status = _with(status, job, _State(names.RUNNING, False, names.SUSPENDED), why, now)
    if not has(status, names.SUSPENDED):
        status = _with(status, job, _State(names.SUSPENDED, True), why, now)
    return _inactive(status)


def mark_started(status: Status, job: Job, now: datetime) -> Status:
    """Resumed, where it was suspended; a resumed job's time counts anew."""
    if has(status, names.SUSPENDED):
        state = _State(names.SUSPENDED, False, names.RESUMED)
        status = _with(status, job, state, f"{job.kind} {job.name} is resumed.", now)
        return status | {"startTime": times.rfc3339(now)}
    return status if status.get("startTime") else status | {"startTime": times.rfc3339(now)}


def propagate_counts(status: Status, job: Job, counts: Mapping[str, Counts]) -> Status:
    """How many Pods of each type there are; what is zero is left out."""
    told = {}
    for type in job.replicas:
        found = counts.get(type, Counts())
        numbers = {"active": found.active, "succeeded": found.succeeded, "failed": found.failed}
        told[type] = {name: number for name, number in numbers.items() if number} | {
            "selector": children.selector(job, type)}
    return status | {"replicaStatuses": told}


def settle_counts(status: Status, *, cleaned: bool) -> Status:
    """Of an ended job: what was still active when it succeeded has succeeded; what was cleaned up is not active."""
    if not has(status, names.SUCCEEDED):
        return _inactive(status) if cleaned else status
    told = {}
    for type, one in (status.get("replicaStatuses") or {}).items():
        done = int(one.get("succeeded") or 0) + int(one.get("active") or 0)
        told[type] = {name: value for name, value in one.items() if name != "active"} | (
            {"succeeded": done} if done else {})
    return status | ({"replicaStatuses": told} if told else {})


def _inactive(status: Status) -> Status:
    told = {type: {name: value for name, value in one.items() if name != "active"}
            for type, one in (status.get("replicaStatuses") or {}).items()}
    return status | ({"replicaStatuses": told} if told else {})


def _ended(status: Status, now: datetime) -> Status:
    return status if status.get("completionTime") else status | {"completionTime": times.rfc3339(now)}


class _State(NamedTuple):
    """A condition to be; its reason is ``word`` after the kind, or its type."""

    type: str
    value: bool
    word: str = ""


def _with(status: Status, job: Job, state: _State, why: str, now: datetime) -> Status:
    """``status`` with a condition, unless it has it with that status and reason, or has failed."""
    type, value, word = state
    reason = names.reason(job.kind, word or type)
    before = conditions.find({"status": status}, type)
    if has(status, names.FAILED) or (before is not None and before.get("status") == str(value)
                                     and before.get("reason") == reason):
        return status
    stamp = times.rfc3339(now)
    since = before.get("lastTransitionTime") if before is not None and before.get("status") == str(value) else None
    kept = [_after_end(one, type) for one in status.get("conditions") or ()
            if one.get("type") not in (type, _INSTEAD.get(type))]
    return status | {"conditions": [*kept, {
        "type": type, "status": str(value), "reason": reason, "message": why, "lastUpdateTime": stamp,
        "lastTransitionTime": since or stamp}]}


def _after_end(condition: dict[str, Any], type: str) -> dict[str, Any]:
    ended = type in _ENDS and condition.get("type") == names.RUNNING
    return condition | {"status": "False"} if ended else condition
