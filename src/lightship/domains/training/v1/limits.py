"""When a job has had enough: its deadline, its count of retries, its time after the end. Pure; ``plan`` calls me."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from lightship.domains.training.v1 import names, restarts
from lightship.domains.training.v1.framework import Job
from lightship.domains.training.v1.status import Status
from lightship.kube import conditions, times
from lightship.kube.objects import Object

_BACKOFF = "Job {name} has failed because it has reached the specified backoff limit"
_DEADLINE = "Job {name} has failed because it was active longer than specified deadline"


def exceeded(job: Job, status: Status, made_anew: int, in_place: int, now: datetime) -> str:
    """Why the job must end; empty where it need not.

    ``made_anew`` are failed Pods that were or would be replaced: as many as the limit says may be. ``in_place`` are
    restarts by the node, where upstream gives up when their number reaches the limit.
    """
    limit = job.policy.backoff_limit
    if limit is not None and (made_anew > limit or (in_place and made_anew + in_place >= limit)):
        return _BACKOFF.format(name=job.name)
    until = deadline(job, status)
    return _DEADLINE.format(name=job.name) if until is not None and now >= until else ""


def deadline(job: Job, status: Status) -> datetime | None:
    """When it will have run for too long."""
    if job.policy.deadline_seconds is None or not status.get("startTime"):
        return None
    return times.parse(str(status["startTime"])) + timedelta(seconds=float(job.policy.deadline_seconds))


def given_up(job: Job, status: Status) -> bool:
    """Whether the job failed as a whole: then nothing of it runs on, whatever the policy for Pods."""
    failed = conditions.find({"status": status}, names.FAILED) or {}
    ways = _BACKOFF.format(name=job.name), _DEADLINE.format(name=job.name)
    return failed.get("status") == "True" and (
        failed.get("reason") == names.reason(job.kind, names.FAILED_VALIDATION)
        or str(failed.get("message", "")).startswith(ways))


def in_place(job: Job, pods: Sequence[tuple[str, Object]]) -> int:
    """How often containers of retried replicas were restarted in their Pods: a Pod with its type."""
    return sum(restarts.containers(pod) for type, pod in pods if job.replicas[type].restart_policy != names.NEVER)


def expiry(job: Job, status: Status) -> datetime | None:
    """When the ended job is to be deleted."""
    if job.policy.ttl_seconds is None:
        return None
    ended = status.get("completionTime")
    for type in (names.FAILED, names.SUCCEEDED):
        condition = conditions.find({"status": status}, type)
        ended = ended or (condition or {}).get("lastTransitionTime")
    return times.parse(str(ended)) + timedelta(seconds=float(job.policy.ttl_seconds))
