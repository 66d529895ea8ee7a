"""What a CronJob does next, given its Jobs. Pure; ``cronjobs`` calls me once a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lightship import errors
from lightship.cluster.builtin import cron_schedule, job_ends
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object
from lightship.runtime.events import Announcement

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY_MISSED = 100
_HISTORY = {"Complete": ("successfulJobsHistoryLimit", 3), "Failed": ("failedJobsHistoryLimit", 1)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The time to start a Job for, Jobs to delete, what to say, and when to look again."""

    start: datetime | None = None
    served: datetime | None = None
    """The latest time that has, or gets, a Job."""
    delete: tuple[Object, ...] = ()
    says: tuple[Announcement, ...] = ()
    requeue_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What is due now."""

    due: datetime | None = None
    upcoming: datetime | None = None
    says: list[Announcement] = field(default_factory=list)


def decide(cron_job: Object, jobs: Sequence[Object], now: datetime) -> Plan:
    """The next step of a CronJob, given all Jobs that it controls."""
    spent = _spent(cron_job, jobs)
    if objects.deleting(cron_job):
        return Plan()
    spec = objects.spec(cron_job)
    if spec.get("suspend"):
        return Plan(delete=spent)
    try:
        look = _look(cron_job, now)
    except errors.InvalidInput as error:
        reason = "UnknownTimeZone" if "time zone" in str(error) else "UnparseableSchedule"
        return Plan(delete=spent, says=(Announcement("Warning", reason, str(error)),))
    wait = max(0.0, (look.upcoming - now).total_seconds()) if look.upcoming is not None else None
    says = tuple(look.says)
    if look.due is None or any(objects.name(job) == job_name(cron_job, look.due) for job in jobs):
        return Plan(delete=spent, says=says, served=look.due, requeue_after_seconds=wait)
    running = [job for job in jobs if job_ends.finished_at(job) is None and not objects.deleting(job)]
    policy = spec.get("concurrencyPolicy") or "Allow"
    if policy == "Forbid" and running:
        said = Announcement("Normal", "JobAlreadyActive", "Not starting job because prior execution is running and "
                                                          "concurrency policy is Forbid")
        return Plan(delete=spent, says=(*says, said), requeue_after_seconds=wait)
    replaced = tuple(running) if policy == "Replace" else ()
    return Plan(start=look.due, served=look.due, delete=(*spent, *replaced), says=says, requeue_after_seconds=wait)


def _look(cron_job: Object, now: datetime) -> _Look:
    """Raises ``errors.InvalidInput``."""
    spec = objects.spec(cron_job)
    schedule = cron_schedule.parse(str(spec.get("schedule") or ""), cron_schedule.zone(str(spec.get("timeZone") or "")))
    stamp = objects.status(cron_job).get("lastScheduleTime") or objects.meta(cron_job).get("creationTimestamp")
    since = times.parse(str(stamp)) if stamp else now
    deadline = spec.get("startingDeadlineSeconds")
    says: list[Announcement] = []
    due = schedule.last(since, now)
    if deadline is not None and due is not None and due + timedelta(seconds=float(deadline)) < now:
        says.append(Announcement("Warning", "MissSchedule", f"Missed scheduled time to start a job: {due:%c %z}"))
        due = None
    if due is not None and deadline is None and _many_missed(schedule, since, now):
        says.append(Announcement("Warning", "TooManyMissedTimes", "too many missed start times. Set or decrease "
                                 ".spec.startingDeadlineSeconds or check clock skew"))
    upcoming = schedule.after(due or now) if schedule.every is not None and due else schedule.after(now)
    if schedule.every is not None and due is None:
        upcoming = schedule.after(since)
        while upcoming is not None and upcoming <= now:
            upcoming = upcoming + schedule.every * (1 + int((now - upcoming) / schedule.every))
    return _Look(due=due, upcoming=upcoming, says=says)


def _many_missed(schedule: cron_schedule.Schedule, since: datetime, now: datetime) -> bool:
    moment: datetime | None = since
    for _ in range(MANY_MISSED + 1):
        moment = schedule.after(moment) if moment is not None else None
        if moment is None or moment > now:
            return False
    return True


def job_name(cron_job: Object, due: datetime) -> str:
    """One name a scheduled time, so that no time is served twice."""
    return f"{objects.name(cron_job)}-{int(due.timestamp()) // 60}"


def make_job(cron_job: Object, due: datetime) -> Object:
    template = objects.spec(cron_job).get("jobTemplate") or {}
    local = due.astimezone(cron_schedule.zone(str(objects.spec(cron_job).get("timeZone") or "")))
    stamp = local.isoformat().replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": job_name(cron_job, due), "namespace": objects.namespace(cron_job),
            "labels": dict(objects.labels(template)),
            "annotations": dict(objects.annotations(template)) | {SCHEDULED: stamp},
            "ownerReferences": [objects.owner_reference(cron_job)],
        },
        "spec": objects.spec(template),
    }


def _spent(cron_job: Object, jobs: Sequence[Object]) -> tuple[Object, ...]:
    """Finished Jobs beyond the limits of their history, the oldest first."""
    chosen: list[Object] = []
    for kind, (field_name, default) in _HISTORY.items():
        value = objects.spec(cron_job).get(field_name)
        over = sorted((job for job in jobs if conditions.is_true(job, kind)),
                      key=lambda job: str(objects.status(job).get("startTime") or ""))
        chosen += [job for job in over[:max(0, len(over) - (default if value is None else int(value)))]
                   if not objects.deleting(job)]
    return tuple(chosen)


def status(cron_job: Object, jobs: Sequence[Object], served: datetime | None) -> dict[str, Any]:
    """The whole status, given the Jobs as they are after the pass's writes."""
    old = objects.status(cron_job)
    active = [{"apiVersion": "batch/v1", "kind": "Job", "name": objects.name(job), "namespace": objects.namespace(job),
               "uid": objects.uid(job)} for job in sorted(jobs, key=objects.name)
              if job_ends.finished_at(job) is None and not objects.deleting(job)]
    successes = [str(objects.status(job).get("completionTime") or "") for job in jobs]
    last_success = max([*successes, str(old.get("lastSuccessfulTime") or "")])
    result: dict[str, Any] = {"active": active} if active else {}
    if served is not None or old.get("lastScheduleTime"):
        result["lastScheduleTime"] = times.rfc3339(served) if served is not None else old["lastScheduleTime"]
    if last_success:
        result["lastSuccessfulTime"] = last_success
    return result
