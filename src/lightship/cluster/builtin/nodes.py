"""Watches over nodes: who has gone silent is Unknown, and taints say to scheduler and Pods what is the matter.

``builtin`` builds me; I call ``client``. A node lives by its Lease. I go by when I saw it renewed and by my own clock,
never by what it says of the time. Pods leave a node that may not keep them as their tolerations say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from lightship import errors
from lightship.cluster.builtin import names, pods
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.scheduling import affinity
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import LEASES, NODES, PODS
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder

NAME = "node-controller"
LEASE_NAMESPACE = "kube-node-lease"
GRACE_SECONDS = 50.0
"""A node that has said nothing for so long is Unknown."""
DEFAULT_TOLERATION_SECONDS = 300.0
"""How long Pods that say nothing about it stay on a node that is not ready or not reachable."""
LIMIT_WRITES_AT_ONCE = 16
SILENT = "Kubelet stopped posting node status."
_PRESSURES = {"MemoryPressure": "node.kubernetes.io/memory-pressure",
              "DiskPressure": "node.kubernetes.io/disk-pressure",
              "PIDPressure": "node.kubernetes.io/pid-pressure",
              "NetworkUnavailable": "node.kubernetes.io/network-unavailable"}
_OURS = frozenset((*_PRESSURES.values(), names.TAINT_NOT_READY, names.TAINT_UNREACHABLE, names.TAINT_UNSCHEDULABLE))
_BY_NODE = "nodes:node"


def silent_conditions(node: Object, now: datetime) -> list[dict[str, Any]]:
    """The conditions of a node of which nothing has been heard."""
    told = objects.status(node).get("conditions") or []
    for type in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
        there = conditions.find(node, type) or {}
        if there.get("status") != "Unknown":
            reason = "NodeStatusUnknown" if there else "NodeStatusNeverUpdated"
            unknown = conditions.make(type, "Unknown", reason, SILENT)
            if there.get("lastHeartbeatTime"):
                unknown["lastHeartbeatTime"] = there["lastHeartbeatTime"]
            told = conditions.merge(told, unknown, now)
    return told


def taints(node: Object, now: datetime) -> list[dict[str, Any]]:
    """All taints the node should have: those that people put there, and ours for its conditions."""
    there = objects.spec(node).get("taints") or []
    wanted: list[tuple[str, str]] = []
    ready = (conditions.find(node, "Ready") or {}).get("status")
    if ready == "False":
        wanted += [(names.TAINT_NOT_READY, "NoSchedule"), (names.TAINT_NOT_READY, "NoExecute")]
    elif ready != "True":
        wanted += [(names.TAINT_UNREACHABLE, "NoSchedule"), (names.TAINT_UNREACHABLE, "NoExecute")]
    wanted += [(key, "NoSchedule") for type, key in _PRESSURES.items() if conditions.is_true(node, type)]
    if objects.spec(node).get("unschedulable"):
        wanted.append((names.TAINT_UNSCHEDULABLE, "NoSchedule"))
    kept = [taint for taint in there
            if taint.get("key") not in _OURS or (taint.get("key"), taint.get("effect")) in wanted]
    known = {(taint.get("key"), taint.get("effect")) for taint in kept}
    return [*kept, *({"key": key, "effect": effect, "timeAdded": times.rfc3339(now)}
                     for key, effect in wanted if (key, effect) not in known)]


def stay_seconds(pod: Object, node: Object, now: datetime) -> float | None:
    """How long the Pod may stay yet; None for as long as it likes. 0 and less: it has to go."""
    tolerations = objects.spec(pod).get("tolerations") or ()
    shortest: float | None = None
    for taint in objects.spec(node).get("taints") or ():
        if taint.get("effect") != "NoExecute":
            continue
        allowed = _allowed(taint, tolerations)
        if allowed is None:
            continue
        since = times.parse(taint["timeAdded"]) if taint.get("timeAdded") else now
        left = allowed - (now - since).total_seconds()
        shortest = left if shortest is None else min(shortest, left)
    return shortest


def _allowed(taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds for which the taint is tolerated; None for ever."""
    fitting = [toleration for toleration in tolerations if affinity.tolerates(toleration, taint)]
    if not fitting:
        usual = taint.get("key") in (names.TAINT_NOT_READY, names.TAINT_UNREACHABLE)
        return DEFAULT_TOLERATION_SECONDS if usual else 0.0
    limits = [float(toleration["tolerationSeconds"]) for toleration in fitting
              if toleration.get("tolerationSeconds") is not None]
    return max(0.0, min(limits)) if limits else None


