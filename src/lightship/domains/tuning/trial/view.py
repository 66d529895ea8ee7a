"""A Trial as its Experiment counts it. Pure; made once of each revision of a Trial, and kept by the reconciler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.algorithms.search import State, Told
from lightship.kube import objects
from lightship.kube.objects import Object

_ORDER = (names.KILLED, names.FAILED, names.SUCCEEDED, names.EARLY_STOPPED, names.METRICS_UNAVAILABLE, names.RUNNING)
_TOLD: dict[str, State] = {names.SUCCEEDED: "succeeded", names.FAILED: "failed", names.KILLED: "failed",
                           names.EARLY_STOPPED: "early-stopped", names.METRICS_UNAVAILABLE: "metrics-unavailable"}
PENDING = "Pending"


@dataclass(frozen=True, kw_only=True)
class View:
    """``state`` is the condition that counts, ``completed`` when it ended; ``values`` by the strategies asked for."""

    name: str
    state: str
    completed: str
    deleting: bool
    assignments: Mapping[str, str]
    labels: Mapping[str, str]
    observation: Sequence[Mapping[str, Any]]
    values: Mapping[str, float]
    texts: Mapping[str, str]
    """The values as they were reported, of whatever kind."""

    @property
    def ended(self) -> bool:
        return self.state in _TOLD

    @property
    def place(self) -> tuple[str, str]:
        """Sorts ended Trials in the order of completion, the same after every restart."""
        return (self.completed, self.name)

    def told(self) -> Told:
        """What its algorithm is told of it."""
        return Told(name=self.name, assignments=self.assignments, labels=self.labels,
                    state=_TOLD.get(self.state, "running"), values=self.values)


def of(trial: Object) -> View:
    """The view of a Trial."""
    spec, status = objects.spec(trial), objects.status(trial)
    state = next((type for type in _ORDER if marks.is_true(status, type)), PENDING)
    observation = (status.get("observation") or {}).get("metrics") or ()
    strategies = {one.get("name"): one.get("value") for one in
                  (spec.get("objective") or {}).get("metricStrategies") or ()}
    texts = {str(metric.get("name")): value_of(metric, str(strategies.get(metric.get("name"), "latest")))
             for metric in observation}
    return View(
        name=objects.name(trial), state=state, completed=str(status.get("completionTime") or ""),
        deleting=objects.deleting(trial),
        assignments={str(one.get("name")): str(one.get("value")) for one in spec.get("parameterAssignments") or ()},
        labels=objects.labels(trial), observation=observation, texts=texts,
        values={name: value for name, text in texts.items() if (value := number(text)) is not None})


def value_of(metric: Mapping[str, Any], strategy: str) -> str:
    """The value of a metric that counts; the latest where there is no least or most."""
    chosen = str(metric.get(strategy, names.UNAVAILABLE)) if strategy in ("min", "max") else names.UNAVAILABLE
    return str(metric.get("latest", names.UNAVAILABLE)) if chosen == names.UNAVAILABLE else chosen


def number(text: str) -> float | None:
    """A reported value as a number; NaN and infinities are numbers, what is no number is None."""
    try:
        return float(text)
    except ValueError:
        return None


def finite(view: View, metric: str) -> float | None:
    """The view's value of ``metric`` where it can be compared."""
    value = view.values.get(metric)
    return value if value is not None and math.isfinite(value) else None
