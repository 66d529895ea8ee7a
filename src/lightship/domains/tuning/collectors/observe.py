"""From readings to a trial's observation: each metric's lowest, highest and latest value. Pure.

``gather`` and the trial's reconciler call me. As upstream, a value that is no number counts for ``latest`` only; unlike
there, NaN is no number, so that one NaN hides neither the lowest nor the highest of the others. Where the value that
the objective's strategy asks for is not a finite number, the objective is unavailable and there is no observation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lightship.records.readings import NO_TIME, Reading

UNAVAILABLE = "unavailable"
"""What upstream writes where there is no value."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee][+-]?[0-9]+)?\Z", re.ASCII)

Metric = dict[str, str]
"""``{name, latest, min, max}``, as in a Trial's status."""


def number(text: str) -> float | None:
    """A finite number, else None."""
    text = text.strip()
    if not _NUMBER.match(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


@dataclass(kw_only=True)
class Tally:
    """One metric as its readings come."""

    name: str
    readings: int = 0
    latest: str = UNAVAILABLE
    _latest_at: datetime = NO_TIME
    _low: tuple[float, str] | None = None
    _high: tuple[float, str] | None = None

    def add(self, reading: Reading) -> None:
        self.readings += 1
        if reading.time >= self._latest_at:
            self._latest_at, self.latest = reading.time, reading.value
        value = number(reading.value)
        if value is None:
            return
        if self._low is None or value < self._low[0]:
            self._low = (value, reading.value)
        if self._high is None or value > self._high[0]:
            self._high = (value, reading.value)

    def merge(self, other: Tally) -> None:
        """Count in what another has counted, as if its readings had come after mine."""
        if other.readings and other._latest_at >= self._latest_at:
            self._latest_at, self.latest = other._latest_at, other.latest
        self.readings += other.readings
        if other._low is not None and (self._low is None or other._low[0] < self._low[0]):
            self._low = other._low
        if other._high is not None and (self._high is None or other._high[0] > self._high[0]):
            self._high = other._high

    def metric(self) -> Metric:
        return {"name": self.name, "latest": self.latest, "min": self._low[1] if self._low else UNAVAILABLE,
                "max": self._high[1] if self._high else UNAVAILABLE}


@dataclass(kw_only=True)
class Tallies:
    """All metrics of one objective, the objective's own first."""

    names: Sequence[str]
    by_name: dict[str, Tally] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {name: Tally(name=name) for name in self.names}

    def add(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            if (tally := self.by_name.get(reading.metric)) is not None:
                tally.add(reading)

    def merge(self, other: Tallies) -> None:
        for name, tally in other.by_name.items():
            if name in self.by_name:
                self.by_name[name].merge(tally)

    def metrics(self) -> list[Metric]:
        """As in a Trial's status, of those that have been read."""
        return [tally.metric() for tally in self.by_name.values() if tally.readings]


def metric_names(objective: Mapping[str, object]) -> tuple[str, ...]:
    """The objective's metric, then the additional ones, each once."""
    additional = objective.get("additionalMetricNames")
    names = [objective.get("objectiveMetricName"), *(additional if isinstance(additional, list) else ())]
    return tuple(dict.fromkeys(str(name) for name in names if name))


def strategy(objective: Mapping[str, object], metric: str) -> str:
    """``min``, ``max`` or ``latest``: the one that is given, else what the objective's direction says."""
    given = objective.get("metricStrategies")
    for entry in given if isinstance(given, list) else ():
        if entry.get("name") == metric and entry.get("value") in ("min", "max", "latest"):
            return str(entry["value"])
    return "max" if objective.get("type") == "maximize" else "min"


def value_of(objective: Mapping[str, object], metrics: Iterable[Mapping[str, str]], metric: str) -> float | None:
    """The number that a metric comes to by its strategy; None where it is unavailable."""
    for found in metrics:
        if found.get("name") == metric:
            return number(found.get(strategy(objective, metric), ""))
    return None


def available(objective: Mapping[str, object], metrics: list[Metric]) -> list[Metric] | None:
    """The observation, or None where the objective's own metric has no finite value."""
    names = metric_names(objective)
    return metrics if names and value_of(objective, metrics, names[0]) is not None else None


def observation(objective: Mapping[str, object], readings: Iterable[Reading]) -> list[Metric] | None:
    """``[{name, latest, min, max}]`` of an ``objectiveSpec`` and its readings; None: the metrics are unavailable."""
    tallies = Tallies(names=metric_names(objective))
    tallies.add(readings)
    return available(objective, tallies.metrics())
