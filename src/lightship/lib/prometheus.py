"""Counters and histograms in Prometheus' text format, for processes too small for its client library.

The model server and the gateway count with me and answer ``/metrics`` with ``render``. Single-threaded: observe from
the event loop only. Label values come from configuration (models, routes), never from requests, so they are bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The default buckets of Prometheus' Python client, in seconds, so that dashboards made for upstream fit.
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

LabelValues = tuple[str, ...]


class Metric(Protocol):
    """Something that ``render`` can print."""

    def lines(self) -> Iterable[str]: ...


class Counter:
    """A number that only grows, for each combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, type: str = "counter") -> None:
        self._head = (f"# HELP {name} {help}", f"# TYPE {name} {type}")
        self._name = name
        self._labels = tuple(labels)
        self.values: dict[LabelValues, float] = {}

    def add(self, labels: LabelValues = (), amount: float = 1) -> None:
        self.values[labels] = self.values.get(labels, 0) + amount

    def lines(self) -> Iterable[str]:
        yield from self._head
        for labels, value in sorted(self.values.items()):
            yield f"{self._name}{_braces(self._labels, labels)} {_number(value)}"


class Gauge(Counter):
    """A number that goes up and down: ``add`` with a negative amount, or assign to ``values``."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels, type="gauge")


class Histogram:
    """How many observations fell at or under each bucket's bound, with their sum and number."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (),
                 buckets: Sequence[float] = SECONDS_BUCKETS) -> None:
        self._head = (f"# HELP {name} {help}", f"# TYPE {name} histogram")
        self._name = name
        self._labels = tuple(labels)
        self._bounds = tuple(buckets)
        self._counts: dict[LabelValues, list[int]] = {}
        self._sums: dict[LabelValues, float] = {}

    def observe(self, labels: LabelValues, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def put(self, labels: LabelValues, counts: Sequence[int], sum: float) -> None:
        """Say what was counted elsewhere: how many fell into each bucket and no earlier one."""
        self._counts[labels], self._sums[labels] = list(counts), sum

    def lines(self) -> Iterable[str]:
        yield from self._head
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*self._bounds, None), counts, strict=True):
                total += count
                shown = "+Inf" if bound is None else _number(bound)
                yield f"{self._name}_bucket{_braces((*self._labels, 'le'), (*labels, shown))} {total}"
            yield f"{self._name}_count{_braces(self._labels, labels)} {total}"
            yield f"{self._name}_sum{_braces(self._labels, labels)} {_number(self._sums[labels])}"


def render(metrics: Iterable[Metric]) -> bytes:
    """The page that ``/metrics`` answers."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines()).encode()


def _braces(names: LabelValues, values: LabelValues) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
