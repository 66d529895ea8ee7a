"""Whether a node does for a Pod, and if not, why: in the order and the words of Kubernetes' own scheduler. Pure.

``decide`` and ``preemption`` call me: ``Question`` once a Pod, then each node of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightship.cluster.builtin.scheduling import affinity, volumes
from lightship.cluster.builtin.scheduling.facts import POD_SLOTS, Landscape, NodeFacts, PodFacts

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a node does not do. ``final`` where nobody's leaving would help."""

    reasons: tuple[str, ...]
    final: bool


class Question:
    """One Pod against the nodes of a landscape that stays as it is meanwhile."""

    def __init__(self, pod: PodFacts, land: Landscape) -> None:
        self._pod = pod
        self._land = land
        self._tolerations = pod.spec.get("tolerations") or ()
        terms = pod.spec.get("affinity") or {}
        self._beside = affinity.beside(pod, land) if terms.get("podAffinity") else None
        self._apart = affinity.apart(pod, land) if pod.anti_terms else None
        guarded = any(node.guarded for node in land.nodes.values())
        self._welcome = affinity.welcome(pod, land) if guarded else None
        self._spread = affinity.spread_obstacle(pod, land) if pod.spec.get("topologySpreadConstraints") else None

    def obstacle(self, node: NodeFacts) -> Obstacle | None:
        """Why not there; None where it fits."""
        fixed = self._fixed(node)
        if fixed:
            return Obstacle(reasons=(fixed,), final=True)
        passing = self._passing(node)
        return Obstacle(reasons=passing, final=False) if passing else self._neighbours(node)

    def _fixed(self, node: NodeFacts) -> str:
        """What is so whoever is on the node."""
        cordoned = bool((node.node.get("spec") or {}).get("unschedulable"))
        if cordoned and not affinity.tolerated(UNSCHEDULABLE, self._tolerations):
            return "node(s) were unschedulable"
        for taint in node.taints:
            if taint.get("effect") in ("NoSchedule", "NoExecute") and not affinity.tolerated(taint, self._tolerations):
                return f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value') or ''}}}"
        if not affinity.node_matches(self._pod, node):
            return "node(s) didn't match Pod's node affinity/selector"
        return volumes.node_obstacle(self._pod, node, self._land) if self._pod.claims else ""

    def _passing(self, node: NodeFacts) -> tuple[str, ...]:
        """What others take, and would give back by leaving."""
        if self._pod.ports and any(port.clashes(taken) for other in node.pods.values() for taken in other.ports
                                   for port in self._pod.ports):
            return ("node(s) didn't have free ports for the requested pod ports",)
        lacking = []
        for name, amount in self._pod.requests.items():
            if amount > node.free(name):
                lacking.append("Too many pods" if name == POD_SLOTS else f"Insufficient {name}")
        if not lacking and self._pod.claims and volumes.single_pod_claim_taken(self._pod, self._land):
            lacking.append("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access "
                           "mode")
        return tuple(lacking)

    def _neighbours(self, node: NodeFacts) -> Obstacle | None:
        spread = self._spread(node) if self._spread else ""
        if spread == "label":
            return Obstacle(reasons=("node(s) didn't match pod topology spread constraints (missing required label)",),
                            final=True)
        if spread:
            return Obstacle(reasons=("node(s) didn't match pod topology spread constraints",), final=False)
        if self._beside is not None and not self._beside(node):
            return Obstacle(reasons=("node(s) didn't match pod affinity rules",), final=True)
        if self._apart is not None and not self._apart(node):
            return Obstacle(reasons=("node(s) didn't match pod anti-affinity rules",), final=False)
        if self._welcome is not None and not self._welcome(node):
            return Obstacle(reasons=("node(s) didn't satisfy existing pods anti-affinity rules",), final=False)
        return None

    def beyond(self, node: NodeFacts) -> bool:
        """Whether the Pod asks for more than the node has when it is empty."""
        return any(amount > node.capacity.get(name, 0) for name, amount in self._pod.requests.items())
