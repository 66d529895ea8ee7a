"""Whether a running trial has met its early stopping rules. Pure; ``gather`` feeds me each reading as it comes.

As upstream: a rule counts the readings of its metric and speaks from the ``startStep``-th on; the objective's metric is
compared by the best value so far; a rule that was met is done with; the trial stops once every rule has been met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightship.domains.tuning.algorithms.search import Rule
from lightship.domains.tuning.collectors import observe
from lightship.records.readings import Reading


@dataclass(kw_only=True)
class _Live:
    rule: Rule
    value: float
    steps_left: int


@dataclass(kw_only=True)
class Stopper:
    """The rules of one trial that are still to be met."""

    objective: str
    maximize: bool
    met: Rule | None = None
    """The rule that was met last, once all have been: the trial is to stop."""
    _live: list[_Live] = field(default_factory=list)
    _best: float | None = None

    def add(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            value = observe.number(reading.value) if self._live else None
            if value is None:
                continue
            for live in tuple(self._live):
                if live.rule.name == reading.metric and self._meets(live, value):
                    self._live.remove(live)
                    self.met = None if self._live else live.rule

    def _meets(self, live: _Live, value: float) -> bool:
        if live.rule.name == self.objective:
            pick = max if self.maximize else min
            self._best = value = value if self._best is None else pick(self._best, value)
        if live.steps_left > 1:
            live.steps_left -= 1
            return False
        match live.rule.comparison:
            case "less":
                return value < live.value
            case "greater":
                return value > live.value
            case _:
                return value == live.value


def stopper(trial_spec: Mapping[str, Any]) -> Stopper:
    """Of a Trial's ``objective`` and ``earlyStoppingRules``; a rule whose value is no number can never be met."""
    objective = trial_spec.get("objective") or {}
    live = []
    for given in trial_spec.get("earlyStoppingRules") or ():
        rule = Rule(name=str(given.get("name") or ""), value=str(given.get("value") or ""),
                    comparison=given.get("comparison") or "equal", start_step=int(given.get("startStep") or 0))
        value = observe.number(rule.value)
        live.append(_Live(rule=rule, value=math.nan if value is None else value, steps_left=rule.start_step))
    return Stopper(objective=str(objective.get("objectiveMetricName") or ""),
                   maximize=objective.get("type") == "maximize", _live=live)
