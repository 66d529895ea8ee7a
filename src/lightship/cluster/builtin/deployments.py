"""Rolls a Deployment's template out through ReplicaSets, and says in its status how far it is.

``builtin`` builds me; ``rollout`` decides; I call ``client``. ``kubectl rollout status`` reads what I write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import names, rollout
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import DEPLOYMENTS, REPLICA_SETS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder

NAME = "deployment-controller"
DEFAULT_PROGRESS_DEADLINE_SECONDS = 600


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
    merged = _merge(objects.status(deployment).get("conditions"), available, now)
    progressing = _progressing(deployment, new, counts, now)
    if progressing is not None:
        merged = _merge(merged, progressing, now)
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
    if new is None:
        return None
    name, before = objects.name(new), conditions.find(deployment, "Progressing")
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
    value = objects.spec(deployment).get("progressDeadlineSeconds")
    deadline = DEFAULT_PROGRESS_DEADLINE_SECONDS if value is None else int(value)
    since = progressing.get("lastUpdateTime") or progressing.get("lastTransitionTime")
    return deadline - (now - times.parse(str(since))).total_seconds() if since else deadline


def _merge(existing: list[conditions.Condition] | None, new: conditions.Condition,
           now: datetime) -> list[conditions.Condition]:
    """As ``conditions.merge``, with the ``lastUpdateTime`` that Deployments' conditions have besides."""
    old = next((condition for condition in existing or () if condition.get("type") == new["type"]), {})
    same = all(old.get(field) == new.get(field) for field in ("status", "reason", "message"))
    stamp = new.get("lastUpdateTime") or (old.get("lastUpdateTime") if same else None) or times.rfc3339(now)
    return conditions.merge(existing, new | {"lastUpdateTime": stamp}, now)


class Deployments:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._deployments = deps.manager.informer(DEPLOYMENTS)
        self._sets = deps.manager.informer(REPLICA_SETS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        deployment = self._deployments.get(key)
        if deployment is None or objects.deleting(deployment):
            return DONE
        done: list[Announcement] = []
        sets = self._owned(deployment)
        new = rollout.current(deployment, sets)
        if new is None and not objects.spec(deployment).get("paused"):
            new = await self._create(deployment, sets, done)
        elif new is not None:
            new = await self._renumber(new, sets)
        for change in rollout.step(deployment, self._owned(deployment), new):
            await self._scale(deployment, change, done)
        sets = self._owned(deployment)
        for replica_set in rollout.spent(deployment, sets, new):
            await apply.delete_if_there(self._client, REPLICA_SETS, replica_set)
        if new is not None:
            new = self._sets.get(objects.key(new)) or new
            deployment = await self._mark_revision(deployment, new)
        result = await self._write_status(deployment, sets, new)
        await self._events.announce(deployment, done)
        return result

    def _owned(self, deployment: Object) -> list[Object]:
        return [replica_set for replica_set in self._sets.owned_by(objects.uid(deployment))
                if not objects.deleting(replica_set)]

    async def _create(self, deployment: Object, sets: Sequence[Object], done: list[Announcement]) -> Object:
        made = rollout.make_replica_set(deployment, sets, rollout.first_count(deployment, sets))
        new = await apply.ensure(self._client, REPLICA_SETS, made, None)
        self._sets.observe(new)
        done.append(Announcement("Normal", "ScalingReplicaSet",
                                 f"Scaled up replica set {objects.name(new)} to {rollout.replicas(new)}"))
        return new

    async def _renumber(self, new: Object, sets: Sequence[Object]) -> Object:
        """A template that is rolled back to becomes the latest revision."""
        latest = max(rollout.revision(replica_set) for replica_set in sets)
        if rollout.revision(new) == latest:
            return new
        wanted = {"metadata": {"annotations": {names.REVISION: str(latest + 1)}}}
        new = await self._client.patch(REPLICA_SETS, objects.key(new), wanted)
        self._sets.observe(new)
        return new

    async def _scale(self, deployment: Object, change: rollout.Scale, done: list[Announcement]) -> None:
        key = rollout.key_of(deployment, change.name)
        before = self._sets.get(key)
        changed = await self._client.patch(REPLICA_SETS, key, {"spec": {"replicas": change.replicas}})
        self._sets.observe(changed)
        was = rollout.replicas(before) if before else 0
        direction = "up" if change.replicas > was else "down"
        done.append(Announcement("Normal", "ScalingReplicaSet",
                                 f"Scaled {direction} replica set {change.name} from {was} to {change.replicas}"))

    async def _mark_revision(self, deployment: Object, new: Object) -> Object:
        number = names.annotation(new, names.REVISION)
        if names.annotation(deployment, names.REVISION) == number:
            return deployment
        changed = await self._client.patch(DEPLOYMENTS, objects.key(deployment),
                                           {"metadata": {"annotations": {names.REVISION: number}}})
        self._deployments.observe(changed)
        return changed

    async def _write_status(self, deployment: Object, sets: Sequence[Object], new: Object | None) -> Result:
        now = self._clock.now()
        wanted = status(deployment, sets, new, now)
        deployment = await apply.patch_status(self._client, DEPLOYMENTS, deployment, wanted)
        self._deployments.observe(deployment)
        progressing = conditions.find(deployment, "Progressing")
        if progressing is None or progressing.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
            return DONE
        return Result(requeue_after_seconds=max(0.0, overdue_seconds(deployment, progressing, now)) + 1)


def controller(deps: Deps) -> Controller:
    return Controller(
        name=NAME, reconciler=Deployments(deps),
        watches=(Watch(resource=DEPLOYMENTS), Watch(resource=REPLICA_SETS, keys=owner_key("Deployment"))),
    )
