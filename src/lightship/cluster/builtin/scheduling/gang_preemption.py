"""Who has to make room for a whole gang that matters more, and where its members then go. Pure.

``gang_pass`` calls me. Others leave by units: a Pod, or a gang as a whole; half a gang would hold room for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lightship.cluster.builtin.scheduling import gangs, preemption
from lightship.cluster.builtin.scheduling.facts import NEVER, Landscape, PodFacts

LIMIT_UNITS = 200
"""So many units of lower priority are weighed at most: of a crowd, those that matter least."""


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """``victims`` leave; then each member has its node, by uid. Without victims somebody is on his way out already."""

    nodes: Mapping[str, str]
    victims: tuple[PodFacts, ...] = ()


def find(members: Sequence[PodFacts], priority: int, land: Landscape) -> Clearing | None:
    """How room could be made for all of ``members``; None where it could not."""
    if any(pod.spec.get("preemptionPolicy") == NEVER for pod in members):
        return None
    if any(preemption.is_leaving(pod, land.nodes.get(pod.nominated)) for pod in members):
        return Clearing(nodes={pod.uid: pod.nominated for pod in members if pod.nominated in land.nodes})
    lower = [unit for unit in preemption.units(land, [pod for _, pod in land.placed()])
             if preemption.rank(unit) < priority]
    protected = preemption.protected_of(lower, land.budgets)
    order = preemption.spared_first(lower, protected)[-LIMIT_UNITS:]
    homes = {pod.uid: node.name for node, pod in land.placed()}
    stage = land.copy()
    for pod in chain.from_iterable(order):
        stage.release(pod)
    chosen = gangs.fit(members, stage) if order else None
    if chosen is None:
        return None
    victims: list[PodFacts] = []
    for unit in order:
        for pod in unit:
            stage.nodes[homes[pod.uid]].take(pod)
        still = gangs.fit(members, stage)
        if still is not None:
            chosen = still
            continue
        for pod in unit:
            stage.release(pod)
        victims += unit
    return Clearing(nodes=chosen, victims=tuple(victims)) if victims else None
