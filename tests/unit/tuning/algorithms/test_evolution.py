"""CMA-ES: its distribution finds what others find, and its restarts begin anew where a search has settled."""

from __future__ import annotations

import numpy as np
import pytest

from lightship.domains.tuning.algorithms.distribution import Distribution, Matrix, smallest_population
from lightship.domains.tuning.algorithms.evolution import Evolution
from lightship.domains.tuning.algorithms.search import Parameter
from tests.unit.tuning.algorithms._searching import Experiment, search

_PLANE = tuple(Parameter(name=name, type="double", min="0", max="1") for name in "xy")


def _valley(point: Matrix) -> float:
    """Rosenbrock's function between -2 and 2: a bent valley that only a distribution that turns can follow."""
    point = point * 4 - 2
    return float(np.sum(100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2))


@pytest.mark.parametrize("seed", range(3))
def test_it_follows_a_bent_valley_to_its_end(seed: int) -> None:
    chance = np.random.default_rng(seed)
    distribution = Distribution(np.full(5, 0.5), 1 / 6, smallest_population(5))
    asked, least = 0, np.inf
    while least > 1e-8 and asked < 4000:
        lot = [(point := distribution.ask(chance), _valley(point)) for _ in range(distribution.population)]
        assert all(np.all((point >= 0) & (point <= 1)) for point, _ in lot)
        distribution.tell(lot)
        asked, least = asked + len(lot), min(least, *(loss for _, loss in lot))
    assert least <= 1e-8, f"after {asked} points {least}"  # others need 1,600 to 2,400


def _populations(strategy: str, trials: int) -> list[int]:
    """The populations that came, where every lot says that nothing is to be found."""
    experiment = Experiment(search("cmaes", _PLANE, settings={"restart_strategy": strategy}), lambda one: 1.0)
    engine = experiment._engine
    assert isinstance(engine, Evolution)
    found = [engine._distribution.population]
    while len(experiment.ended) < trials:
        before = engine._distribution
        experiment.ask(1)
        experiment.end()
        if engine._distribution is not before:
            found.append(engine._distribution.population)
    return found


def test_restarts() -> None:
    assert _populations("none", 500) == [6]
    assert _populations("ipop", 2000)[:3] == [6, 12, 24]
    both = _populations("bipop", 3000)
    assert both[:2] == [6, 12] and 6 in both[2:], both
