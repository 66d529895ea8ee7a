"""Bayesian optimisation: a model of the losses says where the next Trial promises most.

Runs in the worker (it imports scipy); ``engines`` makes me. The model is one of ``surrogates``: a Gaussian process, or
with ``base_estimator`` a forest (RF, ET) or boosted quantiles (GBRT). Running Trials are believed to end as the model
expects, so that several at once spread out. The settings are scikit-optimize's, as Katib's are; ``EIps`` and ``PIps``
are EI and PI, since Trials' durations are not told, and ``gp_hedge`` lets the three criteria each name a point and
draws among them by what the model expects there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import ENDED, Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.sequences import points
from lightship.domains.tuning.algorithms.space import Axis, axes, drawn, seed_of, units
from lightship.domains.tuning.algorithms.surrogates import Kernel, Matrix, Predict, Process, likeliest, trees

LIMIT_OBSERVATIONS = 300
"""Trials that a model is fitted to: beyond that the best and the latest, since a fit's time grows with the cube."""

_CANDIDATES = 2000
_NEAR = 100  # candidates around each of the best Trials
_BEST = 5
_CLIMBS = 5  # candidates that are followed uphill
_STEP = 1e-5
_KAPPA = 1.96
_BAD = 3.0  # times as far above the middle as the best is below it
_MARGIN = 0.01  # of improvement, in standard deviations
_CRITERIA = ("EI", "LCB", "PI")
_SAME = {"EIps": "EI", "PIps": "PI"}


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Positions, the best first, and their losses, standardised."""

    rows: Sequence[tuple[float, ...]]
    losses: Matrix


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A fitted model: its predictions, the least loss seen, and whether a slope can be followed."""

    predict: Predict
    least: float
    smooth: bool


class Bayesian:
    """One search. Its kernel's parameters are found once for each set of ended Trials."""

    def __init__(self, search: Search) -> None:
        settings = search.settings
        self._search = search
        self._space = axes(search.parameters)
        self._encoding = _Encoding(self._space)
        self._seed = telling.seed(search)
        self._estimator = settings.get("base_estimator", "GP")
        self._initial = max(int(settings.get("n_initial_points", 10)), 1)
        self._criterion = settings.get("acq_func", "gp_hedge")
        self._climbs = settings.get("acq_optimizer", "auto") != "sampling"
        self._kernel: tuple[int, Kernel] | None = None

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        known = [(row, value) for one in telling.ended(told)
                 if (row := units(self._space, one.assignments)) is not None
                 and (value := telling.loss(self._search.objectives[0], one)) is not None]
        pending = [row for one in told if one.state not in ENDED
                   and (row := units(self._space, one.assignments)) is not None]
        given = {tuple(one.assignments.get(axis.name, "") for axis in self._space) for one in told}
        proposals = []
        for number in range(len(told), len(told) + count):
            assignments = self._one(known, pending, given, number)
            row = units(self._space, assignments)
            assert row is not None
            pending.append(row)
            given.add(tuple(assignments.values()))
            proposals.append(Proposal(assignments=assignments))
        return Reply(proposals=tuple(proposals))

    def _one(self, known: Sequence[tuple[tuple[float, ...], float]], pending: Sequence[tuple[float, ...]],
             given: set[tuple[str, ...]], number: int) -> dict[str, str]:
        if len(known) < self._initial:
            return points(self._space, seed_of(self._seed, "gp"), number, 1)[0]
        seed = seed_of(self._seed, "gp", number)
        seen = _seen(known)
        model = self._fitted(len(known), seen, pending, seed)
        rows = seen.rows
        chance = np.random.default_rng(seed)
        if self._criterion != "gp_hedge":
            return self._best(model, _SAME.get(self._criterion, self._criterion), rows, given, chance)
        found = [self._best(model, criterion, rows, given, chance) for criterion in _CRITERIA]
        positions = [row for one in found if (row := units(self._space, one)) is not None]
        gains = -model.predict(self._encoding.rows(positions))[0]
        weights = np.exp(gains - gains.max())
        return found[int(chance.choice(len(found), p=weights / weights.sum()))]

    def _fitted(self, known: int, seen: _Seen, pending: Sequence[tuple[float, ...]], seed: int) -> _Model:
        """A model of what was ``seen`` of ``known`` Trials, and of what is believed of those that run."""
        rows, standard = self._encoding.rows(seen.rows), seen.losses
        if self._estimator != "GP":
            return _Model(predict=trees(self._estimator, rows, standard, seed), least=float(standard.min()),
                          smooth=False)
        if self._kernel is None or self._kernel[0] != known:
            self._kernel = (known, likeliest(rows, standard))
        kernel = self._kernel[1]
        process = Process(kernel, rows, standard)
        if pending:
            ahead = self._encoding.rows(pending)
            believed, _ = process.predict(ahead)
            process = Process(kernel, np.vstack([rows, ahead]), np.concatenate([standard, believed]))
        return _Model(predict=process.predict, least=float(standard.min()), smooth=True)

    def _best(self, model: _Model, criterion: str, rows: Sequence[tuple[float, ...]], given: set[tuple[str, ...]],
              chance: np.random.Generator) -> dict[str, str]:
        """The assignments that promise most and were not given yet; by chance where all were."""
        positions = self._candidates(rows, chance)
        promise = _promise(model, criterion, self._encoding.rows(positions))
        order = np.argsort(-promise, kind="stable")
        found = positions[order]
        if model.smooth and self._climbs:
            found = np.vstack([self._climbed(model, criterion, found[:_CLIMBS]), found])
        for position in found:
            assignments = {axis.name: axis.text(float(unit)) for axis, unit in zip(self._space, position, strict=True)}
            if tuple(assignments.values()) not in given:
                return assignments
        return drawn(self._space, int(chance.integers(2**32)))

    def _candidates(self, rows: Sequence[tuple[float, ...]], chance: np.random.Generator) -> Matrix:
        """Points all over, and near the best; ``rows`` begins with the best."""
        everywhere = chance.uniform(size=(_CANDIDATES, len(self._space)))
        best = np.array(rows[:_BEST])
        near = np.repeat(best, _NEAR, axis=0)
        near = near + chance.normal(scale=0.05, size=near.shape) * (chance.uniform(size=near.shape) < 0.5)
        return np.vstack([np.clip(near, 0.0, 1.0), everywhere])

    def _climbed(self, model: _Model, criterion: str, starts: Matrix) -> Matrix:
        """Each start followed uphill along its numeric axes, best first."""
        free = np.array([axis.ordered for axis in self._space])
        if not free.any():
            return starts
        ends = []
        for start in starts:
            def fall(some: Matrix, start: Matrix = start) -> tuple[float, Matrix]:
                around = np.repeat(start[None, :], len(some) + 1, axis=0)
                around[:, free] = some
                inward = np.where(some > 0.5, -_STEP, _STEP)
                around[np.arange(1, len(some) + 1), np.flatnonzero(free)] += inward
                values = -_promise(model, criterion, self._encoding.rows(around))
                return float(values[0]), (values[1:] - values[0]) / inward
            result = minimize(fall, start[free], jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * int(free.sum()),
                              options={"maxiter": 20})
            end = start.copy()
            end[free] = result.x
            ends.append((float(result.fun), end))
        ends.sort(key=lambda one: one[0])
        return np.array([end for _, end in ends])


