"""When a Job is over, and why. Pure; ``job_plan`` and ``job_status`` call me."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from lightship.cluster.builtin import job_indexes, job_pods, job_policies
from lightship.cluster.builtin.job_indexes import Indexes
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

DEFAULT_BACKOFF_LIMIT = 6


class End(NamedTuple):
    """``condition`` is Complete or Failed."""

    condition: str
    reason: str
    message: str

    @property
    def interim(self) -> str:
        """The condition that says so before the last Pods have ended."""
        return "SuccessCriteriaMet" if self.condition == "Complete" else "FailureTarget"


COMPLETE = End("Complete", "CompletionsReached", "Reached expected number of succeeded pods")


class Seen(Protocol):
    """What I look at of ``job_plan.Seen``."""

    @property
    def job(self) -> Object: ...
    @property
    def now(self) -> datetime: ...
    @property
    def active(self) -> tuple[Object, ...]: ...
    @property
    def new_failed(self) -> tuple[Object, ...]: ...
    @property
    def failures(self) -> int: ...
    @property
    def indexes_done(self) -> Indexes: ...
    @property
    def indexes_failed(self) -> Indexes: ...
    @property
    def completions(self) -> int: ...
    @property
    def per_index(self) -> bool: ...


def finished_at(job: Object) -> datetime | None:
    """When the Job completed or failed; None while it goes on."""
    for kind in ("Complete", "Failed"):
        condition = conditions.find(job, kind)
        if condition is not None and condition.get("status") == "True":
            return times.parse(str(condition["lastTransitionTime"]))
    return None


def reached(seen: Seen) -> End | None:
    """The end that is reached whatever still runs: what the status says already, else what has come to pass."""
    return announced(seen.job) or _failed(seen) or _succeeded(seen)


def announced(job: Object) -> End | None:
    """The end that the status has told of, though Pods may still run."""
    for condition, final in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        found = conditions.find(job, condition)
        if found is not None and found.get("status") == "True":
            return End(final, str(found.get("reason") or ""), str(found.get("message") or ""))
    return None


def deadline_in_seconds(job: Object, now: datetime) -> float | None:
    """How long the Job may yet run; None where that is not limited."""
    limit, start = objects.spec(job).get("activeDeadlineSeconds"), objects.status(job).get("startTime")
    if limit is None or objects.spec(job).get("suspend"):
        return None
    left = float(limit) - (now - times.parse(str(start))).total_seconds() if start else float(limit)
    return max(0.0, left)


def _failed(seen: Seen) -> End | None:
    spec = objects.spec(seen.job)
    for pod in seen.new_failed:
        if message := job_policies.judge(seen.job, pod).message:
            return End("Failed", "PodFailurePolicy", message)
    given = spec.get("backoffLimit")
    # Where each index has a limit of its own, the Job has none unless it says so.
    limit = float("inf") if given is None and seen.per_index else DEFAULT_BACKOFF_LIMIT if given is None else int(given)
    if seen.failures > limit or _restarted_too_often(seen, limit):
        return End("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if deadline_in_seconds(seen.job, seen.now) == 0 and objects.status(seen.job).get("startTime"):
        return End("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    lost = job_indexes.total(seen.indexes_failed) if seen.per_index else 0
    most = spec.get("maxFailedIndexes")
    if most is not None and lost > int(most):
        return End("Failed", "MaxFailedIndexesExceeded",
                   "Job has exceeded the specified maximal number of failed indexes")
    if lost and lost + job_indexes.total(seen.indexes_done) >= seen.completions:
        return End("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _restarted_too_often(seen: Seen, limit: float) -> bool:
    """Restarts in place count as tries too, where containers are restarted."""
    template = objects.spec(seen.job).get("template") or {}
    if objects.spec(template).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(int(state.get("restartCount") or 0) for pod in seen.active
                   for kind in ("initContainerStatuses", "containerStatuses")
                   for state in objects.status(pod).get(kind) or ())
    return restarts >= max(1, limit)


def _succeeded(seen: Seen) -> End | None:
    if not job_pods.indexed(seen.job):
        return None
    message = job_policies.success(seen.job, seen.indexes_done)
    return End("Complete", "SuccessPolicy", message) if message else None
