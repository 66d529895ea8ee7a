"""How a Trial's status comes from its run and from what was measured. Pure; ``decide`` calls me."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.algorithms.search import Rule
from lightship.domains.tuning.deps import Observed
from lightship.domains.tuning.gjson import Found
from lightship.domains.tuning.marks import Status
from lightship.kube import times
from lightship.kube.objects import Object

_SAYS = {names.SUCCEEDED: "Trial has succeeded", names.FAILED: "Trial has failed",
         names.METRICS_UNAVAILABLE: "Metrics are not available"}
_REASONS = {names.SUCCEEDED: names.TRIAL_SUCCEEDED, names.FAILED: names.TRIAL_FAILED,
            names.METRICS_UNAVAILABLE: names.TRIAL_METRICS_UNAVAILABLE}


def ended(status: Mapping[str, object]) -> bool:
    return any(marks.is_true(status, type) for type in names.TRIAL_ENDS)


def mark_running(status: Status, now: datetime) -> Status:
    """Made, and running: its run is there."""
    if not marks.is_true(status, names.CREATED):
        status = marks.mark(status | {"startTime": times.rfc3339(now)}, names.CREATED, names.TRIAL_CREATED,
                            "Trial is created", now)
    return marks.mark(status, names.RUNNING, names.TRIAL_RUNNING, "Trial is running", now)


def mark_ended(status: Status, type: str, found: Found, now: datetime) -> Status:
    """Succeeded, failed or without metrics, in the run's words."""
    says, reason = _SAYS[type], _REASONS[type]
    if found.message:
        says = f"{says}. Job message: {found.message}"
    if found.reason:
        reason = f"{reason}. Job reason: {found.reason}"
    return _end(status, type, reason, says, now)


def mark_refused(status: Status, problem: str, now: datetime) -> Status:
    """Its run cannot be made."""
    return _end(status, names.FAILED, names.TRIAL_FAILED, f"Trial has failed. Its run cannot be made: {problem}", now)


def mark_early_stopped(status: Status, rule: Rule, now: datetime) -> Status:
    return _end(status, names.EARLY_STOPPED, names.TRIAL_EARLY_STOPPED,
                f"Trial is early stopped: {rule.name} is {rule.comparison} than {rule.value}", now)


def propagate_observation(status: Status, observed: Observed | None) -> Status:
    """What was measured."""
    if observed is None:
        return status
    return status | {"observation": {"metrics": [dict(metric) for metric in observed]}}


def available(trial: Object, observed: Observed | None) -> bool:
    """Whether the objective is among what was measured."""
    wanted = ((trial.get("spec") or {}).get("objective") or {}).get("objectiveMetricName")
    return any(metric.get("name") == wanted and metric.get("latest") != names.UNAVAILABLE for metric in observed or ())


def _end(status: Status, type: str, reason: str, says: str, now: datetime) -> Status:
    """The end; the reconciler says when it was, as it is written."""
    if not marks.is_true(status, names.CREATED):
        status = mark_running(status, now)
    return marks.mark(marks.stop_running(status, now), type, reason, says, now)
