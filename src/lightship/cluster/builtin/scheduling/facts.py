"""What scheduling looks at, read once from objects: Pods that want room, and nodes with what is taken of them.

``model`` keeps these current; ``decide`` works on copies. Amounts are integers in thousandths (of a core, a byte, a
piece), so that a pass over many Pods adds and compares plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from lightship.cluster.builtin import names, pods
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object

DEFAULT_POD_LIMIT = 110
DEFAULT_SCHEDULER = "default-scheduler"
POD_SLOTS = "pods"
NEVER = "Never"
GROUP_LABEL = "scheduling.x-k8s.io/pod-group"
DEFAULT_GROUP_TIMEOUT_SECONDS = 60

Amounts = dict[str, int]
"""Thousandths by resource name."""


class HostPort(NamedTuple):
    protocol: str
    port: int
    address: str

    def clashes(self, other: HostPort) -> bool:
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        return self.address == other.address or "0.0.0.0" in (self.address, other.address)


class PodFacts:
    """A Pod as the scheduler sees it. ``pod`` is the newest object; the rest never changes while the uid lives."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.key = objects.key(pod)
        self.uid = objects.uid(pod) or str(self.key)

    @property
    def spec(self) -> dict[str, Any]:
        return objects.spec(self.pod)

    @property
    def labels(self) -> dict[str, str]:
        return objects.labels(self.pod)

    @property
    def node(self) -> str:
        return str(self.spec.get("nodeName") or "")

    @property
    def nominated(self) -> str:
        return str(objects.status(self.pod).get("nominatedNodeName") or "")

    @cached_property
    def requests(self) -> Amounts:
        amounts = {name: int(amount * 1000) for name, amount in pods.requests(self.pod).items() if amount > 0}
        amounts[POD_SLOTS] = 1000
        return amounts

    @cached_property
    def priority(self) -> int:
        return int(self.spec.get("priority") or 0)

    @cached_property
    def order(self) -> tuple[int, str, Key]:
        """Its place in the queue: what matters most first, then the oldest."""
        return (-self.priority, pods.created(self.pod), self.key)

    @cached_property
    def ports(self) -> frozenset[HostPort]:
        found = []
        for container in self.spec.get("containers") or ():
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    found.append(HostPort(str(port.get("protocol") or "TCP"), int(port["hostPort"]),
                                          str(port.get("hostIP") or "0.0.0.0")))
        return frozenset(found)

    @cached_property
    def group(self) -> Key | None:
        """The PodGroup that it is a member of."""
        name = self.labels.get(GROUP_LABEL)
        return Key(self.key.namespace, name) if name else None

    @cached_property
    def anti_terms(self) -> list[dict[str, Any]]:
        return list(((self.spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution") or ())

    @cached_property
    def claims(self) -> tuple[str, ...]:
        """The names of the claims that its volumes are."""
        found = []
        for volume in self.spec.get("volumes") or ():
            if volume.get("persistentVolumeClaim"):
                found.append(str(volume["persistentVolumeClaim"].get("claimName")))
            elif volume.get("ephemeral"):
                found.append(names.ephemeral_claim(objects.name(self.pod), str(volume.get("name"))))
        return tuple(found)

    @cached_property
    def shape(self) -> bytes | None:
        """Equal for Pods that fare alike in one pass, whatever their labels and their namespaces; None where other
        Pods decide, too."""
        spec = self.spec
        if self.signature is None:
            return None
        said = [sorted(self.requests.items()), self.priority, spec.get("nodeSelector"),
                (spec.get("affinity") or {}).get("nodeAffinity"), spec.get("tolerations"), sorted(self.ports),
                spec.get("preemptionPolicy")]
        return msgspec.json.encode(said, order="deterministic")

    @cached_property
    def signature(self) -> bytes | None:
        """Equal for Pods that fare alike in one pass; None where other Pods decide, too."""
        spec = self.spec
        affinity = spec.get("affinity") or {}
        if affinity.get("podAffinity") or affinity.get("podAntiAffinity") or spec.get("topologySpreadConstraints"):
            return None
        if self.nominated or self.claims:
            return None
        said = [sorted(self.requests.items()), self.priority, spec.get("nodeSelector"), affinity.get("nodeAffinity"),
                spec.get("tolerations"), sorted(self.ports), spec.get("preemptionPolicy"), self.key.namespace,
                self.labels]
        return msgspec.json.encode(said, order="deterministic")

    def ours(self) -> bool:
        """Whether it is for this scheduler to place it, now."""
        spec = self.spec
        return (not spec.get("nodeName") and pods.active(self.pod) and not spec.get("schedulingGates")
                and (spec.get("schedulerName") or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER)


@dataclass(kw_only=True)
class NodeFacts:
    """A node and what is taken of it. ``copy`` before a pass changes it."""

    node: Object
    used: Amounts = field(default_factory=dict)
    pods: dict[str, PodFacts] = field(default_factory=dict)
    """Who is here, by uid."""
    guarded: dict[str, PodFacts] = field(default_factory=dict)
    """Those of them that keep others away."""

    @property
    def name(self) -> str:
        return objects.name(self.node)

    @property
    def labels(self) -> dict[str, str]:
        return objects.labels(self.node)

    @cached_property
    def capacity(self) -> Amounts:
        found = {name: int(amount * 1000) for name, amount in pods.allocatable(self.node).items()}
        return {POD_SLOTS: DEFAULT_POD_LIMIT * 1000} | found

    @cached_property
    def taints(self) -> list[dict[str, Any]]:
        """Its taints; a node that is not ready has that one even before somebody has put it there."""
        found = list(objects.spec(self.node).get("taints") or ())
        if not conditions.is_true(self.node, "Ready") and not any(
                taint.get("key") in (names.TAINT_NOT_READY, names.TAINT_UNREACHABLE) for taint in found):
            found.append({"key": names.TAINT_NOT_READY, "effect": "NoSchedule"})
        return found

    def copy(self) -> NodeFacts:
        return NodeFacts(node=self.node, used=dict(self.used), pods=dict(self.pods), guarded=dict(self.guarded))

    def take(self, pod: PodFacts) -> None:
        if pod.uid in self.pods:
            return
        self.pods[pod.uid] = pod
        if pod.anti_terms:
            self.guarded[pod.uid] = pod
        for name, amount in pod.requests.items():
            self.used[name] = self.used.get(name, 0) + amount

    def release(self, pod: PodFacts) -> None:
        held = self.pods.pop(pod.uid, None)
        if held is None:
            return
        self.guarded.pop(pod.uid, None)
        for name, amount in held.requests.items():
            self.used[name] -= amount

    def free(self, resource: str) -> int:
        return self.capacity.get(resource, 0) - self.used.get(resource, 0)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A PodGroup: so many of its Pods are placed at once, or none of them."""

    min_member: int
    done: int = 0
    """Members that have succeeded: they count, and want no room."""
    timeout_seconds: float = DEFAULT_GROUP_TIMEOUT_SECONDS

    @classmethod
    def of(cls, group: Object, done: int) -> Group:
        spec = objects.spec(group)
        return cls(min_member=int(spec.get("minMember") or 1), done=done,
                   timeout_seconds=float(spec.get("scheduleTimeoutSeconds") or DEFAULT_GROUP_TIMEOUT_SECONDS))


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """All that one decision looks at."""

    nodes: Mapping[str, NodeFacts]
    groups: Mapping[Key, Group] = field(default_factory=dict)
    """Those that members of are waiting."""
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    claims: Mapping[Key, Object] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    waiting_classes: frozenset[str] = frozenset()
    """StorageClasses that bind a claim only once its Pod has a node."""
    budgets: tuple[Object, ...] = ()

    def copy(self) -> Landscape:
        return self.over({name: node.copy() for name, node in self.nodes.items()})

    def over(self, nodes: Mapping[str, NodeFacts]) -> Landscape:
        return Landscape(nodes=nodes, groups=self.groups, namespace_labels=self.namespace_labels, claims=self.claims,
                         volumes=self.volumes, waiting_classes=self.waiting_classes, budgets=self.budgets)

    def release(self, pod: PodFacts) -> None:
        """It leaves, wherever it is."""
        for node in self.nodes.values():
            node.release(pod)

    def placed(self) -> Iterable[tuple[NodeFacts, PodFacts]]:
        for node in self.nodes.values():
            for pod in node.pods.values():
                yield node, pod
