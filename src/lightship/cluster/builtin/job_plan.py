"""What a Job does next, given its Pods. Pure; ``jobs`` calls me once a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import names, pods
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

DEFAULT_BACKOFF_LIMIT = 6
FIRST_RETRY_SECONDS = 10.0
LAST_RETRY_SECONDS = 600.0
LIMIT_PODS_PER_PASS = 500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Pods to make (by completion index, or None), to delete, the whole status, and when to look again."""

    create: tuple[int | None, ...] = ()
    delete: tuple[Object, ...] = ()
    status: dict[str, Any]
    remove_job: bool = False
    requeue_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The Pods of a Job, sorted out."""

    active: tuple[Object, ...]
    terminating: int
    succeeded: tuple[Object, ...]
    failed: tuple[Object, ...]
    """Those whose failure counts: not the ones that the node's own restart ended."""
    indexes_done: frozenset[int] = field(default_factory=frozenset)


def decide(job: Object, owned: Sequence[Object], now: datetime) -> Plan:
    """The next step of the Job."""
    seen = _sort(job, owned)
    if objects.deleting(job):
        return Plan(status=_status(job, seen, now, None))
    ended = finished_at(job)
    if ended is not None:
        return _after_the_end(job, seen, ended, now)
    if objects.spec(job).get("suspend"):
        return Plan(delete=seen.active, status=_status(job, seen, now, None, suspended=True))
    outcome = _outcome(job, seen, now)
    if outcome is not None:
        return Plan(delete=seen.active, status=_status(job, seen, now, outcome))
    waits = [seconds for seconds in (_retry_in_seconds(seen, now), _deadline_in_seconds(job, now)) if seconds > 0]
    create: tuple[int | None, ...] = () if _retry_in_seconds(seen, now) > 0 else _missing(job, seen)
    surplus = seen.active[max(0, _wanted(job, seen)):]
    return Plan(create=create, delete=surplus, status=_status(job, seen, now, None),
                requeue_after_seconds=min(waits, default=None))


def finished_at(job: Object) -> datetime | None:
    """When the Job completed or failed; None while it goes on."""
    for kind in ("Complete", "Failed"):
        condition = conditions.find(job, kind)
        if condition is not None and condition.get("status") == "True":
            return times.parse(str(condition["lastTransitionTime"]))
    return None


def indexed(job: Object) -> bool:
    return objects.spec(job).get("completionMode") == "Indexed"


def index_of(pod: Object) -> int | None:
    text = names.annotation(pod, names.JOB_INDEX)
    return int(text) if text.isdigit() else None


def make_pod(job: Object, suffix: str, index: int | None) -> Object:
    """A Pod from the Job's template."""
    template = objects.spec(job).get("template") or {}
    uid, name = objects.uid(job), objects.name(job)
    labels = {names.JOB_NAME: name, names.JOB_NAME_OLD: name, names.JOB_UID: uid, names.JOB_UID_OLD: uid}
    annotations = dict(objects.meta(template).get("annotations") or {})
    spec = dict(objects.spec(template))
    stem = f"{name[:50].rstrip('-.')}-{suffix}"
    if index is not None:
        labels[names.JOB_INDEX] = annotations[names.JOB_INDEX] = str(index)
        stem = f"{name[:50].rstrip('-.')}-{index}-{suffix}"
        spec.setdefault("hostname", f"{name[:52].rstrip('-.')}-{index}")
        for kind in ("initContainers", "containers"):
            if spec.get(kind):
                spec[kind] = [_with_index(container, index) for container in spec[kind]]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": stem, "generateName": f"{name}-", "namespace": objects.namespace(job),
            "labels": objects.labels(template) | labels, "annotations": annotations,
            "ownerReferences": [objects.owner_reference(job)],
        },
        "spec": spec,
    }


