"""What the Pods of a job say: which replica each is of, how it ended, and what that means for the job. Pure.

``plan`` calls me.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lightship.domains.training.v1 import children, names
from lightship.domains.training.v1.framework import Counts, Job, Tally
from lightship.kube import conditions, objects
from lightship.kube.objects import Object

FIRST_RETRYABLE_CODE = 128
LIMIT_CODES = 256
_NO_CODE = 0xBEEF
"""Of a Pod that failed without an exit code, as one that was evicted: upstream's, and retryable."""

Slot = tuple[str, int]
"""A replica: its type and its index."""


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """A job's Pods by replica, and those that are of no replica (any more)."""

    slots: Mapping[Slot, Object]
    stray: Sequence[Object]


@dataclass(kw_only=True)
class Failures:
    """The failed Pods of one type: those to be made anew, and those that are not.

    ``interrupted`` are made anew whatever the policy, and without using up a retry: the cluster ended them.
    """

    interrupted: list[Object] = field(default_factory=list)
    again: list[Object] = field(default_factory=list)
    final: list[Object] = field(default_factory=list)

    @property
    def anew(self) -> list[Object]:
        return [*self.interrupted, *self.again]


def slots_of(job: Job) -> Iterable[Slot]:
    """All replicas that there should be, in the order in which they are made."""
    for type, replicas in job.replicas.items():
        for index in range(replicas.count):
            yield type, index


def sort(job: Job, found: Iterable[Object]) -> Sorted:
    """Children by replica: of a name of its own each, so there is one at most."""
    types = {type.lower(): type for type in job.replicas}
    slots: dict[Slot, Object] = {}
    stray: list[Object] = []
    for child in sorted(found, key=objects.name):
        place = children.place(child)
        type = types.get(place[0]) if place is not None else None
        if place is None or type is None or place[1] >= job.replicas[type].count or (type, place[1]) in slots:
            stray.append(child)
        else:
            slots[type, place[1]] = child
    return Sorted(slots=slots, stray=stray)


def phase(pod: Object) -> str:
    return str(objects.status(pod).get("phase") or "Pending")


def exit_code(job: Job, pod: Object) -> int:
    """The exit code of the main container."""
    for one in objects.status(pod).get("containerStatuses") or ():
        ended = (one.get("state") or {}).get("terminated")
        if ended is not None and one.get("name") == job.framework.container:
            return int(ended.get("exitCode") or 0)
    return _NO_CODE


def failures(job: Job, slots: Mapping[Slot, Object]) -> Mapping[str, Failures]:
    """The failed Pods by type, sorted by what their restart policy says of them."""
    found: dict[str, Failures] = {}
    for (type, _), pod in slots.items():
        if not _failed(pod):
            continue
        policy = job.replicas[type].restart_policy
        again = policy in (names.ALWAYS, names.ON_FAILURE) or (
            policy == names.EXIT_CODE and exit_code(job, pod) >= FIRST_RETRYABLE_CODE)
        kept = found.setdefault(type, Failures())
        (kept.interrupted if _interrupted(pod) else kept.again if again else kept.final).append(pod)
    return found


def first_of(failed: Mapping[str, Failures]) -> Object | None:
    """Of the failed Pods the one that ended first: the others may have failed because it had."""
    ended = [pod for one in failed.values() for pod in (one.final or one.again)
             if phase(pod) == "Failed" and not objects.deleting(pod)]
    return min(ended, key=_ended_at, default=None)


def _ended_at(pod: Object) -> tuple[str, str]:
    times = [str(((one.get("state") or {}).get("terminated") or {}).get("finishedAt") or "")
             for one in objects.status(pod).get("containerStatuses") or ()]
    return max(times, default=""), objects.name(pod)


def tally(job: Job, slots: Mapping[Slot, Object]) -> Tally:
    """The counts that the status tells, and who has ended well."""
    numbers: dict[str, dict[str, int]] = {}
    done: set[Slot] = set()
    for slot, pod in slots.items():
        counted = numbers.setdefault(slot[0], {"active": 0, "succeeded": 0, "failed": 0})
        if _failed(pod):
            counted["failed"] += 1
        elif phase(pod) == "Running":
            counted["active"] += 1
        elif phase(pod) == "Succeeded":
            counted["succeeded"] += 1
            if exit_code(job, pod) == 0:
                done.add(slot)
    return Tally(counts={type: Counts(**one) for type, one in numbers.items()}, done=frozenset(done))


def _interrupted(pod: Object) -> bool:
    """Whether the cluster ended it: its node's process was restarted, or it had to make room."""
    disrupted = conditions.find(pod, names.DISRUPTED) or {}
    return objects.status(pod).get("reason") == names.NODE_RESTARTED or (
        disrupted.get("status") == "True" and disrupted.get("reason") in names.DISRUPTIONS)


def _failed(pod: Object) -> bool:
    """Failed, or deleted by somebody while it ran: it will never come to an end of its own."""
    return phase(pod) == "Failed" or (phase(pod) == "Running" and objects.deleting(pod))
