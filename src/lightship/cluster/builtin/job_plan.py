"""What a Job does next, given its Pods. Pure; ``jobs`` calls me once a pass, and once more for the status.

As upstream, a Pod is counted exactly once, whatever crashes: it holds a finalizer until its uid stands in the status'
``uncountedTerminatedPods``, and moves from there into the counters once the finalizer is off. The last write of a Job
says all at once: what holds a finalizer after it has been counted with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from lightship.cluster.builtin import job_ends, job_indexes, job_pods, job_policies, names, pods
from lightship.cluster.builtin.job_ends import End
from lightship.cluster.builtin.job_indexes import Indexes
from lightship.cluster.builtin.job_pods import Wanted
from lightship.kube import objects
from lightship.kube.objects import Object

FIRST_RETRY_SECONDS = 10.0
LAST_RETRY_SECONDS = 600.0
LIMIT_PODS_PER_PASS = 500
LIMIT_UNCOUNTED_PODS = 500
"""How many uids the status holds at most: the rest waits for the next pass."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to make and to delete. ``discard`` goes uncounted: its finalizer comes off before it is deleted."""

    create: tuple[Wanted, ...] = ()
    delete: tuple[Object, ...] = ()
    discard: tuple[Object, ...] = ()
    end: End | None = None
    """The end that the Job has come to, be it that Pods still have to end for it."""
    requeue_after_seconds: float | None = None


@dataclass(frozen=True)
class Seen:
    """A Job with its Pods, sorted out."""

    job: Object
    owned: Sequence[Object]
    now: datetime
    uncounted_succeeded: frozenset[str] = field(init=False)
    uncounted_failed: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        uncounted = objects.status(self.job).get("uncountedTerminatedPods") or {}
        object.__setattr__(self, "uncounted_succeeded", frozenset(uncounted.get("succeeded") or ()))
        object.__setattr__(self, "uncounted_failed", frozenset(uncounted.get("failed") or ()))

    @cached_property
    def active(self) -> tuple[Object, ...]:
        return tuple(pod for pod in self.owned if pods.active(pod))

    @cached_property
    def terminating(self) -> int:
        return sum(1 for pod in self.owned if job_pods.terminating(pod))

    @cached_property
    def new_succeeded(self) -> tuple[Object, ...]:
        """Those that no status has told of yet."""
        return tuple(pod for pod in self.owned if self._new(pod) and job_pods.succeeded(pod))

    @cached_property
    def new_failed(self) -> tuple[Object, ...]:
        """The same, those that a policy ignores among them."""
        return tuple(pod for pod in self.owned if self._new(pod) and job_pods.failed(self.job, pod))

    def _new(self, pod: Object) -> bool:
        uid = objects.uid(pod)
        return (job_pods.tracked(pod) and self.valid(pod)
                and uid not in self.uncounted_succeeded and uid not in self.uncounted_failed)

    def valid(self, pod: Object) -> bool:
        """Whether its index, where the Job has any, is one of the Job's."""
        if not job_pods.indexed(self.job):
            return True
        index = job_pods.index_of(pod)
        return index is not None and index < self.completions

    @property
    def completions(self) -> int:
        return int(objects.spec(self.job).get("completions") or 0)

    @cached_property
    def indexes_done(self) -> Indexes:
        before = job_indexes.parse(str(objects.status(self.job).get("completedIndexes") or ""), self.completions)
        return job_indexes.add(before, [index for pod in self.new_succeeded
                                        if (index := job_pods.index_of(pod)) is not None])

    @cached_property
    def indexes_failed(self) -> Indexes:
        """Those that have failed for good, where each index has a limit of its own."""
        before = job_indexes.parse(str(objects.status(self.job).get("failedIndexes") or ""), self.completions)
        if not self.per_index:
            return before
        return job_indexes.add(before, [
            index for pod in self.new_failed if (index := job_pods.index_of(pod)) is not None
            and not job_indexes.has(self.indexes_done, index) and self._fails_its_index(pod)])

    def _fails_its_index(self, pod: Object) -> bool:
        verdict = job_policies.judge(self.job, pod)
        limit = int(objects.spec(self.job)["backoffLimitPerIndex"])
        return verdict.action == "FailIndex" or (verdict.counts and job_pods.failures_of_index(pod) >= limit)

    @property
    def per_index(self) -> bool:
        return objects.spec(self.job).get("backoffLimitPerIndex") is not None and job_pods.indexed(self.job)

    @cached_property
    def held_back(self) -> dict[int, Object]:
        """The last failed Pod of each index that will be tried again: kept until its successor carries its count."""
        if not self.per_index:
            return {}
        over = job_indexes.add(self.indexes_done, ())
        running = {job_pods.index_of(pod) for pod in self.active}
        latest: dict[int, Object] = {}
        for pod in self.owned:
            index = job_pods.index_of(pod)
            if (index is None or not job_pods.tracked(pod) or not job_pods.failed(self.job, pod) or index in running
                    or index >= self.completions or job_indexes.has(over, index)
                    or job_indexes.has(self.indexes_failed, index)):
                continue
            known = latest.get(index)
            if known is None or job_pods.all_failures_of_index(pod) > job_pods.all_failures_of_index(known):
                latest[index] = pod
        return latest

    @cached_property
    def succeeded(self) -> int:
        if job_pods.indexed(self.job):
            return job_indexes.total(self.indexes_done)
        return (int(objects.status(self.job).get("succeeded") or 0) + len(self.new_succeeded)
                + len(self.uncounted_succeeded))

    @cached_property
    def failures(self) -> int:
        counted = sum(1 for pod in self.new_failed if job_policies.judge(self.job, pod).counts)
        return int(objects.status(self.job).get("failed") or 0) + counted + len(self.uncounted_failed)