def _with_index(container: Object, index: int) -> Object:
    env = [variable for variable in container.get("env") or () if variable.get("name") != "JOB_COMPLETION_INDEX"]
    return container | {"env": [*env, {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]}


def _sort(job: Object, owned: Sequence[Object]) -> _Seen:
    succeeded = tuple(pod for pod in owned if pods.phase(pod) == "Succeeded")
    indexes = {index_of(pod) for pod in succeeded} if indexed(job) else set()
    return _Seen(
        active=tuple(sorted((pod for pod in owned if pods.active(pod)), key=pods.created)),
        terminating=sum(1 for pod in owned if objects.deleting(pod) and not pods.finished(pod)),
        succeeded=succeeded,
        failed=tuple(pod for pod in owned if pods.phase(pod) == "Failed"
                     and objects.status(pod).get("reason") != names.NODE_RESTARTED),
        indexes_done=frozenset(index for index in indexes if index is not None),
    )


def _completions(job: Object) -> int | None:
    value = objects.spec(job).get("completions")
    return None if value is None else int(value)


def _parallelism(job: Object) -> int:
    value = objects.spec(job).get("parallelism")
    return 1 if value is None else int(value)


def _succeeded(job: Object, seen: _Seen) -> int:
    """How many are done. A count once written stands, though somebody has deleted the Pod since."""
    now = len(seen.indexes_done) if indexed(job) else len(seen.succeeded)
    return max(now, int(objects.status(job).get("succeeded") or 0))


def _failures(job: Object, seen: _Seen) -> int:
    return max(len(seen.failed), int(objects.status(job).get("failed") or 0))


def _wanted(job: Object, seen: _Seen) -> int:
    """How many Pods should be at work."""
    completions, done = _completions(job), _succeeded(job, seen)
    if completions is None:
        return len(seen.active) if done else _parallelism(job)
    return min(_parallelism(job), max(0, completions - done))


def _missing(job: Object, seen: _Seen) -> tuple[int | None, ...]:
    count = min(max(0, _wanted(job, seen) - len(seen.active)), LIMIT_PODS_PER_PASS)
    completions = _completions(job)
    if not indexed(job) or completions is None:
        return (None,) * count
    taken = seen.indexes_done | {index_of(pod) for pod in seen.active}
    return tuple(index for index in range(completions) if index not in taken)[:count]


def _outcome(job: Object, seen: _Seen, now: datetime) -> tuple[str, str, str] | None:
    """The end of the Job as (condition, reason, message), if it is reached."""
    limit = objects.spec(job).get("backoffLimit")
    limit = DEFAULT_BACKOFF_LIMIT if limit is None else int(limit)
    restarts = sum(int(state.get("restartCount") or 0) for pod in seen.active
                   for state in objects.status(pod).get("containerStatuses") or ())
    if _failures(job, seen) > limit or restarts > limit:
        return ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if objects.spec(job).get("activeDeadlineSeconds") is not None and _deadline_in_seconds(job, now) <= 0:
        return ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions, done = _completions(job), _succeeded(job, seen)
    if (done >= completions) if completions is not None else (done > 0 and not seen.active):
        return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _retry_in_seconds(seen: _Seen, now: datetime) -> float:
    """How long the next try waits after a failure; 0 when it may go on."""
    if not seen.failed:
        return 0.0
    last = max(_ended(pod, now) for pod in seen.failed)
    delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(len(seen.failed) - 1, 16), LAST_RETRY_SECONDS)
    return max(0.0, delay - (now - last).total_seconds())


def _ended(pod: Object, now: datetime) -> datetime:
    """When the Pod's last container ended, as far as it says so."""
    found = []
    for state in objects.status(pod).get("containerStatuses") or ():
        moment = ((state.get("state") or {}).get("terminated") or {}).get("finishedAt")
        if moment:
            found.append(times.parse(str(moment)))
    stamp = pods.created(pod)
    return max(found) if found else times.parse(stamp) if stamp else now


def _deadline_in_seconds(job: Object, now: datetime) -> float:
    """How long the Job may yet run; 0 without a deadline, below 0 when it has passed."""
    limit, start = objects.spec(job).get("activeDeadlineSeconds"), objects.status(job).get("startTime")
    if limit is None:
        return 0.0
    left = float(limit) - (now - times.parse(str(start))).total_seconds() if start else float(limit)
    return left if left > 0 else -1.0


def _after_the_end(job: Object, seen: _Seen, ended: datetime, now: datetime) -> Plan:
    status = _status(job, seen, now, None)
    keep = objects.spec(job).get("ttlSecondsAfterFinished")
    if keep is None:
        return Plan(delete=seen.active, status=status)
    left = float(keep) - (now - ended).total_seconds()
    if left <= 0:
        return Plan(delete=seen.active, status=status, remove_job=True)
    return Plan(delete=seen.active, status=status, requeue_after_seconds=left)


def _status(job: Object, seen: _Seen, now: datetime, outcome: tuple[str, str, str] | None, *,
            suspended: bool = False) -> dict[str, Any]:
    old = objects.status(job)
    over = outcome is not None or finished_at(job) is not None
    active = () if over or suspended else seen.active
    counts = {"active": len(active), "ready": sum(1 for pod in active if pods.ready(pod)),
              "terminating": seen.terminating, "succeeded": _succeeded(job, seen), "failed": _failures(job, seen)}
    status: dict[str, Any] = {name: count for name, count in counts.items()
                              if count or name in ("ready", "terminating")}
    status["uncountedTerminatedPods"] = {}
    if not suspended:
        status["startTime"] = old.get("startTime") or times.rfc3339(now)
    if indexed(job) and seen.indexes_done:
        status["completedIndexes"] = _ranges(sorted(seen.indexes_done))
    if old.get("completionTime"):
        status["completionTime"] = old["completionTime"]
    merged = old.get("conditions") or []
    if suspended or conditions.find(job, "Suspended") is not None:
        reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
        merged = conditions.merge(merged, conditions.make("Suspended", suspended, reason, message), now)
    if outcome is not None:
        kind, reason, message = outcome
        before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for condition in (before, kind):
            merged = conditions.merge(merged, conditions.make(condition, True, reason, message), now)
        if kind == "Complete":
            status["completionTime"] = times.rfc3339(now)
    if merged:
        status["conditions"] = merged
    return status


def _ranges(numbers: Sequence[int]) -> str:
    """``0-2,5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
