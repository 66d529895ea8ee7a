"""The Pareto front of Trials: those that no other is better than in every objective. Pure; ``status`` calls me."""

from __future__ import annotations

from collections.abc import Sequence

from lightship.domains.tuning.algorithms.search import Objective
from lightship.domains.tuning.trial.view import View, finite

LIMIT_FRONT_TRIALS = 100
"""More are on the front in theory; the first of them by the leading objective are shown."""


def front(views: Sequence[View], objectives: Sequence[Objective]) -> list[View]:
    """The front, the best by the leading objective first. Trials that lack a value are not on it."""
    scored = []
    for view in views:
        values = [finite(view, one.metric) for one in objectives]
        if all(value is not None for value in values):
            scored.append((tuple(-value if one.goal_type == "maximize" else value
                                 for value, one in zip(values, objectives, strict=True) if value is not None), view))
    scored.sort(key=lambda pair: (pair[0], pair[1].name))
    kept: list[tuple[tuple[float, ...], View]] = []
    for values_of, view in scored:  # in the order of the first objective: only what is kept can dominate
        if not any(all(a <= b for a, b in zip(other, values_of, strict=True)) and other != values_of
                   for other, _ in kept):
            kept.append((values_of, view))
    return [view for _, view in kept[:LIMIT_FRONT_TRIALS]]
