"""A Job's status after a pass, and the Pods that it lets go with it. Pure; ``jobs`` calls me."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightship.cluster.builtin import job_indexes, job_pods, job_policies, pods
from lightship.cluster.builtin.job_ends import End
from lightship.cluster.builtin.job_plan import LIMIT_UNCOUNTED_PODS, Seen
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The whole status; ``release`` are the Pods whose finalizer comes off once it is written."""

    status: dict[str, Any]
    release: tuple[Object, ...]


@dataclass(frozen=True, kw_only=True)
class _Count:
    """What is counted, and what is told of but still held."""

    succeeded: int
    failed: int
    uncounted: dict[str, list[str]]
    release: tuple[Object, ...]
    all_told: bool


def tell(seen: Seen, end: End | None) -> Outcome:
    """The status of a Job that is not over yet, given its Pods as they are after the pass's writes."""
    job = seen.job
    count = _count(seen, end)
    over = (end is not None and not seen.active and not seen.terminating and count.all_told
            and not objects.deleting(job))
    suspended = bool(objects.spec(job).get("suspend")) and end is None
    status = _conditions(seen, end, over, suspended)
    if over:
        final = {"succeeded": count.succeeded + len(count.uncounted.get("succeeded", ())),
                 "failed": count.failed + len(count.uncounted.get("failed", ()))}
        status["uncountedTerminatedPods"] = {}
    else:
        final = {"succeeded": count.succeeded, "failed": count.failed}
        status["uncountedTerminatedPods"] = count.uncounted
    if job_pods.indexed(job):
        final["succeeded"] = job_indexes.total(seen.indexes_done)
        if seen.indexes_done:
            status["completedIndexes"] = job_indexes.text(seen.indexes_done)
        if seen.per_index:
            status["failedIndexes"] = job_indexes.text(seen.indexes_failed)
    status |= {name: number for name, number in final.items() if number}
    if seen.active:
        status["active"] = len(seen.active)
    status["ready"] = sum(1 for pod in seen.active if pods.ready(pod))
    status["terminating"] = seen.terminating
    return Outcome(status=status, release=count.release)


def _count(seen: Seen, end: End | None) -> _Count:
    """Move what has lost its finalizer into the counters, and tell of what has ended since."""
    old = objects.status(seen.job)
    held = {objects.uid(pod) for pod in seen.owned if job_pods.tracked(pod)}
    told = {"succeeded": [uid for uid in sorted(seen.uncounted_succeeded) if uid in held],
            "failed": [uid for uid in sorted(seen.uncounted_failed) if uid in held]}
    succeeded = int(old.get("succeeded") or 0) + len(seen.uncounted_succeeded) - len(told["succeeded"])
    failed = int(old.get("failed") or 0) + len(seen.uncounted_failed) - len(told["failed"])
    release: list[Object] = []
    full = False
    for pod in seen.owned:
        uid = objects.uid(pod)
        if uid not in held or not _may_go(seen, pod, end):
            continue
        if len(told["succeeded"]) + len(told["failed"]) >= LIMIT_UNCOUNTED_PODS:
            full = True
            break
        release.append(pod)
        if uid in seen.uncounted_succeeded or uid in seen.uncounted_failed or not seen.valid(pod):
            continue
        if job_pods.succeeded(pod):
            if not job_pods.indexed(seen.job):  # an index done is told of by itself
                told["succeeded"].append(uid)
        elif _is_failure(seen, pod, end) and job_policies.judge(seen.job, pod).counts:
            told["failed"].append(uid)
    uncounted = {kind: uids for kind, uids in told.items() if uids}
    return _Count(succeeded=succeeded, failed=failed, uncounted=uncounted, release=tuple(release), all_told=not full)


def _is_failure(seen: Seen, pod: Object, end: End | None) -> bool:
    """Whether a Pod that has not succeeded has failed: one that the Job's own failure ends has, and one that its
    success ends has not."""
    if end is None:
        return job_pods.failed(seen.job, pod)
    return end.condition == "Failed" or pods.phase(pod) == "Failed"


def _may_go(seen: Seen, pod: Object, end: End | None) -> bool:
    """Whether the Job is done with the Pod."""
    if end is not None or objects.deleting(seen.job) or job_pods.succeeded(pod):
        return True
    if not job_pods.failed(seen.job, pod):
        return False
    index = job_pods.index_of(pod)
    kept = seen.held_back.get(index) if index is not None else None
    return kept is None or objects.uid(kept) != objects.uid(pod)


def _conditions(seen: Seen, end: End | None, over: bool, suspended: bool) -> dict[str, Any]:
    old, now = objects.status(seen.job), seen.now
    status: dict[str, Any] = {}
    was_suspended = conditions.is_true(seen.job, "Suspended")
    if not suspended:
        started = None if was_suspended and end is None else old.get("startTime")
        status["startTime"] = started or times.rfc3339(now)
    merged = old.get("conditions") or []
    if not objects.deleting(seen.job) and end is None and (
            suspended or conditions.find(seen.job, "Suspended") is not None):
        reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
        merged = conditions.merge(merged, conditions.make("Suspended", suspended, reason, message), now)
    if end is not None:
        for kind in (end.interim, end.condition) if over else (end.interim,):
            merged = conditions.merge(merged, conditions.make(kind, True, end.reason, end.message), now)
        if over and end.condition == "Complete":
            status["completionTime"] = times.rfc3339(now)
    if merged:
        status["conditions"] = merged
    return status
