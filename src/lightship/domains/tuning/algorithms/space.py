"""A search space as numbers: each parameter is an axis from 0 to 1, and a position on it is a text, and back.

Pure, standard library. Every algorithm works on these axes, so that distributions, steps and how a number is written
are decided once: a parameter is *continuous*, *stepped* (whole numbers, and doubles with a step) or *choices*. Normal
distributions are Katib's (their mean half way between min and max, six standard deviations between these), cut off at
the bounds.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from statistics import NormalDist

from lightship.domains.tuning.algorithms.search import Parameter

_NORMAL = NormalDist()
_SIGMAS = 3.0  # from the mean to either bound
_LOGARITHMIC = ("logUniform", "logNormal")
_NORMALS = ("normal", "logNormal")


def seed_of(*words: object) -> int:
    """A seed of 32 bits for one purpose: the same words give the same seed, on any machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, words)).encode()).digest()[:4], "big")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter between 0 and 1. ``steps`` is how many steps lie between its bounds, None where continuous."""

    name: str
    choices: tuple[str, ...] = ()
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    step: Decimal = Decimal(0)
    whole: bool = False
    distribution: str = "uniform"
    ordered: bool = True

    @cached_property
    def steps(self) -> int | None:
        if self.choices:
            return len(self.choices) - 1
        return int((self.high - self.low) / self.step) if self.step else None

    @property
    def even(self) -> bool:
        """Whether each of its steps is as likely as the others."""
        return bool(self.choices) or self.distribution == "uniform"

    def at(self, index: int) -> str:
        """The text of a step or choice."""
        if self.choices:
            return self.choices[index]
        return self._write(self.low + index * self.step)

    def index(self, text: str) -> int:
        """The step or choice that a text names, or is nearest to. ValueError where it can be none."""
        if self.choices:
            return self.choices.index(text)
        steps = self.steps
        assert steps is not None
        return min(max(round((Decimal(_finite(text)) - self.low) / self.step), 0), steps)

    def text(self, unit: float) -> str:
        """What lies at ``unit``, as a trial gets it."""
        steps = self.steps
        unit = min(max(unit, 0.0), 1.0)
        if steps is None:
            return self._write(self._quantile(unit))
        if self.even:
            return self.at(min(int(unit * (steps + 1)), steps))
        return self.at(min(max(round((Decimal(self._quantile(unit)) - self.low) / self.step), 0), steps))

    def unit(self, text: str) -> float:
        """Where a text lies, from 0 to 1; of a step its middle. ValueError where it does not."""
        steps = self.steps
        if steps is not None and self.even:
            return (self.index(text) + 0.5) / (steps + 1)
        return self._share(float(_finite(text)))

    def _write(self, value: Decimal | float) -> str:
        return str(int(value)) if self.whole else repr(float(value))

    def _bounds(self) -> tuple[float, float]:
        """What the distribution lies between: half a step beyond the outer steps, so that these get a whole one."""
        low, high = float(self.low), float(self.high)
        if self.step:
            half = float(self.step) / 2
            low, high = (max(low - half, low / 2) if self.distribution in _LOGARITHMIC else low - half), high + half
        return (math.log(low), math.log(high)) if self.distribution in _LOGARITHMIC else (low, high)

    def _quantile(self, unit: float) -> float:
        low, high = self._bounds()
        if self.distribution in _NORMALS:
            tail = _NORMAL.cdf(-_SIGMAS)
            unit = (_NORMAL.inv_cdf(tail + unit * (1 - 2 * tail)) + _SIGMAS) / (2 * _SIGMAS)
        value = low + unit * (high - low)
        if self.distribution in _LOGARITHMIC:
            value = math.exp(value)
        if self.step:
            return value
        return min(max(value, float(self.low)), float(self.high))  # rounding may lead a hair beyond

    def _share(self, value: float) -> float:
        low, high = self._bounds()
        if self.distribution in _LOGARITHMIC:
            value = math.log(value) if value > 0 else low
        unit = (value - low) / (high - low) if high > low else 0.5
        if self.distribution in _NORMALS:
            tail = _NORMAL.cdf(-_SIGMAS)
            unit = (_NORMAL.cdf(unit * 2 * _SIGMAS - _SIGMAS) - tail) / (1 - 2 * tail)
        return min(max(unit, 0.0), 1.0)


def axes(parameters: Sequence[Parameter]) -> tuple[Axis, ...]:
    """The axes of parameters that passed ``checks.check``."""
    return tuple(axis(parameter) for parameter in parameters)


def axis(parameter: Parameter) -> Axis:
    if parameter.type in ("discrete", "categorical"):
        choices = tuple(dict.fromkeys(parameter.list))
        if parameter.type == "discrete" and all(_is_number(choice) for choice in choices):
            return Axis(name=parameter.name, choices=tuple(sorted(choices, key=float)))
        return Axis(name=parameter.name, choices=choices, ordered=False)
    whole = parameter.type == "int"
    low, high = Decimal(_finite(parameter.min)), Decimal(_finite(parameter.max))
    step = Decimal(_finite(parameter.step)) if parameter.step else Decimal(1 if whole else 0)
    return Axis(name=parameter.name, low=low, high=high, step=step, whole=whole,
                distribution=parameter.distribution or "uniform")


def drawn(space: Sequence[Axis], seed: int) -> dict[str, str]:
    """Assignments at random, by each axis' distribution."""
    chance = random.Random(seed)
    return {axis.name: axis.text(chance.random()) for axis in space}


def units(space: Sequence[Axis], assignments: Mapping[str, str]) -> tuple[float, ...] | None:
    """Where assignments lie, or None where they are not of this space: it was edited, or a Trial is somebody else's."""
    try:
        return tuple(axis.unit(assignments[axis.name]) for axis in space)
    except (KeyError, ValueError):
        return None


def texts(space: Sequence[Axis], position: Sequence[float]) -> dict[str, str]:
    """Assignments at a position."""
    return {axis.name: axis.text(float(unit)) for axis, unit in zip(space, position, strict=True)}


def _finite(text: str) -> str:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a finite number")
    return text.strip()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
