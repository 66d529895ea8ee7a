"""Who has to make room for a Pod that matters more: on which node, and the fewest of the least. Pure.

``decide`` calls me for a Pod that found no node. Budgets (PodDisruptionBudget) are respected where there is a choice,
as upstream does: nobody is spared for ever by one. A gang leaves whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain

from lightship import errors
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.scheduling.facts import NEVER, Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.filters import Obstacle, Question
from lightship.kube import objects, selectors
from lightship.kube.objects import Key

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
LIMIT_CANDIDATES = 100
"""So many nodes are weighed at most."""


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """The Pods that leave ``node``, so that the one in question can go there."""

    node: str
    victims: tuple[PodFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An eviction, or what to say instead."""

    eviction: Eviction | None = None
    message: str = ""
    leaving: bool = False
    """Somebody is leaving for its sake already: the room that was promised stays promised."""


def find(pod: PodFacts, land: Landscape, obstacles: Mapping[str, Obstacle]) -> Answer:
    """What could be done for ``pod``, which none of the nodes takes, each for its obstacle."""
    if pod.spec.get("preemptionPolicy") == NEVER:
        return Answer(message="not eligible due to preemptionPolicy=Never.")
    if is_leaving(pod, land.nodes.get(pod.nominated)):
        return Answer(message="not eligible due to a terminating pod on the nominated node.", leaving=True)
    reasons: list[str] = []
    candidates: list[_Candidate] = []
    for name, obstacle in obstacles.items():
        if obstacle.final:
            reasons.append(NOT_HELPFUL)
            continue
        found = _victims(pod, land.nodes[name], land) if len(candidates) < LIMIT_CANDIDATES else None
        if found is None:
            reasons.append(NO_VICTIMS)
        else:
            candidates.append(found)
    if candidates:
        chosen = min(candidates, key=_cost)
        return Answer(eviction=Eviction(node=chosen.node, victims=chosen.victims))
    return Answer(message=available(len(land.nodes), reasons))


def available(nodes: int, reasons: Iterable[str]) -> str:
    """``0/2 nodes are available: 1 this, 1 that.``"""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return f"0/{nodes} nodes are available: {', '.join(sorted(f'{n} {reason}' for reason, n in counts.items()))}."


def is_leaving(pod: PodFacts, node: NodeFacts | None) -> bool:
    """Whether somebody is already on his way out of the node that was promised to the Pod."""
    return node is not None and any(
        objects.deleting(other.pod) and other.priority < pod.priority for other in node.pods.values())


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    node: str
    victims: tuple[PodFacts, ...]
    violations: int


def _cost(candidate: _Candidate) -> tuple[int, int, int, int, str]:
    priorities = [victim.priority for victim in candidate.victims]
    return (candidate.violations, max(priorities), sum(priorities) + len(priorities) * 2**31, len(priorities),
            candidate.node)


def _victims(pod: PodFacts, node: NodeFacts, land: Landscape) -> _Candidate | None:
    """The fewest of lower priority whose leaving makes the node fit: all of them, less whoever may stay."""
    lower = [unit for unit in units(land, node.pods.values()) if rank(unit) < pod.priority]
    if not lower:
        return None
    trial = node.copy()
    stage = land.over({**land.nodes, node.name: trial})
    for other in chain.from_iterable(lower):
        trial.release(other)
    if Question(pod, stage).obstacle(trial) is not None:
        return None
    protected = protected_of(lower, land.budgets)
    victims: list[PodFacts] = []
    violations = 0
    for unit in spared_first(lower, protected):
        here = [other for other in unit if other.uid in node.pods]
        for other in here:
            trial.take(other)
        if Question(pod, stage).obstacle(trial) is not None:
            for other in here:
                trial.release(other)
            victims += unit
            violations += sum(other.uid in protected for other in unit)
    if not victims:
        return None
    return _Candidate(node=node.name, victims=tuple(victims), violations=violations)


Unit = Sequence[PodFacts]
"""Pods that leave together: one, or all of a gang that have a node."""


def units(land: Landscape, among: Iterable[PodFacts]) -> list[Unit]:
    """The units that ``among`` belong to: a gang with its members everywhere."""
    single: list[Unit] = []
    gangs: dict[Key, list[PodFacts]] = {}
    for pod in among:
        if pod.group is None:
            single.append((pod,))
        else:
            gangs[pod.group] = []
    if gangs:
        for _, pod in land.placed():
            if pod.group in gangs:
                gangs[pod.group].append(pod)
    return [*single, *gangs.values()]


def rank(unit: Unit) -> int:
    """The priority of the one that matters most."""
    return max(pod.priority for pod in unit)


def protected_of(lower: Iterable[Unit], budgets: Iterable[objects.Object]) -> set[str]:
    """The uids of Pods whose leaving would break a budget."""
    everyone = sorted(chain.from_iterable(lower), key=lambda one: (-one.priority, pods.created(one.pod), one.key))
    return _protected(everyone, budgets)


def spared_first(lower: Iterable[Unit], protected: Set[str]) -> list[Unit]:
    """Those first whom it is best to leave where they are: under a budget, of higher priority, older."""
    return sorted(lower, key=lambda unit: (
        not any(other.uid in protected for other in unit), -rank(unit), min(pods.created(one.pod) for one in unit),
        min(one.key for one in unit)))


def _protected(lower: Sequence[PodFacts], budgets: Iterable[objects.Object]) -> set[str]:
    """Those whose leaving would break a budget, the others having left before them."""
    found = set()
    left = [(budget, int(objects.status(budget).get("disruptionsAllowed") or 0)) for budget in budgets]
    for other in lower:
        for place, (budget, allowed) in enumerate(left):
            if not covers(budget, other):
                continue
            if objects.name(other.pod) in (objects.status(budget).get("disruptedPods") or {}):
                continue
            left[place] = (budget, allowed - 1)
            if allowed - 1 < 0:
                found.add(other.uid)
    return found


def covers(budget: objects.Object, pod: PodFacts) -> bool:
    """Whether the budget is about the Pod."""
    selector = objects.spec(budget).get("selector")
    if selector is None or objects.namespace(budget) != pod.key.namespace or not pod.labels:
        return False
    try:
        return selectors.from_object(selector).matches(pod.labels)
    except errors.LightshipError:
        return False
