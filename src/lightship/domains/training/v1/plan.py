"""What one pass does for a v1 job: which children to make and to delete, the status, what to tell. Pure.

``reconciler`` calls ``decide``. An end is written down before anything is cleaned up for it, in a pass of its own: a
crash between the two would have the job run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lightship.domains.training.v1 import children, gangs, limits, names, replicas, restarts
from lightship.domains.training.v1 import status as statuses
from lightship.domains.training.v1.framework import Extra, Job
from lightship.domains.training.v1.replicas import Failures, Slot, Sorted
from lightship.domains.training.v1.restarts import Restarts
from lightship.domains.training.v1.status import Status
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.runtime.events import Announcement

_ACTIVE = ("Running", "Pending")
LIMIT_MADE = 200
"""So many Pods and Services are made in one pass, so that a large job soon shows that it is on its way."""
LIMIT_TOLD = 5
"""So many waiting replicas are told of in one pass."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a decision rests on. ``gang``: whether the cluster admits Pods as gangs."""

    job: Job
    pods: Sequence[Object]
    services: Sequence[Object]
    gang: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write, in this order; ``group`` is the gang to be there, ``group_gone`` says that none is to be."""

    restarts: str | None = None
    delete: Sequence[Object] = ()
    extras: Sequence[Extra] = ()
    group: Object | None = None
    group_gone: bool = False
    make: Sequence[Object] = ()
    status: Status
    expired: bool = False
    culprit: Object | None = None
    """The first Pod whose failure fails the job: what it said last belongs to the story."""
    said: Sequence[Announcement] = ()
    requeue_after_seconds: float | None = None


def decide(observed: Observed, now: datetime) -> Plan:
    """The plan for one pass."""
    job = observed.job
    status = statuses.mark_created(dict(objects.status(job.obj)), job, now)
    if statuses.finished(status):
        plan = _after_the_end(observed, status, now)
    elif job.policy.suspend:
        plan = Plan(delete=_going([*observed.pods, *observed.services]), group_gone=observed.gang,
                    extras=job.framework.extras(job, observed.pods),
                    status=statuses.mark_suspended(status, job, now))
    else:
        plan = _go_on(observed, statuses.mark_started(status, job, now), now)
    return replace(plan, said=[*plan.said, *_news(job, plan.status)])


def refused(plan: Plan, job: Job, why: str, now: datetime) -> Plan:
    """The plan where the API server will not have a child as it is: nothing but a change of the job would help."""
    status = statuses.mark_failed(plan.status, job, why, now, names.FAILED_VALIDATION)
    return Plan(status=status, said=_news(job, status))


def explained(plan: Plan, job: Job, words: str) -> Plan:
    """The plan by which a job fails, with what the culprit said last."""
    assert plan.culprit is not None
    name, code = objects.name(plan.culprit), replicas.exit_code(job, plan.culprit)
    words = words or str(objects.status(plan.culprit).get("message") or "")
    if code < replicas.LIMIT_CODES:
        why = f"{name} exited with code {code}" + (f": {words}" if words else "")
    elif words:
        why = f"{name} failed: {words}"
    else:
        return plan
    status = statuses.explain_failure(plan.status, why)
    told = [one for one in plan.said if one.reason != names.reason(job.kind, names.FAILED)]
    return replace(plan, status=status, said=[*told, *_news(job, status)])


def _after_the_end(observed: Observed, status: Status, now: datetime) -> Plan:
    job = observed.job
    doomed = [pod for pod in observed.pods if _cleaned(job, status, pod)]
    kept = {objects.name(pod) for pod in observed.pods} - {objects.name(pod) for pod in doomed}
    services = [one for one in observed.services if objects.name(one) not in kept] if _cleans(job, status) else []
    expiry = limits.expiry(job, status)
    left = max(0.0, (expiry - now).total_seconds()) if expiry is not None else None
    return Plan(delete=_going([*doomed, *services]), group_gone=observed.gang, expired=left == 0,
                status=statuses.settle_counts(status, cleaned=_cleans(job, status)), requeue_after_seconds=left)


def _cleans(job: Job, status: Status) -> bool:
    return job.policy.clean_pods != names.CLEAN_NONE or limits.given_up(job, status)


def _cleaned(job: Job, status: Status, pod: Object) -> bool:
    """Whether a Pod of an ended job is to go."""
    if job.policy.clean_pods == names.CLEAN_ALL:
        return True
    return _cleans(job, status) and replicas.phase(pod) in _ACTIVE


def _go_on(observed: Observed, status: Status, now: datetime) -> Plan:
    job = observed.job
    pods = replicas.sort(job, observed.pods)
    failed = replicas.failures(job, pods.slots)
    counted = _count(restarts.read(job.obj), failed, now)
    in_place = limits.in_place(job, [(slot[0], pod) for slot, pod in pods.slots.items()])
    tally = replicas.tally(job, pods.slots)
    status = statuses.propagate_counts(status, job, tally.counts)
    if why := limits.exceeded(job, status, counted.total, in_place, now):
        return Plan(status=statuses.mark_failed(status, job, why, now), culprit=replicas.first_of(failed))
    status = _judge((job, pods.slots), status, failed, now, succeeded=job.framework.succeeded(job, tally))
    said = _exits(job, failed)
    if statuses.finished(status):
        culprit = replicas.first_of(failed) if statuses.has(status, names.FAILED) else None
        return Plan(status=status, said=said, culprit=culprit)
    before = objects.annotations(job.obj).get(names.RESTARTS_ANNOTATION)
    missing, wait = _missing(job, pods.slots, counted, now)
    services = replicas.sort(job, observed.services)
    doomed = [*(pod for one in failed.values() for pod in one.anew), *pods.stray, *services.stray]
    made = [children.make_pod(job, *slot) for slot in missing]
    make = [*_services(job, services), *([gangs.joined(pod, job) for pod in made] if observed.gang else made)]
    until = limits.deadline(job, status)
    waits = [wait, (until - now).total_seconds() if until is not None else None, 0.0 if make[LIMIT_MADE:] else None]
    return Plan(restarts=counted.text() if counted.entries and counted.text() != before else None,
                delete=_going(doomed), extras=job.framework.extras(job, observed.pods),
                group=gangs.make(job) if observed.gang else None, make=make[:LIMIT_MADE], status=status,
                said=[*said, *_overwritten(job, missing), *_abnormal(pods)],
                requeue_after_seconds=min((one for one in waits if one is not None), default=None))


def _count(known: Restarts, failed: Mapping[str, Failures], now: datetime) -> Restarts:
    """What was known, and those that are now to be made anew: one retry each, unless the cluster ended them."""
    for one in failed.values():
        for by, pods in ((0, one.interrupted), (1, one.again)):
            for pod in pods:
                if not known.counted(pod):
                    known = known.with_pod(pod, now, by)
    return known


def _judge(observed: tuple[Job, Mapping[Slot, Object]], status: Status, failed: Mapping[str, Failures], now: datetime,
           *, succeeded: bool) -> Status:
    """Whether it runs, has succeeded, restarts or has failed, in upstream's order."""
    job, pods = observed
    for type, one in failed.items():
        if one.final and job.replicas[type].restart_policy == names.EXIT_CODE:
            return statuses.mark_failed(status, job, f'job "{job.name}" is failing because "{type}" replica(s) failed.',
                                        now)
    if succeeded:
        return statuses.mark_succeeded(status, job, now)
    words = job.framework.words(job)
    again = _restarting(job, pods, failed)
    if again:
        type, count = next(iter(again.items()))
        status = statuses.mark_restarting(status, job, words.restarting.format(count=count, type=type), now)
    elif status["replicaStatuses"].get(job.framework.leader(job), {}).get("active"):
        status = statuses.mark_running(status, job, now)
    for type, one in failed.items():
        if one.final and not job.framework.tolerates(job, type):
            count = len(one.final) + len(one.anew)
            return statuses.mark_failed(status, job, words.failed.format(count=count, type=type), now)
    return status


