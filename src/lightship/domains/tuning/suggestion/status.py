"""How a Suggestion's conditions come about. Pure; the Experiment's reconciler writes them with the book."""

from __future__ import annotations

from datetime import datetime

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.marks import Status
from lightship.kube import times

_NEVER = "Suggestion is succeeded, can't be restarted"
_FROM_VOLUME = "Suggestion is succeeded, suggestion volume is not deleted, can be restarted"


def mark_running(status: Status, now: datetime) -> Status:
    """It answers: made, and running (again)."""
    if not marks.is_true(status, names.CREATED):
        status = marks.mark(status | {"startTime": status.get("startTime") or times.rfc3339(now)}, names.CREATED,
                            names.SUGGESTION_CREATED, "Suggestion is created", now)
    if marks.is_true(status, names.RUNNING):
        return status
    return marks.mark(marks.without(status, names.SUCCEEDED), names.RUNNING, names.SUGGESTION_RUNNING,
                      "Suggestion is running", now)


def mark_failed(status: Status, message: str, now: datetime) -> Status:
    return marks.mark(marks.stop_running(status, now), names.FAILED, names.SUGGESTION_FAILED, message, now)


def mark_succeeded(status: Status, resume_policy: str, now: datetime) -> Status:
    """The Experiment has ended and this with it, but where it is kept at the ready."""
    if resume_policy == names.LONG_RUNNING or marks.is_true(status, names.SUCCEEDED) or marks.is_true(
            status, names.FAILED):
        return status
    says = _FROM_VOLUME if resume_policy == names.FROM_VOLUME else _NEVER
    if marks.is_true(status, names.RUNNING):
        status = marks.deny(status, names.RUNNING, "Suggestion is succeeded", "Suggestion is not running", now)
    return marks.mark(status, names.SUCCEEDED, names.SUGGESTION_SUCCEEDED, says, now)
