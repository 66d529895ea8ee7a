"""Observations by strategy, early stopping rules, and the numbers that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lightship.domains.tuning.collectors import observe, stopping
from lightship.records.readings import Reading

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTIVE = {"type": "maximize", "objectiveMetricName": "acc", "additionalMetricNames": ["loss"],
             "metricStrategies": [{"name": "acc", "value": "max"}, {"name": "loss", "value": "min"}]}


def readings(metric: str, *values: str) -> list[Reading]:
    return [Reading(time=T0 + timedelta(seconds=i), metric=metric, value=value) for i, value in enumerate(values)]


def test_lowest_highest_and_latest_by_time_in_their_own_words() -> None:
    late = [Reading(time=T0 + timedelta(hours=1), metric="acc", value="0.50")]
    assert observe.observation(OBJECTIVE, [*late, *readings("acc", "0.9", "1e-1"), *readings("loss", "3"),
                                           *readings("other", "7")]) == [
        {"name": "acc", "latest": "0.50", "min": "1e-1", "max": "0.9"},
        {"name": "loss", "latest": "3", "min": "3", "max": "3"}]


@pytest.mark.parametrize(("values", "expected"), [
    (("nan", "0.5", "inf"), {"latest": "inf", "min": "0.5", "max": "0.5"}), (("nan",), None), (("inf", "-inf"), None),
    (("high",), None), ((), None), (("1_000",), None), (("0x10",), None), (("1e999",), None),
    (("0.5", "text"), {"latest": "text", "min": "0.5", "max": "0.5"}),
])
def test_what_is_no_finite_number_is_no_objective(values: tuple[str, ...], expected: dict[str, str] | None) -> None:
    found = observe.observation(OBJECTIVE, readings("acc", *values))
    assert found == ([{"name": "acc"} | expected] if expected else None)


def test_the_latest_strategy_asks_for_the_latest_to_be_a_number() -> None:
    objective = {"type": "minimize", "objectiveMetricName": "acc", "metricStrategies": [
        {"name": "acc", "value": "latest"}]}
    assert observe.observation(objective, readings("acc", "1", "nan")) is None
    found = observe.observation(objective, readings("acc", "nan", "1"))
    assert found is not None and observe.value_of(objective, found, "acc") == 1.0
    assert observe.strategy({"type": "minimize"}, "acc") == "min"


def spec(*rules: dict[str, object], kind: str = "maximize") -> dict[str, object]:
    return {"objective": {"type": kind, "objectiveMetricName": "acc"}, "earlyStoppingRules": list(rules)}


def rule(value: str, comparison: str, start: int = 0, name: str = "acc") -> dict[str, object]:
    return {"name": name, "value": value, "comparison": comparison, "startStep": start}


@pytest.mark.parametrize(("given", "values", "stopped"), [
    (spec(rule("0.5", "less", 3)), ("0.1", "0.2"), False),
    (spec(rule("0.5", "less", 3)), ("0.1", "0.2", "0.3"), True),
    (spec(rule("0.5", "less", 3)), ("0.9", "0.2", "0.3", "0.1"), False),  # the best so far is compared
    (spec(rule("0.5", "greater"), kind="minimize"), ("0.6",), True),
    (spec(rule("0.5", "greater", 2), kind="minimize"), ("0.4", "0.6"), False),
    (spec(rule("0.5", "less", 4)), ("0.6", "0.1", "nan", "x", "0.2"), False),
    (spec(rule("3", "equal", name="epoch"), rule("0.5", "less")), ("0.1",), False),  # every rule has to be met
    (spec(rule("much", "less")), ("0.1",), False),
    (spec(), ("0.1",), False),
])
def test_early_stopping_rules(given: dict[str, object], values: tuple[str, ...], stopped: bool) -> None:
    live = stopping.stopper(given)
    live.add(readings("acc", *values))
    assert (live.met is not None) is stopped


def test_all_rules_met_one_after_the_other_stop() -> None:
    live = stopping.stopper(spec(rule("3", "equal", name="epoch"), rule("0.5", "less")))
    live.add(readings("acc", "0.1"))
    live.add(readings("epoch", "1", "2"))
    assert live.met is None
    live.add(readings("epoch", "3"))
    assert live.met is not None and live.met.name == "epoch"
