"""Binds Pods to nodes within what they have, or says why a Pod waits.

``builtin`` builds me; I call ``client``. ``scheduling`` decides; I keep its model current, and apply. One pass looks at
every Pod that waits, what matters most first, then the oldest. A pass is made when something changes that could help:
a new Pod, one that ends, a node, a claim; a cluster where nothing changes wakes nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.builtin import names
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.scheduling import decide as decisions
from lightship.cluster.builtin.scheduling.facts import DEFAULT_SCHEDULER, Group, Landscape, PodFacts
from lightship.cluster.builtin.scheduling.model import Model
from lightship.cluster.builtin.scheduling.plan import Binding, Choice, Plan, Refusal, Verdict
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    POD_GROUPS,
    PODS,
    STORAGE_CLASSES,
)
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import Controller, Result, Watch
from lightship.runtime.events import Announcement, Recorder

NAME = "scheduler"
LIMIT_WRITES_AT_ONCE = 32
ALL = Key("", "pending")
"""The one key: the queue of Pods that wait."""
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        manager = deps.manager
        self.model = Model()
        self._pods = manager.informer(PODS)
        self._namespaces = manager.informer(NAMESPACES)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = manager.informer(PERSISTENT_VOLUMES) if deps.serves(PERSISTENT_VOLUMES) else None
        self._classes = manager.informer(STORAGE_CLASSES) if deps.serves(STORAGE_CLASSES) else None
        self._budgets = manager.informer(POD_DISRUPTION_BUDGETS) if deps.serves(POD_DISRUPTION_BUDGETS) else None
        self._groups = manager.informer(POD_GROUPS) if deps.serves(POD_GROUPS) else None
        if self._groups is not None:
            self._groups.subscribe(self.model.group_changed)
        self._pods.subscribe(self.model.pod_changed)
        manager.informer(NODES).subscribe(self.model.node_changed)
        self._claims.subscribe(self.model.surroundings_changed)
        self._client = manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, DEFAULT_SCHEDULER, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        self.model.stirred = False
        works = [partial(self._gate, pod) for pod in self.model.gated.values()]
        plan = decisions.decide(self.model.waiting.values(), self._landscape(), self._clock.now()
                                ) if self.model.waiting else Plan()
        # First, since of a gang that has its nodes nothing is decided any more.
        await tasks.each([partial(self._judge, verdict) for verdict in plan.verdicts], at_once=LIMIT_WRITES_AT_ONCE)
        bound: list[Binding] = []
        works += [partial(self._bind, binding, devices, bound)
                  for binding, devices in self._with_devices(plan.bindings)]
        works += [partial(self._choose, choice) for choice in plan.choices]
        works += [partial(self._refuse, refusal) for refusal in plan.refusals]
        try:
            await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        finally:  # all of them can start before any of them is told of
            await tasks.each([partial(self._tell, binding) for binding in bound], at_once=LIMIT_WRITES_AT_ONCE)
        return Result(requeue_after_seconds=plan.look_again_seconds)

    def keys(self, obj: Object) -> Iterable[Key]:
        """Of a change that the model has heard of before me."""
        return (ALL,) if self.model.stirred else ()

    def _landscape(self) -> Landscape:
        wanted = {Key(pod.key.namespace, name) for pod in self.model.waiting.values() for name in pod.claims}
        claims = {key: claim for key in wanted if (claim := self._claims.get(key)) is not None}
        groups: dict[Key, Group] = {}
        for member in self.model.waiting.values():
            group = self._groups.get(member.group) if self._groups is not None and member.group is not None else None
            if group is not None:
                groups.setdefault(objects.key(group), Group.of(group, self.model.done(objects.key(group))))
        volumes: dict[str, Object] = {}
        for claim in claims.values():
            name = str(objects.spec(claim).get("volumeName") or "")
            volume = self._volumes.get(Key("", name)) if name and self._volumes is not None else None
            if volume is not None:
                volumes[name] = volume
        waiting = frozenset(objects.name(found) for found in (self._classes.list() if self._classes else ())
                            if found.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER)
        return Landscape(
            nodes=self.model.nodes, groups=groups, claims=claims, volumes=volumes, waiting_classes=waiting,
            namespace_labels={objects.name(found): objects.labels(found) for found in self._namespaces.list()},
            budgets=tuple(self._budgets.list()) if self._budgets is not None else ())

    def _with_devices(self, bindings: Iterable[Binding]) -> list[tuple[Binding, dict[str, list[int]]]]:
        """Each binding with the numbers of its devices, which nobody else on the node has."""
        found = []
        given: dict[str, list[dict[str, list[int]]]] = {}
        for binding in bindings:
            devices: dict[str, list[int]] = {}
            if any("/" in name for name in binding.pod.requests):
                taken = given.setdefault(binding.node, self.model.devices(binding.node))
                devices = decisions.devices(binding.pod, self.model.nodes[binding.node], taken)
                taken.append(devices)
            found.append((binding, devices))
        return found

    async def _bind(self, binding: Binding, devices: Mapping[str, list[int]], bound: list[Binding]) -> None:
        pod = binding.pod
        metadata: dict[str, Any] = {"name": pod.key.name, "namespace": pod.key.namespace, "uid": objects.uid(pod.pod)}
        if devices:
            metadata["annotations"] = {names.DEVICES: msgspec.json.encode(devices).decode()}
            marked = objects.meta(pod.pod) | {
                "annotations": objects.annotations(pod.pod) | metadata["annotations"]}
            pod.pod = pod.pod | {"metadata": marked}
        target = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata,
                  "target": {"apiVersion": "v1", "kind": "Node", "name": binding.node}}
        try:
            await self._client.create(PODS, target, name=pod.key.name, subresource="binding")
        except errors.NotFound:
            return  # it is gone: the watch is about to say so
        self.model.assume(pod, binding.node)
        bound.append(binding)

    async def _tell(self, binding: Binding) -> None:
        await self._events.event(binding.pod.pod, "Normal", "Scheduled",
                                 f"Successfully assigned {binding.pod.key} to {binding.node}")

    async def _choose(self, choice: Choice) -> None:
        """Tell whoever makes volumes on which node they are wanted."""
        for key in choice.claims:
            claim = self._claims.get(key)
            if claim is None or names.annotation(claim, names.SELECTED_NODE) == choice.node:
                continue
            patch = {"metadata": {"annotations": {names.SELECTED_NODE: choice.node}}}
            try:
                self._claims.observe(await self._client.patch(PERSISTENT_VOLUME_CLAIMS, key, patch))
            except errors.NotFound:
                continue  # it is gone: the watch is about to say so

    async def _gate(self, pod: PodFacts) -> None:
        await self._mark(pod, conditions.make("PodScheduled", False, "SchedulingGated", GATED), "")

    async def _refuse(self, refusal: Refusal) -> None:
        """Promise the room first, then have it made."""
        wanted = conditions.make("PodScheduled", False, "Unschedulable", refusal.message)
        if await self._mark(refusal.pod, wanted, refusal.node, refusal.lasting):
            await self._events.event(refusal.pod.pod, "Warning", "FailedScheduling", refusal.message)
        for victim in refusal.victims:
            await self._evict(victim, refusal)

    async def _mark(self, pod: PodFacts, wanted: conditions.Condition, node: str, lasting: str = "") -> bool:
        """Write why the Pod waits, and the node that is promised to it; whether that is news."""
        there = conditions.find(pod.pod, "PodScheduled") or {}
        same = all(there.get(name) == wanted[name] for name in ("status", "reason")) and _says(
            there.get("message"), wanted["message"], lasting)
        if same and pod.nominated == node:
            return False
        merged = conditions.merge(objects.status(pod.pod).get("conditions"), wanted, self._clock.now())
        status: dict[str, Any] = {"phase": "Pending", "conditions": merged}
        if node != pod.nominated:
            status["nominatedNodeName"] = node or None
        patch = {"metadata": {"resourceVersion": objects.meta(pod.pod).get("resourceVersion")}, "status": status}
        try:
            self._pods.observe(await self._client.patch(PODS, pod.key, patch, subresource="status"))
        except errors.NotFound:
            return False
        return True

    async def _judge(self, verdict: Verdict) -> None:
        """Tell a PodGroup, and whoever's Pods these are, how it fares: that it waits, or no longer."""
        group = self._groups.get(verdict.group) if self._groups is not None else None
        if group is None:
            return
        there = str(objects.status(group).get("message") or "")
        if _says(there, verdict.message, verdict.lasting):
            return
        patch = {"status": {"message": verdict.message or None}}
        try:
            changed = await self._client.patch(POD_GROUPS, verdict.group, patch, subresource="status")
        except errors.NotFound:
            return
        if self._groups is not None:
            self._groups.observe(changed)
        said = Announcement("Warning", "GangWaiting", verdict.message) if verdict.message else Announcement(
            "Normal", "GangScheduled", f'PodGroup "{verdict.group}": its Pods have their nodes')
        owner = objects.controller_of(group)
        for about in (group, _as_object(owner, verdict.group.namespace)) if owner is not None else (group,):
            await self._events.announce(about, [said])

    async def _evict(self, victim: PodFacts, refusal: Refusal) -> None:
        """Say why, and let it end with its own grace."""
        why = conditions.make("DisruptionTarget", True, names.PREEMPTED,
                              f"{DEFAULT_SCHEDULER}: preempting to accommodate a higher priority pod")
        merged = conditions.merge(objects.status(victim.pod).get("conditions"), why, self._clock.now())
        try:
            marked = await self._client.patch(PODS, victim.key, {"status": {"conditions": merged}},
                                              subresource="status")
        except errors.NotFound:
            return
        self._pods.observe(marked)
        await apply.delete_if_there(self._client, PODS, marked)
        await self._events.event(victim.pod, "Normal", "Preempted",
                                 f"Preempted by pod {objects.uid(refusal.pod.pod)} on node {refusal.node}")


def _says(there: Any, message: str, lasting: str) -> bool:
    """Whether what is there says it already, but perhaps for what changes all the time."""
    return bool(there == message or (lasting and str(there or "").startswith(lasting)))


def _as_object(reference: Mapping[str, Any], namespace: str) -> Object:
    """The object that an owner reference means, as far as an event needs it."""
    return {"apiVersion": reference.get("apiVersion"), "kind": reference.get("kind"),
            "metadata": {"name": reference.get("name"), "namespace": namespace, "uid": reference.get("uid")}}


def controller(deps: Deps) -> Controller:
    scheduler = Scheduler(deps)
    kinds = (PODS, NODES, PERSISTENT_VOLUME_CLAIMS, *((POD_GROUPS,) if deps.serves(POD_GROUPS) else ()))
    watches = [Watch(resource=resource, keys=scheduler.keys) for resource in kinds]
    return Controller(name=NAME, reconciler=scheduler, workers=1, watches=tuple(watches))