def _restarting(job: Job, pods: Mapping[Slot, Object], failed: Mapping[str, Failures]) -> dict[str, int]:
    """How many replicas of which types have failed and do not run again yet: told though their Pods may be gone."""
    known = restarts.read(job.obj)
    found = {type: len(one.anew) for type, one in failed.items() if one.anew}
    for slot in replicas.slots_of(job):
        if slot not in pods and job.host(*slot) in known.entries:
            found[slot[0]] = found.get(slot[0], 0) + 1
    return found


def _missing(job: Job, there: Mapping[Slot, Object], counted: Restarts,
             now: datetime) -> tuple[list[Slot], float | None]:
    """The replicas to be made now, and in how many seconds the next of those that pause is due."""
    missing: list[Slot] = []
    wait: float | None = None
    for slot in replicas.slots_of(job):
        if slot in there:
            continue
        due = counted.due(job.host(*slot))
        if due is None or due <= now:
            missing.append(slot)
        else:
            seconds = (due - now).total_seconds()
            wait = seconds if wait is None else min(wait, seconds)
    return missing, wait


def _services(job: Job, there: Sorted) -> list[Object]:
    if not job.framework.services:
        return []
    return [children.make_service(job, *slot) for slot in replicas.slots_of(job) if slot not in there.slots]


def _going(doomed: Sequence[Object]) -> list[Object]:
    """Those that are not on their way already."""
    return [one for one in doomed if not objects.deleting(one)]


def _news(job: Job, status: Status) -> list[Announcement]:
    """What is said of conditions that are new; that it was created and runs can be seen."""
    warnings = (names.FAILED, names.RESTARTING)
    return [Announcement("Warning" if one["type"] in warnings else "Normal", one["reason"], one["message"])
            for one in statuses.news(job.obj, status)
            if one["type"] not in (names.CREATED, names.RUNNING)]


def _exits(job: Job, failed: Mapping[str, Failures]) -> list[Announcement]:
    said = []
    for one in failed.values():
        for pod in (*one.final, *one.anew):
            code = replicas.exit_code(job, pod)
            if replicas.phase(pod) == "Failed" and not objects.deleting(pod) and code < replicas.LIMIT_CODES:
                said.append(Announcement("Normal", names.EVENT_EXITED,
                                         f"Pod: {job.namespace}.{objects.name(pod)} exited with code {code}"))
    return said


def _overwritten(job: Job, missing: Sequence[Slot]) -> list[Announcement]:
    own = any(objects.spec(job.replicas[type].template).get("restartPolicy") for type, _ in missing)
    return [Announcement("Warning", names.EVENT_POLICY, names.SAYS_POLICY)] if own else []


def _abnormal(pods: Sorted) -> list[Announcement]:
    """Why a replica does not start, or not again, as its Pod says."""
    said = []
    for pod in pods.slots.values():
        status = objects.status(pod)
        if replicas.phase(pod) not in _ACTIVE:
            continue
        for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("message"):
                said.append(Announcement(
                    "Warning", str(waiting.get("reason") or "Waiting"), f"Error pod {objects.name(pod)} container "
                    f"{one.get('name')} waiting message: {waiting['message']}"))
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                said.append(Announcement("Warning", str(condition.get("reason") or "Unschedulable"), "Error pod "
                                         f"{objects.name(pod)} condition message: {condition.get('message')}"))
    return said[:LIMIT_TOLD]


