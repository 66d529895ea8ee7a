"""Functions whose best value is known, and learning curves, for the tests and the benchmark of the optimisers.

Branin and Hartmann-6 are the usual test functions of Bayesian optimisation; their forms and constants are those of
Surjanovic and Bingham's collection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightship.domains.tuning.algorithms.search import Parameter

BRANIN = (Parameter(name="x", type="double", min="-5", max="10"), Parameter(name="y", type="double", min="0", max="15"))
BRANIN_LEAST = 0.397887
HARTMANN = tuple(Parameter(name=f"x{number}", type="double", min="0", max="1") for number in range(6))
HARTMANN_LEAST = -3.32237

_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_NARROWNESS = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8),
               (17, 8, 0.05, 10, 0.1, 14))
_CENTRES = ((0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886), (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
            (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650), (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381))


def branin(assignments: Mapping[str, str]) -> float:
    x, y = float(assignments["x"]), float(assignments["y"])
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann(assignments: Mapping[str, str]) -> float:
    point = [float(assignments[f"x{number}"]) for number in range(6)]
    return -sum(weight * math.exp(-sum(narrow * (one - centre) ** 2
                                       for narrow, one, centre in zip(narrows, point, centres, strict=True)))
                for weight, narrows, centres in zip(_WEIGHTS, _NARROWNESS, _CENTRES, strict=True))


CURVE = (Parameter(name="x", type="double", min="-5", max="10"), Parameter(name="y", type="double", min="0", max="15"),
         Parameter(name="epochs", type="int", min="1", max="27"))


def curve(assignments: Mapping[str, str]) -> float:
    """A loss after so many epochs: it falls towards Branin's value, from a beginning that says nothing of it."""
    return branin(assignments) + 100 * math.exp(-float(assignments["epochs"]) / 6)


RATE = (Parameter(name="rate", type="double", min="0.0001", max="1", distribution="logUniform"),)
EPOCHS = 12


def trained(rate: float, epoch: int, score: float) -> float:
    """A score (at most 1) after one more round of training at ``rate``: the right one falls as training goes on."""
    right = 0.3 * 0.7**epoch
    return score + (1 - score) * 0.35 * math.exp(-math.log(rate / right) ** 2)
