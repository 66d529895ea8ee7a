"""What a StatefulSet does next, given its Pods. Pure; ``statefulsets`` calls me once a pass, and again for the status.

Ordinals are kept in order unless the set is managed in parallel: one Pod at a time is made, ended or replaced, and only
while those before it are ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import pods
from lightship.cluster.builtin.controller_revisions import revision_of
from lightship.kube import objects
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The names of the revisions between which the set moves."""

    current: str
    update: str


@dataclass(frozen=True, kw_only=True)
class Make:
    """The Pod of ``ordinal``, from the revision of that name."""

    ordinal: int
    revision: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Pods to make and to delete, and when to look again because Pods become available."""

    create: tuple[Make, ...] = ()
    delete: tuple[Object, ...] = ()
    requeue_after_seconds: float | None = None


def replicas(stateful_set: Object) -> int:
    value = objects.spec(stateful_set).get("replicas")
    return 1 if value is None else int(value)


def start(stateful_set: Object) -> int:
    return int((objects.spec(stateful_set).get("ordinals") or {}).get("start") or 0)


def ordinal_of(stateful_set: Object, pod: Object) -> int | None:
    """The Pod's ordinal; None where its name is not one of the set's."""
    parent, _, text = objects.name(pod).rpartition("-")
    return int(text) if parent == objects.name(stateful_set) and text.isdigit() and str(int(text)) == text else None


def parallel(stateful_set: Object) -> bool:
    return objects.spec(stateful_set).get("podManagementPolicy") == "Parallel"


def condemned(stateful_set: Object, owned: Sequence[Object]) -> list[Object]:
    """Pods whose ordinal the set no longer has, the highest first."""
    first = start(stateful_set)
    numbered = [(number, pod) for pod in owned if (number := ordinal_of(stateful_set, pod)) is not None
                and not first <= number < first + replicas(stateful_set)]
    return [pod for _, pod in sorted(numbered, key=lambda pair: pair[0], reverse=True)]


def decide(stateful_set: Object, owned: Sequence[Object], versions: Versions, now: datetime) -> Plan:
    """The next step."""
    if objects.deleting(stateful_set):
        return Plan()
    by_ordinal = {ordinal_of(stateful_set, pod): pod for pod in owned}
    first = start(stateful_set)
    ordinals = range(first, first + replicas(stateful_set))
    create: list[Make] = []
    doomed: list[Object] = []
    soonest: float | None = None
    wait = _Availability(stateful_set, now)
    for ordinal in ordinals:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            create.append(Make(ordinal=ordinal, revision=_revision_for(stateful_set, versions, ordinal)))
        elif pods.finished(pod) and not objects.deleting(pod):
            if left := pods.anew_in_seconds((pod,), now):
                soonest = left
            else:
                doomed.append(pod)
        elif wait.is_available(pod):
            continue
        else:
            soonest = wait.soonest or soonest
        if not parallel(stateful_set):
            return Plan(create=tuple(create), delete=tuple(doomed), requeue_after_seconds=soonest)
    surplus = _next_surplus(stateful_set, condemned(stateful_set, owned), by_ordinal, now)
    if surplus is None:
        return Plan(create=tuple(create), delete=tuple(doomed), requeue_after_seconds=soonest)
    doomed += surplus
    if not surplus and not create and not doomed:
        doomed += _next_update(stateful_set, [by_ordinal[ordinal] for ordinal in ordinals], versions, now)
    return Plan(create=tuple(create), delete=tuple(doomed), requeue_after_seconds=soonest)


class _Availability:
    """Which Pods are available, and when the next of those that are ready will be."""

    def __init__(self, stateful_set: Object, now: datetime) -> None:
        self._seconds = int(objects.spec(stateful_set).get("minReadySeconds") or 0)
        self._now = now
        self.soonest: float | None = None

    def is_available(self, pod: Object) -> bool:
        if not healthy(pod):
            return False
        left = pods.available_in_seconds(pod, self._seconds, self._now)
        if left:
            self.soonest = left if self.soonest is None else min(self.soonest, left)
        return left == 0


def healthy(pod: Object) -> bool:
    """Running, ready and not on its way out."""
    return pods.phase(pod) == "Running" and pods.ready(pod) and not objects.deleting(pod)


def partition(stateful_set: Object) -> int:
    rolling = (objects.spec(stateful_set).get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def rolls(stateful_set: Object) -> bool:
    strategy = objects.spec(stateful_set).get("updateStrategy") or {}
    return str(strategy.get("type") or "RollingUpdate") == "RollingUpdate"


def _revision_for(stateful_set: Object, versions: Versions, ordinal: int) -> str:
    """What a new Pod is made from: those below the partition keep the current revision."""
    if rolls(stateful_set) and ordinal < start(stateful_set) + partition(stateful_set):
        return versions.current
    return versions.update


def _next_surplus(stateful_set: Object, found: Sequence[Object], by_ordinal: dict[int | None, Object],
                  now: datetime) -> list[Object] | None:
    """The Pods to scale away now; None where one has to end, or to become ready, first."""
    if parallel(stateful_set):
        return [pod for pod in found if not objects.deleting(pod)]
    unhealthy = [pod for _, pod in sorted((number, pod) for number, pod in by_ordinal.items() if number is not None)
                 if not healthy(pod)] if found else []
    for pod in found:
        if objects.deleting(pod):
            return None
        if not healthy(pod) and pod is not unhealthy[0]:
            return None
        return [pod]
    return []


def _next_update(stateful_set: Object, ordered: Sequence[Object], versions: Versions, now: datetime) -> list[Object]:
    """The Pod of the highest ordinal that is of another revision, once all above it are available."""
    if not rolls(stateful_set):
        return []
    rolling = (objects.spec(stateful_set).get("updateStrategy") or {}).get("rollingUpdate") or {}
    most = _at_once(rolling.get("maxUnavailable"), replicas(stateful_set))
    wait = _Availability(stateful_set, now)
    chosen: list[Object] = []
    unavailable = 0
    for pod in reversed(ordered[partition(stateful_set):]):
        if revision_of(pod) != versions.update and not objects.deleting(pod):
            chosen.append(pod)
            unavailable += 1
        elif not wait.is_available(pod):
            unavailable += 1
        if unavailable >= most:
            break
    return chosen


def _at_once(value: Any, whole: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return max(1, -(-whole * int(value[:-1]) // 100))
    return max(1, int(value or 1))


def status(stateful_set: Object, owned: Sequence[Object], versions: Versions, now: datetime) -> dict[str, Any]:
    """The whole status, given the Pods as they are after the pass's writes."""
    wait = _Availability(stateful_set, now)
    there = [pod for pod in owned if ordinal_of(stateful_set, pod) is not None]
    living = [pod for pod in there if not objects.deleting(pod)]
    ready = sum(1 for pod in there if pods.phase(pod) == "Running" and pods.ready(pod))
    updated = sum(1 for pod in living if revision_of(pod) == versions.update)
    current = versions.current
    wanted = replicas(stateful_set)
    if rolls(stateful_set) and updated == ready == len(there) == wanted:
        current = versions.update  # all have arrived
    counts = {
        "readyReplicas": ready, "updatedReplicas": updated,
        "currentReplicas": sum(1 for pod in living if revision_of(pod) == current),
    }
    result: dict[str, Any] = {name: count for name, count in counts.items() if count}
    result |= {"replicas": len(there), "availableReplicas": sum(1 for pod in there if wait.is_available(pod)),
               "observedGeneration": objects.generation(stateful_set), "currentRevision": current,
               "updateRevision": versions.update,
               "collisionCount": int(objects.status(stateful_set).get("collisionCount") or 0)}
    if kept := objects.status(stateful_set).get("conditions"):
        result["conditions"] = kept
    return result
