"""CMA-ES: a normal distribution that moves and bends towards where the good Trials lie (Hansen, 2016).

Runs in the worker (it imports numpy); ``engines`` makes me. Trials that ended with a value are taken in the
order of their completion, as many at a time as a generation has places, and each such lot moves the distribution once,
even where some were drawn before it last moved: of several Trials at once none is wasted (with four at a time on Branin
that finds better values than waiting for a generation's own). So the whole state is found again from the Trials'
order. Choices without an order are drawn by chance, as with Katib.

``restart_strategy`` begins anew where a search has settled: ``ipop`` each time with twice the population, ``bipop`` in
turn so and with small ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.distribution import Distribution, Matrix, smallest_population
from lightship.domains.tuning.algorithms.search import Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import axes, drawn, seed_of, texts, units

_DEFAULT_SIGMA = 1 / 6  # of the range
_GROWTH = 2  # of the population at a restart
LIMIT_POPULATION = 1024


@dataclass(kw_only=True)
class _Restarts:
    """What BIPOP counts: evaluations that large and small populations have had."""

    large: int = 0
    spent_large: int = 0
    spent_small: int = 0
    small: bool = False
    spent: int = 0


class Evolution:
    """One search: where its distribution stands, and which generation that is."""

    def __init__(self, search: Search) -> None:
        self._search = search
        space = axes(search.parameters)
        self._numbers = tuple(axis for axis in space if axis.ordered)
        self._choices = tuple(axis for axis in space if not axis.ordered)
        self._seed = telling.seed(search)
        self._strategy = search.settings.get("restart_strategy", "none").lower()
        self._sigma = float(search.settings.get("sigma", 0)) or _DEFAULT_SIGMA
        self._restarts = _Restarts()
        self._generation = 0
        self._read = 0
        self._lot: list[tuple[Matrix, float]] = []
        self._smallest = smallest_population(len(self._numbers))
        self._distribution = Distribution(np.full(len(self._numbers), 0.5), self._sigma, self._smallest)

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        ended = telling.ended(told)
        for one in ended[self._read:]:
            loss = telling.loss(self._search.objectives[0], one)
            position = units(self._numbers, one.assignments)
            if loss is not None and position is not None:
                self._lot.append((np.array(position), loss))
            if len(self._lot) == self._distribution.population:
                self._move()
        self._read = len(ended)
        begin = len(told)
        return Reply(proposals=tuple(self._one(number) for number in range(begin, begin + count)),
                     settings={"generation": str(self._generation)})

    def _one(self, number: int) -> Proposal:
        chance = np.random.default_rng(seed_of(self._seed, "cmaes", self._generation, number))
        assignments = texts(self._numbers, self._distribution.ask(chance).tolist())
        assignments |= drawn(self._choices, seed_of(self._seed, "cmaes-choices", number))
        return Proposal(assignments={parameter.name: assignments[parameter.name]
                                     for parameter in self._search.parameters})

    def _move(self) -> None:
        """Move the distribution by what the lot says. Who has diverged is as bad as the worst that has not."""
        worst = max((loss for _, loss in self._lot if math.isfinite(loss)), default=0.0)
        self._distribution.tell([(position, min(loss, worst)) for position, loss in self._lot])
        self._generation += 1
        self._restart_if_settled(len(self._lot))
        self._lot = []

    def _restart_if_settled(self, spent: int) -> None:
        restarts = self._restarts
        restarts.spent += spent
        if self._strategy not in ("ipop", "bipop") or not self._distribution.settled():
            return
        chance = np.random.default_rng(seed_of(self._seed, "cmaes-restart", self._generation))
        mean = chance.uniform(size=len(self._numbers))
        if restarts.small:
            restarts.spent_small += restarts.spent
        else:
            restarts.spent_large += restarts.spent
        restarts.spent = 0
        restarts.small = (self._strategy == "bipop" and restarts.large > 0
                          and restarts.spent_small < restarts.spent_large)
        if restarts.small:
            larger = self._smallest * _GROWTH ** restarts.large
            population = math.floor(self._smallest * (0.5 * larger / self._smallest) ** (chance.uniform() ** 2))
            self._distribution = Distribution(mean, self._sigma * 10 ** (-2 * chance.uniform()),
                                              max(population, self._smallest))
            return
        restarts.large += 1
        self._distribution = Distribution(
            mean, self._sigma, min(self._smallest * _GROWTH ** restarts.large, LIMIT_POPULATION))
