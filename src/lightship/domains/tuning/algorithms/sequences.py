"""Sobol's sequence: points that fill the space more evenly than chance does, scrambled by the seed.

Runs in the worker (it imports scipy); ``engines`` makes me. The n-th Trial is the sequence's n-th point, whatever else
has happened.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from scipy.stats import qmc

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import Axis, axes, seed_of, texts


class Sobol:
    """One sequence, over all axes at once."""

    def __init__(self, search: Search) -> None:
        self._space = axes(search.parameters)
        self._seed = seed_of(telling.seed(search), "sobol")

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        return Reply(proposals=tuple(
            Proposal(assignments=assignments) for assignments in points(self._space, self._seed, len(told), count)))


def points(space: Sequence[Axis], seed: int, begin: int, count: int) -> Sequence[dict[str, str]]:
    """``count`` points of the sequence from number ``begin`` on, as assignments."""
    sequence = qmc.Sobol(d=len(space), scramble=True, rng=seed)
    if begin:
        sequence.fast_forward(begin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that only powers of two are balanced
        return [texts(space, row) for row in sequence.random(count)]
