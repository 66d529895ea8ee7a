"""The distribution of CMA-ES: where it lies, how far and where to it spreads, and how a lot of losses moves it.

Hansen's tutorial (2016) with its default constants, negative weights included; numpy alone, since the package that has
it takes in scipy's statistics, ten times as long to start and twice the memory. ``evolution`` calls me.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_LIMIT_DRAWS = 100  # for a point within the bounds; then it is moved onto them
_LEAST = 1e-12  # of change, in losses and of the first spread
_MOST_SPREAD = 1e4  # times the first
_MOST_CONDITION = 1e14


def smallest_population(width: int) -> int:
    """How many points a lot has by default, in so many dimensions."""
    return 4 + int(3 * math.log(width))


@dataclass(frozen=True, kw_only=True)
class _Constants:
    """The tutorial's constants, under its names but in words."""

    weights: Matrix
    chosen: int
    mass: float
    rate_one: float
    rate_many: float
    rate_path: float
    rate_step: float
    damping: float
    length: float

    @staticmethod
    def of(width: int, population: int) -> _Constants:
        raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))
        chosen = population // 2
        mass = float(raw[:chosen].sum() ** 2 / (raw[:chosen] ** 2).sum())
        negative = float(raw[chosen:].sum() ** 2 / (raw[chosen:] ** 2).sum())
        one = 2 / ((width + 1.3) ** 2 + mass)
        many = min(1 - one - 1e-8, 2 * (mass - 2 + 1 / mass) / ((width + 2) ** 2 + mass))
        least = min(1 + one / many, 1 + 2 * negative / (mass + 2), (1 - one - many) / (width * many))
        weights = np.where(raw >= 0, raw / raw[raw > 0].sum(), least * raw / -raw[raw < 0].sum())
        step = (mass + 2) / (width + mass + 5)
        return _Constants(
            weights=weights, chosen=chosen, mass=mass, rate_one=one, rate_many=many,
            rate_path=(4 + mass / width) / (width + 4 + 2 * mass / width), rate_step=step,
            damping=1 + 2 * max(0.0, math.sqrt((mass - 1) / (width + 1)) - 1) + step,
            length=math.sqrt(width) * (1 - 1 / (4 * width) + 1 / (21 * width**2)))


class Distribution:
    """A normal distribution over the unit cube. It moves by ``tell`` alone; what ``ask`` draws is the chance's."""

    def __init__(self, mean: Matrix, spread: float, population: int) -> None:
        width = len(mean)
        self.population = population
        self._constants = _Constants.of(width, population)
        self._mean, self._spread, self._first_spread = mean, spread, spread
        self._covariance = np.eye(width)
        self._path, self._step_path = np.zeros(width), np.zeros(width)
        self._moves = 0
        self._least: deque[float] = deque(maxlen=10 + math.ceil(30 * width / population))
        self._decompose()

    def ask(self, chance: np.random.Generator) -> Matrix:
        for _ in range(_LIMIT_DRAWS):
            point = self._mean + self._spread * (self._axes @ (self._lengths * chance.standard_normal(len(self._mean))))
            if np.all((point >= 0) & (point <= 1)):
                break
        return np.asarray(np.clip(point, 0.0, 1.0))

    def tell(self, lot: Sequence[tuple[Matrix, float]]) -> None:
        """Move by a lot of ``population`` points and their losses."""
        assert len(lot) == self.population
        constants, width = self._constants, len(self._mean)
        ranked = sorted(lot, key=lambda one: one[1])
        self._moves += 1
        self._least.append(ranked[0][1])
        steps = (np.array([point for point, _ in ranked]) - self._mean) / self._spread
        step = constants.weights[:constants.chosen] @ steps[:constants.chosen]
        self._mean = self._mean + self._spread * step
        rate = constants.rate_step
        self._step_path = ((1 - rate) * self._step_path
                           + math.sqrt(rate * (2 - rate) * constants.mass) * (self._whitening @ step))
        length = float(np.linalg.norm(self._step_path))
        self._spread *= math.exp(min(1.0, rate / constants.damping * (length / constants.length - 1)))
        settled = length / math.sqrt(1 - (1 - rate) ** (2 * (self._moves + 1)))
        steady = settled < (1.4 + 2 / (width + 1)) * constants.length
        rate = constants.rate_path
        self._path = (1 - rate) * self._path + (math.sqrt(rate * (2 - rate) * constants.mass) * step if steady else 0.0)
        white = ((steps @ self._whitening.T) ** 2).sum(axis=1)
        weights = np.where(constants.weights >= 0, constants.weights,
                           constants.weights * width / np.maximum(white, 1e-8))
        lost = 0.0 if steady else rate * (2 - rate)
        kept = 1 + constants.rate_one * (lost - 1) - constants.rate_many * constants.weights.sum()
        self._covariance = (kept * self._covariance + constants.rate_one * np.outer(self._path, self._path)
                            + constants.rate_many * (steps.T * weights) @ steps)
        self._decompose()

    def settled(self) -> bool:
        """Whether it has come to rest, or gone out of hand: only a new beginning finds more."""
        if len(self._least) == self._least.maxlen and max(self._least) - min(self._least) < _LEAST:
            return True
        reach = self._spread * np.sqrt(np.diag(self._covariance))
        small = _LEAST * self._first_spread
        if np.all(reach < small) and np.all(self._spread * np.abs(self._path) < small):
            return True
        if self._spread * self._lengths.max() > _MOST_SPREAD * self._first_spread:
            return True
        return bool((self._lengths.max() / self._lengths.min()) ** 2 > _MOST_CONDITION)

    def _decompose(self) -> None:
        self._covariance = (self._covariance + self._covariance.T) / 2
        squares, self._axes = np.linalg.eigh(self._covariance)
        self._lengths = np.sqrt(np.maximum(squares, 1e-20))
        self._whitening = (self._axes / self._lengths) @ self._axes.T
