"""Binds Pods to nodes within what they have, or says why a Pod waits.

``builtin`` builds me; I call ``client``. One pass looks at every Pod that waits, oldest first: what one gets another
lacks, so they are not decided apart. A Pod that ends, a node that changes, or a new Pod makes another pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from lightship import errors
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import NODES, PODS
from lightship.lib import tasks
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder

NAME = "scheduler"
DEFAULT_SCHEDULER = "default-scheduler"
DEFAULT_POD_LIMIT = Decimal(110)
LIMIT_WRITES_AT_ONCE = 32
ALL = Key("", "pending")
"""The one key: the queue of Pods that wait."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    pod: Object
    node: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why ``pod`` waits, in a sentence."""

    pod: Object
    message: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    bindings: tuple[Binding, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def decide(waiting: Iterable[Object], nodes: Sequence[Object], placed: Iterable[Object]) -> Plan:
    """Where the ``waiting`` Pods go, given the Pods already ``placed``; the same input gives the same plan."""
    free = {objects.name(node): _capacity(node) for node in nodes}
    for pod in placed:
        room = free.get(str(objects.spec(pod).get("nodeName")))
        if room is not None and not pods.finished(pod):
            _take(room, pods.requests(pod))
    bindings, refusals = [], []
    for pod in sorted(waiting, key=lambda pod: (pods.created(pod), objects.key(pod))):
        wanted = pods.requests(pod)
        reasons: list[str] = []
        fitting: list[str] = []
        for node in nodes:
            why = _obstacle(pod, node) or _shortage(wanted, free[objects.name(node)], _capacity(node))
            if why:
                reasons.append(why)
            else:
                fitting.append(objects.name(node))
        if fitting:
            chosen = max(fitting, key=lambda name: (free[name].get("cpu", Decimal(0)), name))
            _take(free[chosen], wanted)
            bindings.append(Binding(pod=pod, node=chosen))
        else:
            refusals.append(Refusal(pod=pod, message=_sentence(len(nodes), reasons)))
    return Plan(bindings=tuple(bindings), refusals=tuple(refusals))


def waits(pod: Mapping[str, Any]) -> bool:
    """Whether the Pod is ours to place now."""
    spec = objects.spec(pod)
    return (not spec.get("nodeName") and pods.active(pod) and not spec.get("schedulingGates")
            and (spec.get("schedulerName") or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER)


def _capacity(node: Object) -> pods.Resources:
    return {"pods": DEFAULT_POD_LIMIT} | pods.allocatable(node)


def _take(room: pods.Resources, wanted: pods.Resources) -> None:
    room["pods"] -= 1
    for name, amount in wanted.items():
        room[name] = room.get(name, Decimal(0)) - amount


def _obstacle(pod: Object, node: Object) -> str:
    """Why the node does not do for the Pod, whatever room it has."""
    if not conditions.is_true(node, "Ready"):
        return "node is not ready"
    spec = objects.spec(node)
    if spec.get("unschedulable"):
        return "node is cordoned"
    selector = objects.spec(pod).get("nodeSelector") or {}
    node_labels = objects.labels(node)
    missing = [f"{name}={value}" for name, value in selector.items() if node_labels.get(name) != value]
    if missing:
        return f"node didn't match the Pod's node selector ({', '.join(missing)})"
    for taint in spec.get("taints") or ():
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerated(taint, objects.spec(pod)):
            return f"node has the untolerated taint {{{taint.get('key')}: {taint.get('value', '')}}}"
    return ""


def _tolerated(taint: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    for toleration in spec.get("tolerations") or ():
        key_fits = not toleration.get("key") or toleration["key"] == taint.get("key")
        effect_fits = not toleration.get("effect") or toleration["effect"] == taint.get("effect")
        value_fits = toleration.get("operator") == "Exists" or (
            toleration.get("value") or "") == (taint.get("value") or "")
        if key_fits and effect_fits and value_fits:
            return True
    return False


def _shortage(wanted: pods.Resources, room: pods.Resources, capacity: pods.Resources) -> str:
    """What there is too little of. It names fixed amounts, so that a Pod which waits is not written again and again."""
    if room["pods"] < 1:
        return f"Too many pods (the node takes {_number(capacity['pods'])})"
    none = Decimal(0)
    lacking = [f"Insufficient {name} (wants {_number(amount)} of the node's {_number(capacity.get(name, none))})"
               for name, amount in sorted(wanted.items()) if amount > 0 and amount > room.get(name, none)]
    return ", ".join(lacking)


def _number(amount: Decimal) -> str:
    """An amount as a person writes it: bytes in Mi or Gi, the rest plainly."""
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20)):
        if amount >= size:
            return f"{(amount / size).quantize(Decimal('0.01')).normalize():f}{suffix}"
    return f"{amount.quantize(Decimal('0.001')).normalize():f}"


def _sentence(nodes: int, reasons: list[str]) -> str:
    if not nodes:
        return "0/0 nodes are available: no node has registered yet"
    counted = [f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons)]
    return f"0/{nodes} nodes are available: {', '.join(counted)}"


class Scheduler:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._pods = deps.manager.informer(PODS)
        self._pods.add_index("node", _by_node)
        self._nodes = deps.manager.informer(NODES)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, DEFAULT_SCHEDULER, deps.clock)
        self._assumed: dict[str, str] = {}
        """The node of each Pod (by uid) that was bound and that the informer still shows as waiting."""

    async def reconcile(self, key: Key) -> Result:
        unbound = self._pods.indexed("node", "")
        uids = {objects.uid(pod) for pod in unbound}
        self._assumed = {uid: node for uid, node in self._assumed.items() if uid in uids}
        waiting = [pod for pod in unbound if objects.uid(pod) not in self._assumed and waits(pod)]
        if not waiting:
            return DONE
        nodes = self._nodes.list()
        placed = [pod for node in nodes for pod in self._pods.indexed("node", objects.name(node))]
        placed += [pod | {"spec": objects.spec(pod) | {"nodeName": self._assumed[objects.uid(pod)]}}
                   for pod in unbound if objects.uid(pod) in self._assumed]
        plan = decide(waiting, nodes, placed)
        works = [partial(self._bind, binding) for binding in plan.bindings]
        works += [partial(self._refuse, refusal) for refusal in plan.refusals]
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        return DONE

    async def _bind(self, binding: Binding) -> None:
        pod = binding.pod
        target = {"apiVersion": "v1", "kind": "Binding",
                  "metadata": {"name": objects.name(pod), "namespace": objects.namespace(pod),
                               "uid": objects.uid(pod)},
                  "target": {"apiVersion": "v1", "kind": "Node", "name": binding.node}}
        try:
            await self._client.create(PODS, target, name=objects.name(pod), subresource="binding")
        except errors.NotFound:
            return  # it is gone: the watch is about to say so
        self._assumed[objects.uid(pod)] = binding.node
        await self._events.event(pod, "Normal", "Scheduled",
                                 f"Successfully assigned {objects.key(pod)} to {binding.node}")

    async def _refuse(self, refusal: Refusal) -> None:
        pod, message = refusal.pod, refusal.message
        there = conditions.find(pod, "PodScheduled") or {}
        if (there.get("status"), there.get("reason"), there.get("message")) == ("False", "Unschedulable", message):
            return
        wanted = conditions.make("PodScheduled", False, "Unschedulable", message)
        merged = conditions.merge(objects.status(pod).get("conditions"), wanted, self._clock.now())
        patch = {"metadata": {"resourceVersion": objects.meta(pod).get("resourceVersion")},
                 "status": {"phase": "Pending", "conditions": merged}}
        try:
            self._pods.observe(await self._client.patch(PODS, objects.key(pod), patch, subresource="status"))
        except errors.NotFound:
            return
        await self._events.event(pod, "Warning", "FailedScheduling", message)


def _by_node(pod: Object) -> Iterable[str]:
    return () if pods.finished(pod) else (str(objects.spec(pod).get("nodeName") or ""),)


def _all(obj: Object) -> Iterable[Key]:
    """Any change may make or give back room; a pass with nothing waiting costs next to nothing."""
    return (ALL,)


def controller(deps: Deps) -> Controller:
    return Controller(
        name=NAME, reconciler=Scheduler(deps), workers=1,
        watches=(Watch(resource=PODS, keys=_all), Watch(resource=NODES, keys=_all)),
    )