def decide(seen: Seen) -> Plan:
    """The next step of the Job, which is not over."""
    job = seen.job
    if objects.deleting(job):
        return Plan()
    end = job_ends.reached(seen)
    if end is not None:
        return Plan(end=end, delete=seen.active)
    if objects.spec(job).get("suspend"):
        return Plan(discard=seen.active[:LIMIT_PODS_PER_PASS], end=_complete(seen, 0))
    surplus = _surplus(seen)
    deadline = job_ends.deadline_in_seconds(job, seen.now)
    if surplus:
        return Plan(discard=surplus, requeue_after_seconds=deadline)
    create, retry = _creations(seen)
    waits = [seconds for seconds in (retry, deadline) if seconds]
    return Plan(create=create, end=_complete(seen, len(seen.active) + len(create)),
                requeue_after_seconds=min(waits, default=None))


def _complete(seen: Seen, active: int) -> End | None:
    """The end of a Job that has as many successes as it asks for and nothing that runs."""
    if active:
        return None
    completions = objects.spec(seen.job).get("completions")
    done = seen.succeeded >= int(completions) if completions is not None else seen.succeeded > 0
    return job_ends.COMPLETE if done else None


def _wanted_active(seen: Seen) -> int:
    """How many Pods should be at work."""
    spec = objects.spec(seen.job)
    value = spec.get("parallelism")
    parallelism = 1 if value is None else int(value)
    if spec.get("completions") is None:
        return len(seen.active) if seen.succeeded else parallelism
    return min(parallelism, max(0, seen.completions - seen.succeeded - job_indexes.total(seen.indexes_failed)))


def _surplus(seen: Seen) -> tuple[Object, ...]:
    """Active Pods that are too many, or whose index is none, or another's too."""
    chosen: list[Object] = []
    left = sorted(seen.active, key=lambda pod: pods.worth(pod, seen.now))
    if job_pods.indexed(seen.job):
        by_index: dict[int, list[Object]] = {}
        for pod in left:
            index = job_pods.index_of(pod)
            if index is None or index >= seen.completions:
                chosen.append(pod)
            else:
                by_index.setdefault(index, []).append(pod)
        for same in by_index.values():
            chosen += same[:-1]
        gone = {objects.uid(pod) for pod in chosen}
        left = [pod for pod in left if objects.uid(pod) not in gone]
    more = len(seen.active) - _wanted_active(seen) - len(chosen)
    return tuple((chosen + left[:max(0, more)])[:LIMIT_PODS_PER_PASS])


def _creations(seen: Seen) -> tuple[tuple[Wanted, ...], float]:
    """Pods to make now, and in how many seconds more may be made."""
    job = seen.job
    count = _wanted_active(seen) - len(seen.active)
    if job_pods.only_failed_are_replaced(job):
        count -= seen.terminating
    if count <= 0:
        return (), 0.0
    if not seen.per_index and (wait := _retry_in_seconds(seen)) > 0:
        return (), wait
    count = min(count, LIMIT_PODS_PER_PASS)
    if not job_pods.indexed(job):
        return (Wanted(),) * count, 0.0
    busy = [index for pod in seen.owned if (index := job_pods.index_of(pod)) is not None and (
        pods.active(pod) or (job_pods.only_failed_are_replaced(job) and job_pods.terminating(pod)))]
    taken = job_indexes.add(seen.indexes_done, [*busy, *(
        index for first, last in seen.indexes_failed for index in range(first, last + 1))])
    made: list[Wanted] = []
    waits: list[float] = []
    for index in job_indexes.missing(taken, seen.completions):
        if len(made) >= count:
            break
        before = seen.held_back.get(index)
        wait = 0.0 if before is None else _index_retry_in_seconds(before, seen.now)
        if wait > 0:
            waits.append(wait)
        else:
            ignored = before is not None and not job_policies.judge(job, before).counts
            made.append(Wanted(index=index, before=before, ignored=ignored))
    return tuple(made), min(waits, default=0.0)


def _retry_in_seconds(seen: Seen) -> float:
    """How long the next try waits after a failure; 0 when it may go on. A success starts the count anew.

    Pods that ended with the node's process, and those that were deleted, are replaced at once.
    """
    failed = [pod for pod in seen.owned if pods.phase(pod) == "Failed" and not objects.deleting(pod)
              and objects.status(pod).get("reason") != names.NODE_RESTARTED]
    if not failed:
        return 0.0
    ends = sorted(pods.ended(pod, seen.now) for pod in failed)
    success = max((pods.ended(pod, seen.now) for pod in seen.owned if job_pods.succeeded(pod)), default=None)
    since = [moment for moment in ends if success is None or moment > success]
    return _left(len(since), since[-1], seen.now) if since else 0.0


def _index_retry_in_seconds(before: Object, now: datetime) -> float:
    if objects.status(before).get("reason") == names.NODE_RESTARTED:
        return 0.0
    return _left(job_pods.all_failures_of_index(before) + 1, pods.ended(before, now), now)


def _left(failures: int, last: datetime, now: datetime) -> float:
    delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LAST_RETRY_SECONDS)
    return max(0.0, delay - (now - last).total_seconds())
