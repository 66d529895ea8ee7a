"""What one pass does for a TrainJob: which objects to apply, what to delete, the status. Pure; ``reconciler`` calls me.

A TrainJob that has ended makes nothing any more: its JobSet may be gone by its own time to live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lightship.domains.training import kinds, names
from lightship.domains.training.site import OTHER, Site
from lightship.domains.training.train_job import lower, status
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

LIMIT_PODS = 1000
"""Pods of one TrainJob on the embedded cluster: more would keep every other from its API for long."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a decision rests on. ``runtime`` is the one in the cluster; the snapshot comes before it."""

    job: Object
    job_set: Object | None
    snapshot: Object | None
    runtime: Object | None
    site: Site = OTHER
    failure: str = ""
    """Which node failed first, and how, where one has."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write, in this order. ``trouble`` is why nothing could be made, for the user to read as an event."""

    snapshot: Object | None = None
    hosts: Object | None = None
    """The ConfigMap with an MPI training's hosts. With it goes the Secret with its keys, where that is not there."""
    pod_group: Object | None = None
    job_set: Object | None = None
    delete: Object | None = None
    status: dict[str, Any]
    trouble: str = ""
    requeue_after_seconds: float | None = None


def decide(observed: Observed, now: datetime) -> Plan:
    """The plan for one pass. Raises ``BadSnapshot``."""
    job = observed.job
    before = status.mark_suspension(dict(objects.status(job)), lower.suspended(job), now)
    if _runtime_resource(job) is None:
        return Plan(status=status.mark_failed(before, names.REASON_NOT_SUPPORTED, _unsupported(job), now))
    mine = _mine(job, observed.job_set)
    after = status.propagate_job_set(before, mine, now, observed.failure) if mine is not None else before
    if status.finished(job) or status.finished({"status": after}):
        return Plan(status=after)
    deadline = _deadline(job, after)
    if deadline is not None and now >= deadline:
        failed = status.mark_failed(after, names.REASON_DEADLINE, names.SAYS_DEADLINE, now)
        return Plan(delete=mine, status=failed)
    wake = (deadline - now).total_seconds() if deadline is not None else None
    if observed.job_set is not None and mine is None:
        return Plan(status=after, trouble=_taken(job, observed.job_set), requeue_after_seconds=wake)
    snapshot = None
    if observed.snapshot is not None:
        runtime = lower.read_snapshot(job, observed.snapshot)
    elif observed.runtime is not None:
        runtime = observed.runtime
        snapshot = lower.make_snapshot(job, runtime)
    else:
        return Plan(status=after, trouble=missing(job), requeue_after_seconds=wake)
    if observed.site.gangs and (count := lower.pods(job, runtime)) > LIMIT_PODS:
        return Plan(status=status.mark_failed(after, names.REASON_TOO_MANY, _too_many(count), now))
    job_set = _changed(job, mine, runtime, observed.site)
    if job_set is None:
        return Plan(status=after, requeue_after_seconds=wake)
    return Plan(snapshot=snapshot, hosts=lower.make_hosts(job, runtime),
                pod_group=lower.make_pod_group(job, runtime, observed.site), job_set=job_set, status=after,
                requeue_after_seconds=wake)


def _too_many(count: int) -> str:
    return (f"the TrainJob asks for {count} Pods, and this cluster makes at most {LIMIT_PODS} for one: ask for fewer "
            "nodes, each with more processes")


def missing(job: Object) -> str:
    """That the runtime which a TrainJob names is not there."""
    reference = objects.spec(job)["runtimeRef"]
    return (f"{reference.get('kind')} \"{reference.get('name')}\" is not there: it must be made before the TrainJob")


def _changed(job: Object, there: Object | None, runtime: Object, site: Site) -> Object | None:
    """The JobSet, where it is to be made or changed: one that runs is left as it is until it is suspended."""
    if there is not None and not lower.suspended(job) and not objects.spec(there).get("suspend"):
        return None
    wanted = lower.make_job_set(job, runtime, site)
    applied = objects.annotations(there or {}).get(names.APPLIED_ANNOTATION)
    same = applied == objects.annotations(wanted)[names.APPLIED_ANNOTATION]
    as_wanted = there is not None and bool(objects.spec(there).get("suspend")) == lower.suspended(job)
    return None if same and as_wanted else wanted


def _mine(job: Object, job_set: Object | None) -> Object | None:
    owner = objects.controller_of(job_set) if job_set is not None else None
    return job_set if owner is not None and owner.get("uid") == objects.uid(job) else None


def _taken(job: Object, job_set: Object) -> str:
    owner = objects.controller_of(job_set) or {}
    whose = f"belongs to {owner.get('kind')} \"{owner.get('name')}\"" if owner else "belongs to nobody"
    return f'JobSet "{objects.key(job_set)}" {whose}: delete it, or rename the TrainJob'


def _runtime_resource(job: Object) -> object | None:
    reference = objects.spec(job).get("runtimeRef") or {}
    return kinds.RUNTIMES.get(str(reference.get("kind"))) if reference.get("apiGroup") == kinds.GROUP else None


def _unsupported(job: Object) -> str:
    reference = objects.spec(job).get("runtimeRef") or {}
    return f"unsupported runtime: {reference.get('kind')}.{reference.get('apiGroup')}"


def _deadline(job: Object, after: dict[str, Any]) -> datetime | None:
    """When the TrainJob has run too long: counted from its start, or from when it was last resumed."""
    seconds = objects.spec(job).get("activeDeadlineSeconds")
    if not seconds or lower.suspended(job):
        return None
    resumed = conditions.find({"status": after}, names.SUSPENDED)
    since = resumed["lastTransitionTime"] if resumed is not None else objects.meta(job)["creationTimestamp"]
    return times.parse(str(since)) + timedelta(seconds=float(seconds))
