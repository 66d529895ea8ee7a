"""Whether a running trial has met its early stopping rules. Pure; ``gather`` feeds me each reading as it comes.

As upstream: a rule counts the readings of its metric and speaks from the ``startStep``-th on; the objective's metric is
compared by the best value so far; a rule that was met is done with; the trial stops once every rule has been met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightship.domains.tuning.collectors import observe
from lightship.records.observations import Reading


@dataclass(kw_only=True)
class _Rule:
    name: str
    value: float
    comparison: str
    steps_left: int


@dataclass(kw_only=True)
class Stopper:
    """The rules of one trial that are still to be met."""

    objective: str
    maximize: bool
    _rules: list[_Rule] = field(default_factory=list)
    _had_rules: bool = False
    _best: float | None = None

    @property
    def stopped(self) -> bool:
        return self._had_rules and not self._rules

    def add(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            value = observe.number(reading.value) if self._rules else None
            if value is not None:
                self._rules = [rule for rule in self._rules if rule.name != reading.metric
                               or not self._met(rule, value)]

    def _met(self, rule: _Rule, value: float) -> bool:
        if rule.name == self.objective:
            pick = max if self.maximize else min
            self._best = value = value if self._best is None else pick(self._best, value)
        if rule.steps_left > 1:
            rule.steps_left -= 1
            return False
        match rule.comparison:
            case "less":
                return value < rule.value
            case "greater":
                return value > rule.value
            case _:
                return value == rule.value


def stopper(trial_spec: Mapping[str, Any]) -> Stopper:
    """Of a Trial's ``objective`` and ``earlyStoppingRules``; a rule whose value is no number can never be met."""
    objective = trial_spec.get("objective") or {}
    rules = []
    for rule in trial_spec.get("earlyStoppingRules") or ():
        value = observe.number(str(rule.get("value") or ""))
        rules.append(_Rule(name=str(rule.get("name") or ""), value=math.nan if value is None else value,
                           comparison=str(rule.get("comparison") or ""), steps_left=int(rule.get("startStep") or 0)))
    return Stopper(objective=str(objective.get("objectiveMetricName") or ""),
                   maximize=objective.get("type") == "maximize", _rules=rules, _had_rules=bool(rules))
