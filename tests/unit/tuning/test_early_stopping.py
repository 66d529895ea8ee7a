"""Medianstop: Katib's rule, whose median is the mean of means."""

from __future__ import annotations

import math

import pytest

from lightship.domains.tuning import early_stopping
from lightship.domains.tuning.algorithms.search import Objective, Rule

_ACCURACY = Objective(metric="accuracy", goal_type="maximize")
_LOSS = Objective(metric="loss", goal_type="minimize")


def test_the_rule_is_the_mean_of_the_first_values_means() -> None:
    settings = {"min_trials_required": "2", "start_step": "3"}
    averages = [early_stopping.average(values, settings) for values in ([1, 2, 3, 100], [5.0], [])]
    assert averages == [2.0, 5.0, None]
    assert early_stopping.rules(settings, _LOSS, [2.0, 5.0]) == (
        Rule(name="loss", value="3.5", comparison="greater", start_step=3),)
    assert early_stopping.rules(settings, _ACCURACY, [0.5, 0.75])[0].comparison == "less"


def test_there_is_none_while_too_few_have_succeeded() -> None:
    assert early_stopping.rules({}, _LOSS, [1.0, 2.0]) == ()
    assert early_stopping.rules({}, _LOSS, [1.0, 2.0, 3.0]) == (
        Rule(name="loss", value="2.0", comparison="greater", start_step=4),)


def test_values_that_are_no_numbers_do_not_count() -> None:
    assert early_stopping.average([math.nan, 1.0, math.inf, 3.0], {}) == 2.0


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("medianstop", {"min_trials_required": "2", "start_step": "1"}, None),
    ("medianstop", {"min_trials_required": "0"}, "min_trials_required must be greater than zero (>0)"),
    ("medianstop", {"start_step": "0"}, "start_step must be greater or equal than one (>=1)"),
    ("medianstop", {"start_step": "x"},
     "failed to validate start_step(x): invalid literal for int() with base 10: 'x'"),
    ("medianstop", {"patience": "1"}, "unknown setting patience for algorithm medianstop"),
    ("hyperstop", {}, "unknown algorithm name hyperstop; there is medianstop"),
])
def test_settings(name: str, settings: dict[str, str], message: str | None) -> None:
    assert [one.message for one in early_stopping.check(name, settings)] == ([] if message is None else [message])