class _Encoding:
    """Positions to rows of numbers: an axis with an order is one, another a number for each choice, all equally far."""

    def __init__(self, space: Sequence[Axis]) -> None:
        self._space = space
        self._choices = [None if axis.ordered else len(axis.choices) for axis in space]

    def rows(self, positions: Sequence[Sequence[float]] | Matrix) -> Matrix:
        table = np.asarray(positions, dtype=float).reshape(len(positions), len(self._space))
        columns = []
        for number, choices in enumerate(self._choices):
            column = table[:, number]
            if choices is None:
                columns.append(column[:, None])
            else:
                chosen = np.minimum((column * choices).astype(int), choices - 1)
                columns.append(np.eye(choices)[chosen] / math.sqrt(2))
        return np.hstack(columns)


def _seen(known: Sequence[tuple[tuple[float, ...], float]]) -> _Seen:
    """What a model is fitted to: how bad the bad ones are it need not know, and who has diverged is one of these."""
    worst = max((value for _, value in known if math.isfinite(value)), default=0.0)
    ranked = sorted(range(len(known)), key=lambda number: (known[number][1], number))
    if len(known) > LIMIT_OBSERVATIONS:
        latest = set(range(len(known) - LIMIT_OBSERVATIONS // 2, len(known)))
        keep = latest | set(ranked[:LIMIT_OBSERVATIONS - len(latest)])
        ranked = [number for number in ranked if number in keep]
    losses = np.array([min(known[number][1], worst) for number in ranked])
    losses = losses / (np.abs(losses).max() or 1.0)  # so that no square is too large
    middle = float(np.median(losses))
    if middle > losses[0]:
        losses = np.minimum(losses, middle + _BAD * (middle - losses[0]))
    scale = float(losses.std()) or 1.0
    return _Seen(rows=[known[number][0] for number in ranked], losses=(losses - losses.mean()) / scale)


def _promise(model: _Model, criterion: str, rows: Matrix) -> Matrix:
    """How much each row promises: larger is better."""
    mean, deviation = model.predict(rows)
    if criterion == "LCB":
        return np.asarray(_KAPPA * deviation - mean)
    deviation = np.maximum(deviation, 1e-12)
    gain = model.least - _MARGIN - mean
    if criterion == "PI":
        return np.asarray(norm.cdf(gain / deviation))
    return np.asarray(gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation))
