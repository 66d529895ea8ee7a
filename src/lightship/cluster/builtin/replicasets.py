"""Keeps as many Pods of a ReplicaSet as it asks for.

``builtin`` builds me; Deployments make the ReplicaSets. I call ``client``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from lightship import errors
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, selectors
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, REPLICA_SETS
from lightship.lib import ids, tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder

NAME = "replicaset-controller"
LIMIT_WRITES_AT_ONCE = 16
KEPT_FINISHED_PODS = 1
"""How many Pods that failed (a node restarted, an eviction) stay for the reader; the rest are deleted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Pods to make and to delete, the status, and when to look again because Pods become available."""

    create: int = 0
    delete: tuple[Object, ...] = ()
    status: dict[str, Any]
    requeue_after_seconds: float | None = None


def decide(replica_set: Object, owned: Sequence[Object], now: datetime) -> Plan:
    """What to do, given all Pods that the ReplicaSet owns."""
    spec = objects.spec(replica_set)
    wanted = int(spec.get("replicas", 1))
    active = [pod for pod in owned if pods.active(pod)]
    status, soonest = _status(replica_set, active, now)
    if objects.deleting(replica_set):
        return Plan(status=status)
    finished = sorted((pod for pod in owned if pods.finished(pod) and not objects.deleting(pod)), key=pods.created)
    surplus = sorted(active, key=_least_useful_first)[:max(0, len(active) - wanted)]
    return Plan(
        create=max(0, wanted - len(active)),
        delete=tuple(surplus + finished[:max(0, len(finished) - KEPT_FINISHED_PODS)]),
        status=status,
        requeue_after_seconds=soonest,
    )


def make_pod(replica_set: Object, suffix: str) -> Object:
    """A Pod from the ReplicaSet's template."""
    template = objects.spec(replica_set).get("template") or {}
    metadata = objects.meta(template)
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"{objects.name(replica_set)[:57].rstrip('-.')}-{suffix}",
            "generateName": f"{objects.name(replica_set)}-",
            "namespace": objects.namespace(replica_set),
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [objects.owner_reference(replica_set)],
        },
        "spec": objects.spec(template),
    }


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


def _least_useful_first(pod: Object) -> tuple[bool, bool, str]:
    """Unplaced, then not ready, then the youngest."""
    return (bool(objects.spec(pod).get("nodeName")), pods.ready(pod), _reversed(pods.created(pod)))


def _reversed(text: str) -> str:
    return "".join(chr(0x10FFFF - ord(character)) for character in text)


class ReplicaSets:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._sets = deps.manager.informer(REPLICA_SETS)
        self._pods = deps.manager.informer(PODS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._ids: ids.IdSource = deps.id_source
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        replica_set = self._sets.get(key)
        if replica_set is None:
            return DONE
        plan = decide(replica_set, self._owned(replica_set), self._clock.now())
        done: list[Announcement] = []
        works = [partial(self._create, replica_set, done) for _ in range(plan.create)]
        try:
            await tasks.each([*works, *(partial(self._delete, pod, done) for pod in plan.delete)],
                             at_once=LIMIT_WRITES_AT_ONCE)
        except errors.InvalidInput as error:
            await self._events.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        after = decide(replica_set, self._owned(replica_set), self._clock.now())
        self._sets.observe(await apply.patch_status(self._client, REPLICA_SETS, replica_set, after.status))
        await self._events.announce(replica_set, done)
        return Result(requeue_after_seconds=after.requeue_after_seconds)

    def _owned(self, replica_set: Object) -> list[Object]:
        selector = selectors.from_object(objects.spec(replica_set).get("selector") or {})
        return [pod for pod in self._pods.owned_by(objects.uid(replica_set)) if selector.matches(objects.labels(pod))]

    async def _create(self, replica_set: Object, done: list[Announcement]) -> None:
        pod = await self._client.create(PODS, make_pod(replica_set, self._ids.suffix(5)))
        self._pods.observe(pod)
        done.append(Announcement("Normal", "SuccessfulCreate", f"Created pod: {objects.name(pod)}"))

    async def _delete(self, pod: Object, done: list[Announcement]) -> None:
        await apply.delete_if_there(self._client, PODS, pod)
        done.append(Announcement("Normal", "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}"))


def controller(deps: Deps) -> Controller:
    return Controller(
        name=NAME, reconciler=ReplicaSets(deps),
        watches=(Watch(resource=REPLICA_SETS), Watch(resource=PODS, keys=owner_key("ReplicaSet"))),
    )
