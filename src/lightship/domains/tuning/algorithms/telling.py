"""What ended Trials say to a search: their losses, always to be made smaller. Pure; the algorithms call me."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from lightship.domains.tuning.algorithms.search import ENDED, Objective, Reply, Search, Told


class Engine(Protocol):
    """One algorithm at work for one Experiment.

    What it proposes is a function of its Search, ``told`` and ``count`` alone. From call to call the ended part of
    ``told`` only grows, so it may keep what it has made of that part; where it would shrink or change, a new Engine is
    made.
    """

    def propose(self, told: Sequence[Told], count: int) -> Reply: ...


def seed(search: Search) -> int:
    """The seed: the Experiment's setting, else the search's own."""
    return int(search.settings.get("random_state", search.seed))


def ended(told: Sequence[Told]) -> Sequence[Told]:
    return [one for one in told if one.state in ENDED]


def loss(objective: Objective, told: Told) -> float | None:
    """What is to be small: None where the Trial says nothing, infinite where it has diverged (NaN, either infinity)."""
    value = told.values.get(objective.metric)
    if value is None or told.state not in ("succeeded", "early-stopped"):
        return None
    if not math.isfinite(value):
        return math.inf
    return -value if objective.goal_type == "maximize" else value


def losses(search: Search, told: Told) -> tuple[float, ...] | None:
    """One loss an objective; None where one is missing."""
    found = [loss(objective, told) for objective in search.objectives]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) else None