class Nodes:
    """The pass: observe, decide, apply. The key is the node's."""

    def __init__(self, deps: Deps) -> None:
        self._nodes = deps.manager.informer(NODES)
        self._leases = deps.manager.informer(LEASES)
        self._pods = deps.manager.informer(PODS)
        self._pods.add_index(_BY_NODE, _by_node)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)
        self._heard: dict[str, tuple[str, float]] = {}
        """Of each node the last sign of life, and when I saw it by the monotonic clock."""

    async def reconcile(self, key: Key) -> Result:
        node = self._nodes.get(key)
        if node is None:
            self._heard.pop(key.name, None)
            return DONE
        silent_in = GRACE_SECONDS - self._silence_seconds(node)
        if silent_in <= 0:
            node = await self._silent(node)
        node = await self._taint(node)
        leave_in = await self._evict(node)
        waits = [wait for wait in (silent_in, leave_in) if wait is not None and wait > 0]
        return Result(requeue_after_seconds=min(waits)) if waits else DONE

    def node(self, name: str) -> Object | None:
        return self._nodes.get(Key("", name))

    def _silence_seconds(self, node: Object) -> float:
        name, now = objects.name(node), self._clock.monotonic()
        lease = self._leases.get(Key(LEASE_NAMESPACE, name)) or {}
        beat = max((str(c.get("lastHeartbeatTime") or "") for c in objects.status(node).get("conditions") or ()),
                   default="") if not lease else ""
        sign = f"{objects.uid(node)} {objects.spec(lease).get('renewTime') or beat}"
        known = self._heard.get(name)
        if known is None or known[0] != sign:
            self._heard[name] = known = (sign, now)
        return now - known[1]

    async def _silent(self, node: Object) -> Object:
        wanted = silent_conditions(node, self._clock.now())
        if wanted == (objects.status(node).get("conditions") or []):
            return node
        changed = await self._client.patch(NODES, objects.key(node), {"status": {"conditions": wanted}},
                                           subresource="status")
        self._nodes.observe(changed)
        await self._events.event(node, "Normal", "NodeNotReady", f"Node {objects.name(node)} status is now: "
                                 "NodeNotReady")
        works = [partial(self._not_ready, pod) for pod in self._pods.indexed(_BY_NODE, objects.name(node))
                 if pods.ready(pod)]
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        return changed

    async def _not_ready(self, pod: Object) -> None:
        merged = conditions.merge(objects.status(pod).get("conditions"), conditions.make("Ready", False),
                                  self._clock.now())
        try:
            await self._client.patch(PODS, objects.key(pod), {"status": {"conditions": merged}}, subresource="status")
        except errors.NotFound:
            return

    async def _taint(self, node: Object) -> Object:
        wanted = taints(node, self._clock.now())
        if wanted == (objects.spec(node).get("taints") or []):
            return node
        # With the revision, since a list goes as a whole: a taint that a person adds meanwhile must not be lost.
        patch = {"metadata": {"resourceVersion": objects.meta(node).get("resourceVersion")},
                 "spec": {"taints": wanted or None}}
        changed = await self._client.patch(NODES, objects.key(node), patch)
        self._nodes.observe(changed)
        return changed

    async def _evict(self, node: Object) -> float | None:
        """Delete the Pods whose time is up; in how many seconds that of the next is."""
        if not any(taint.get("effect") == "NoExecute" for taint in objects.spec(node).get("taints") or ()):
            return None
        now = self._clock.now()
        next_in: float | None = None
        doomed = []
        for pod in self._pods.indexed(_BY_NODE, objects.name(node)):
            left = stay_seconds(pod, node, now)
            if objects.deleting(pod) or left is None:
                continue
            if left <= 0:
                doomed.append(pod)
            else:
                next_in = left if next_in is None else min(next_in, left)
        await tasks.each([partial(self._remove, pod) for pod in doomed], at_once=LIMIT_WRITES_AT_ONCE)
        return next_in

    async def _remove(self, pod: Object) -> None:
        why = conditions.make("DisruptionTarget", True, "DeletionByTaintManager",
                              "Taint manager: deleting due to NoExecute taint")
        merged = conditions.merge(objects.status(pod).get("conditions"), why, self._clock.now())
        try:
            await self._client.patch(PODS, objects.key(pod), {"status": {"conditions": merged}}, subresource="status")
        except errors.NotFound:
            return
        await apply.delete_if_there(self._client, PODS, pod)
        await self._events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {objects.key(pod)}")


def _by_node(pod: Object) -> Iterable[str]:
    name = str(objects.spec(pod).get("nodeName") or "")
    return (name,) if name and not pods.finished(pod) else ()


def _of_lease(lease: Object) -> Iterable[Key]:
    return (Key("", objects.name(lease)),) if objects.namespace(lease) == LEASE_NAMESPACE else ()


def controller(deps: Deps) -> Controller:
    reconciler = Nodes(deps)

    def of_pod(pod: Object) -> Iterable[Key]:
        """Only where some Pod has to leave does the next one matter."""
        name = str(objects.spec(pod).get("nodeName") or "")
        node = reconciler.node(name) if name else None
        marked = node is not None and any(taint.get("effect") == "NoExecute"
                                          for taint in objects.spec(node).get("taints") or ())
        return (Key("", name),) if marked else ()

    return Controller(name=NAME, reconciler=reconciler, workers=1, watches=(
        Watch(resource=NODES), Watch(resource=LEASES, keys=_of_lease), Watch(resource=PODS, keys=of_pod)))
