"""Early stopping: by which rule a new Trial ends before its time. Pure; the Suggestion's reconciler calls me.

``medianstop`` is Katib's, whose median is a mean: of the averages of the first ``start_step`` values of the objective
that each succeeded Trial reported. A new Trial ends when it is worse than that from its ``start_step``-th value on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightship.domains.furniture import FieldError
from lightship.domains.tuning.algorithms.checks import Setting, settings_faults
from lightship.domains.tuning.algorithms.search import Objective, Rule

MEDIAN_STOP = "medianstop"

_DEFAULT_TRIALS = 3
_DEFAULT_STEP = 4
_SETTINGS: Mapping[str, Setting] = {
    "min_trials_required": Setting(read=int, holds=lambda value: value > 0,
                                   otherwise="min_trials_required must be greater than zero (>0)"),
    "start_step": Setting(read=int, holds=lambda value: value >= 1,
                          otherwise="start_step must be greater or equal than one (>=1)"),
}


def check(algorithm: str, settings: Mapping[str, str]) -> Sequence[FieldError]:
    """What is wrong with an Experiment's ``earlyStopping``."""
    if algorithm != MEDIAN_STOP:
        return (FieldError(path="spec.earlyStopping.algorithmName",
                           message=f"unknown algorithm name {algorithm}; there is {MEDIAN_STOP}"),)
    return [FieldError(path="spec.earlyStopping.algorithmSettings", message=message)
            for message in settings_faults(MEDIAN_STOP, settings, _SETTINGS)]


def start_step(settings: Mapping[str, str]) -> int:
    """How many of a Trial's first values of the objective count."""
    return int(settings.get("start_step", _DEFAULT_STEP))


def average(values: Sequence[float], settings: Mapping[str, str]) -> float | None:
    """One succeeded Trial's part: the mean of its first values in the order of their time; None where it has none.

    A value that is no finite number counts as if it was never reported.
    """
    first = [value for value in values if math.isfinite(value)][:start_step(settings)]
    return sum(first) / len(first) if first else None


def rules(settings: Mapping[str, str], objective: Objective, averages: Sequence[float]) -> tuple[Rule, ...]:
    """The rule for the Trials that are made now, from the averages of the succeeded ones; none while too few have."""
    if len(averages) < int(settings.get("min_trials_required", _DEFAULT_TRIALS)) or not averages:
        return ()
    return (Rule(name=objective.metric, value=str(sum(averages) / len(averages)),
                 comparison="less" if objective.goal_type == "maximize" else "greater",
                 start_step=start_step(settings)),)
