"""Keeps as many Pods of a ReplicaSet as it asks for, and of a ReplicationController, which is the same to me.

``builtin`` builds me; Deployments make the ReplicaSets. I call ``client``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship import errors
from lightship.cluster.builtin import children, pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource
from lightship.lib import ids
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result
from lightship.runtime.events import Announcement, Recorder

NAME = "replicaset-controller"
KEPT_FINISHED_PODS = 1
"""How many Pods that failed (a node restarted, an eviction) stay for the reader; the rest are deleted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Pods to make and to delete, the status, and when to look again because Pods become available."""

    create: int = 0
    delete: tuple[Object, ...] = ()
    status: dict[str, Any]
    requeue_after_seconds: float | None = None


def decide(replica_set: Object, owned: Sequence[Object], now: datetime,
           neighbours: Mapping[str, int] | None = None) -> Plan:
    """What to do, given all Pods that the ReplicaSet owns.

    ``neighbours`` counts the Pods on each node that serve the same purpose, those of sibling ReplicaSets among them.
    """
    spec = objects.spec(replica_set)
    wanted = int(spec.get("replicas", 1))
    active = [pod for pod in owned if pods.active(pod)]
    status, soonest = _status(replica_set, active, now)
    if objects.deleting(replica_set):
        return Plan(status=status)
    finished = sorted((pod for pod in owned if pods.finished(pod) and not objects.deleting(pod)), key=pods.created)
    crowds = neighbours or {}

    def worth(pod: Object) -> tuple[Any, ...]:
        return pods.worth(pod, now, crowds.get(str(objects.spec(pod).get("nodeName") or ""), 0))

    wait = pods.anew_in_seconds(finished, now)
    surplus = sorted(active, key=worth)[:max(0, len(active) - wanted)]
    return Plan(
        create=0 if wait else max(0, wanted - len(active)),
        delete=tuple(surplus + finished[:max(0, len(finished) - KEPT_FINISHED_PODS)]),
        status=status,
        requeue_after_seconds=min((seconds for seconds in (soonest, wait) if seconds), default=None),
    )


def with_failure(status: dict[str, Any], trouble: tuple[str, str] | None, now: datetime) -> dict[str, Any]:
    """The status with the condition that says why Pods could not be made or deleted, or without it."""
    found = [condition for condition in status.get("conditions") or () if condition["type"] != "ReplicaFailure"]
    if trouble is not None:
        old = [condition for condition in status.get("conditions") or () if condition["type"] == "ReplicaFailure"]
        found = [*found, *conditions.merge(old, conditions.make("ReplicaFailure", True, *trouble), now)]
    rest = {name: value for name, value in status.items() if name != "conditions"}
    return rest | ({"conditions": found} if found else {})


def make_pod(replica_set: Object, suffix: str) -> Object:
    """A Pod from the ReplicaSet's template."""
    name = objects.name(replica_set)
    return children.pod_from(objects.spec(replica_set).get("template") or {}, replica_set,
                             f"{name[:57].rstrip('-.')}-{suffix}", f"{name}-")


def _status(replica_set: Object, active: Sequence[Object], now: datetime) -> tuple[dict[str, Any], float | None]:
    spec = objects.spec(replica_set)
    template_labels = objects.labels(spec.get("template") or {})
    waits = [pods.available_in_seconds(pod, int(spec.get("minReadySeconds") or 0), now) for pod in active]
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(1 for pod in active if template_labels.items() <= objects.labels(pod).items()),
        "readyReplicas": sum(1 for wait in waits if wait is not None),
        "availableReplicas": sum(1 for wait in waits if wait == 0),
    }
    # As upstream: the number of replicas is always there, counts of none are left out.
    status: dict[str, Any] = {name: count for name, count in counts.items() if count or name == "replicas"}
    status["observedGeneration"] = objects.generation(replica_set)
    if kept := objects.status(replica_set).get("conditions"):
        status["conditions"] = kept
    return status, min((wait for wait in waits if wait), default=None)


class ReplicaSets:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps, resource: Resource) -> None:
        self._resource = resource
        self._sets = deps.manager.informer(resource)
        self._pods = deps.manager.informer(PODS)
        self.children = children.Children(deps, NAME, owner=resource, child=PODS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._ids: ids.IdSource = deps.id_source
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        replica_set = self._sets.get(key)
        if replica_set is None:
            return DONE
        selector = children.selector_of(replica_set)
        owned = await self.children.claim(replica_set, selector, may=pods.active)
        plan = decide(replica_set, owned, self._clock.now(), self._neighbours(replica_set, owned))
        done: list[Announcement] = []
        failure: tuple[str, errors.LightshipError] | None = None
        try:
            await self.children.delete(plan.delete, done)
        except errors.LightshipError as error:
            failure = ("FailedDelete", error)
        try:
            await self.children.create([make_pod(replica_set, self._ids.suffix(5)) for _ in range(plan.create)], done)
        except errors.LightshipError as error:
            failure = ("FailedCreate", error)
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        now = self._clock.now()
        mine = [pod for pod in self.children.owned(replica_set) if selector.matches(objects.labels(pod))]
        after = decide(replica_set, mine, now)
        status = with_failure(after.status, (failure[0], str(failure[1])) if failure else None, now)
        self._sets.observe(await apply.patch_status(self._client, self._resource, replica_set, status))
        await self._events.announce(replica_set, done)
        if failure is not None:
            raise failure[1]
        return Result(requeue_after_seconds=after.requeue_after_seconds)

    def _neighbours(self, replica_set: Object, owned: Sequence[Object]) -> dict[str, int]:
        """How many Pods of the same Deployment are on each node; asked for only where some may have to go."""
        if sum(1 for pod in owned if pods.active(pod)) <= int(objects.spec(replica_set).get("replicas", 1)):
            return {}
        parent = objects.controller_of(replica_set)
        siblings = self._sets.owned_by(str(parent["uid"])) if parent else [replica_set]
        found: dict[str, int] = {}
        for pod in (pod for sibling in siblings for pod in self._pods.owned_by(objects.uid(sibling))):
            if pods.active(pod):
                node = str(objects.spec(pod).get("nodeName") or "")
                found[node] = found.get(node, 0) + 1
        return found


def controller(deps: Deps) -> Controller:
    sets = ReplicaSets(deps, REPLICA_SETS)
    return Controller(name=NAME, reconciler=sets, watches=sets.children.watches())


def old_kind(deps: Deps) -> Controller:
    """For ReplicationControllers."""
    sets = ReplicaSets(deps, REPLICATION_CONTROLLERS)
    return Controller(name="replication-controller", reconciler=sets, watches=sets.children.watches())
