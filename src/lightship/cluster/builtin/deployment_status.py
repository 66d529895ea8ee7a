"""A Deployment's status: counts and conditions, as ``kubectl rollout status`` reads them. Pure.

``deployments`` calls me once a pass, with the ReplicaSets as they are after its writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import rollout
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object

DEFAULT_PROGRESS_DEADLINE_SECONDS = 600
NO_DEADLINE_SECONDS = 2**31 - 1
"""The deadline that means none."""


def status(deployment: Object, sets: Sequence[Object], new: Object | None, now: datetime) -> dict[str, Any]:
    """The whole status, given the ReplicaSets as they are after this pass's writes."""
    counts = _counts(sets, new)
    wanted = rollout.replicas(deployment)
    counts["unavailableReplicas"] = max(0, sum(map(rollout.replicas, sets)) - counts["availableReplicas"])
    result: dict[str, Any] = {name: count for name, count in counts.items() if count}
    result["observedGeneration"] = objects.generation(deployment)
    enough = counts["availableReplicas"] >= wanted - rollout.bounds(deployment).unavailable
    available = (conditions.make("Available", True, "MinimumReplicasAvailable",
                                 "Deployment has minimum availability.") if enough else
                 conditions.make("Available", False, "MinimumReplicasUnavailable",
                                 "Deployment does not have minimum availability."))
    if collisions := objects.status(deployment).get("collisionCount"):
        result["collisionCount"] = collisions
    merged = _merge(objects.status(deployment).get("conditions"), available, now)
    if deadline_seconds(deployment) >= NO_DEADLINE_SECONDS:
        merged = [condition for condition in merged if condition["type"] != "Progressing"]
    elif (progressing := _progressing(deployment, new, counts, now)) is not None:
        merged = _merge(merged, progressing, now)
    failures = [failure for replica_set in ([new] if new else []) + list(sets)
                if (failure := conditions.find(replica_set, "ReplicaFailure")) is not None]
    merged = [condition for condition in merged if condition["type"] != "ReplicaFailure" or failures]
    if failures:
        failure = conditions.make("ReplicaFailure", True, str(failures[0].get("reason") or ""),
                                  str(failures[0].get("message") or ""))
        merged = _merge(merged, failure, now)
    result["conditions"] = merged
    return result


def _counts(sets: Sequence[Object], new: Object | None) -> dict[str, int]:
    def total(field: str, chosen: Sequence[Object]) -> int:
        return sum(int(objects.status(replica_set).get(field) or 0) for replica_set in chosen)

    return {
        "replicas": total("replicas", sets),
        "updatedReplicas": total("replicas", [new] if new else []),
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": total("availableReplicas", sets),
    }


def complete(deployment: Object, counts: dict[str, int]) -> bool:
    """Whether the new template is all there is, and works."""
    wanted = rollout.replicas(deployment)
    return counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted


def _progressing(deployment: Object, new: Object | None, counts: dict[str, int],
                 now: datetime) -> conditions.Condition | None:
    """The Progressing condition, or None to leave it as it is. ``lastUpdateTime`` marks the last progress."""
    before = conditions.find(deployment, "Progressing")
    reason = str((before or {}).get("reason") or "")
    if objects.spec(deployment).get("paused"):
        if reason in ("DeploymentPaused", "ProgressDeadlineExceeded"):
            return None
        return conditions.make("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    if reason == "DeploymentPaused":
        return conditions.make("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
    if new is None:
        return None
    name = objects.name(new)
    if complete(deployment, counts):
        return conditions.make("Progressing", True, "NewReplicaSetAvailable",
                               f'ReplicaSet "{name}" has successfully progressed.')
    if (before is not None and before.get("reason") == "NewReplicaSetAvailable"
            and counts["replicas"] == counts["updatedReplicas"]):
        return None  # a Pod that is replaced after the rollout is no rollout
    old = objects.status(deployment)
    further = (counts["updatedReplicas"] > int(old.get("updatedReplicas") or 0)
               or counts["readyReplicas"] > int(old.get("readyReplicas") or 0)
               or counts["availableReplicas"] > int(old.get("availableReplicas") or 0)
               or objects.generation(deployment) != int(old.get("observedGeneration") or 0))
    moving = conditions.make("Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
    if before is None or further or before.get("reason") == "NewReplicaSetAvailable":
        return moving | {"lastUpdateTime": times.rfc3339(now)}
    if overdue_seconds(deployment, before, now) <= 0:
        return conditions.make("Progressing", False, "ProgressDeadlineExceeded",
                               f'ReplicaSet "{name}" has timed out progressing.')
    return None


def overdue_seconds(deployment: Object, progressing: conditions.Condition, now: datetime) -> float:
    """How long the rollout may yet stand still before it counts as failed."""
    deadline = deadline_seconds(deployment)
    since = progressing.get("lastUpdateTime") or progressing.get("lastTransitionTime")
    return deadline - (now - times.parse(str(since))).total_seconds() if since else deadline


def deadline_seconds(deployment: Object) -> int:
    value = objects.spec(deployment).get("progressDeadlineSeconds")
    return DEFAULT_PROGRESS_DEADLINE_SECONDS if value is None else int(value)


def _merge(existing: list[conditions.Condition] | None, new: conditions.Condition,
           now: datetime) -> list[conditions.Condition]:
    """As ``conditions.merge``, with the ``lastUpdateTime`` that Deployments' conditions have besides."""
    old = next((condition for condition in existing or () if condition.get("type") == new["type"]), {})
    same = all(old.get(field) == new.get(field) for field in ("status", "reason", "message"))
    stamp = new.get("lastUpdateTime") or (old.get("lastUpdateTime") if same else None) or times.rfc3339(now)
    return conditions.merge(existing, new | {"lastUpdateTime": stamp}, now)
