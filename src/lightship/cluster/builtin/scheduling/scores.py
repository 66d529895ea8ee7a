"""Which of the nodes that do is best: the emptiest, nearest to what the Pod would like. Pure; ``decide`` calls me."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightship.cluster.builtin.scheduling import affinity
from lightship.cluster.builtin.scheduling.facts import Landscape, NodeFacts, PodFacts

FULL = 100.0
WEIGHT_TAINTS, WEIGHT_NODE_AFFINITY, WEIGHT_POD_AFFINITY, WEIGHT_SPREAD = 3.0, 2.0, 2.0, 2.0
"""As upstream weighs them against the emptiness of a node."""


def best(pod: PodFacts, nodes: Sequence[NodeFacts], land: Landscape) -> NodeFacts:
    """The best of ``nodes``, of equals the one whose name comes first."""
    if len(nodes) == 1:
        return nodes[0]
    total = {node.name: _emptiness(pod, node) for node in nodes}
    for weight, wish in _wishes(pod, land):
        raw = {node.name: wish(node) for node in nodes}
        low, high = min(raw.values()), max(raw.values())
        for name, value in raw.items():
            total[name] += weight * (FULL * (value - low) / (high - low) if high > low else FULL)
    return min(nodes, key=lambda node: (-total[node.name], node.name))


def _emptiness(pod: PodFacts, node: NodeFacts) -> float:
    parts = []
    for name in ("cpu", "memory"):
        capacity = node.capacity.get(name, 0)
        if capacity:
            parts.append(max(0.0, (node.free(name) - pod.requests.get(name, 0)) / capacity) * FULL)
    crowd = node.free("pods") / max(1, node.capacity["pods"])  # what asks for nothing is spread, too
    return (sum(parts) / len(parts) if parts else 0.0) + crowd


def _wishes(pod: PodFacts, land: Landscape) -> list[tuple[float, Callable[[NodeFacts], float]]]:
    """Wishes that the Pod has, each with its weight; a bigger number is nearer to the wish."""
    found: list[tuple[float, Callable[[NodeFacts], float]]] = []
    tolerations = pod.spec.get("tolerations") or ()
    if any(taint.get("effect") == "PreferNoSchedule" for node in land.nodes.values() for taint in node.taints):
        found.append((WEIGHT_TAINTS, lambda node: -sum(
            1.0 for taint in node.taints
            if taint.get("effect") == "PreferNoSchedule" and not affinity.tolerated(taint, tolerations))))
    rules = pod.spec.get("affinity") or {}
    preferred = (rules.get("nodeAffinity") or {}).get(affinity.PREFERRED) or ()
    if preferred:
        found.append((WEIGHT_NODE_AFFINITY, lambda node: float(sum(
            int(wish.get("weight") or 0) for wish in preferred
            if affinity.term_matches(wish.get("preference") or {}, node)))))
    near = [(int(wish.get("weight") or 0), str(term.get("topologyKey")), affinity.domains_with(term, pod, land))
            for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
            for wish in affinity.preferred_pod_terms(pod, kind)
            for term in [wish.get("podAffinityTerm") or {}]
            for wish in [{"weight": sign * int(wish.get("weight") or 0)}]]
    if near:
        found.append((WEIGHT_POD_AFFINITY, lambda node: float(sum(
            weight for weight, key, domains in near if node.labels.get(key) in domains))))
    counts = affinity.spread_counts(pod, land)
    if counts:
        found.append((WEIGHT_SPREAD, lambda node: -float(sum(count(node) for count in counts))))
    return found
