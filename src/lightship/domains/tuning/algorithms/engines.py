"""Which algorithm is which code, and what it needs.

``worker`` asks me whether a search is light enough for the server's own loop; where it is not, ``process`` makes it in
the worker. The heavy ones are imported when first asked for, since each imports libraries that the others do without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightship.domains.tuning.algorithms.hyperband import Hyperband
from lightship.domains.tuning.algorithms.plain import Darts, GridSearch, RandomSearch
from lightship.domains.tuning.algorithms.population import Population
from lightship.domains.tuning.algorithms.search import Search
from lightship.domains.tuning.algorithms.telling import Engine


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """``light``: pure and quick, needs no library. ``several``: takes several objectives."""

    make: Callable[[Search], Engine]
    light: bool = False
    several: bool = False


def _tpe(search: Search) -> Engine:
    from lightship.domains.tuning.algorithms.tpe import Tpe

    return Tpe(search)


def _sobol(search: Search) -> Engine:
    from lightship.domains.tuning.algorithms.sequences import Sobol

    return Sobol(search)


def _evolution(search: Search) -> Engine:
    from lightship.domains.tuning.algorithms.evolution import Evolution

    return Evolution(search)


def _bayesian(search: Search) -> Engine:
    from lightship.domains.tuning.algorithms.gaussian import Bayesian

    return Bayesian(search)


ALGORITHMS: Mapping[str, Algorithm] = {
    "random": Algorithm(make=RandomSearch, light=True, several=True),
    "grid": Algorithm(make=GridSearch, light=True, several=True),
    "tpe": Algorithm(make=_tpe, several=True),
    "multivariate-tpe": Algorithm(make=_tpe, several=True),
    "cmaes": Algorithm(make=_evolution),
    "sobol": Algorithm(make=_sobol, several=True),
    "bayesianoptimization": Algorithm(make=_bayesian),
    "hyperband": Algorithm(make=Hyperband, light=True),
    "pbt": Algorithm(make=Population, light=True),
    "darts": Algorithm(make=Darts, light=True, several=True),
}
