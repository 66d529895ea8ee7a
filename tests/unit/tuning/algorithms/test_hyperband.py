"""Hyperband: the brackets' sizes and resources, who goes on, and that neither parallelism nor failures hold it up."""

from __future__ import annotations

from collections import Counter

from lightship.domains.tuning.algorithms.hyperband import BRACKET, PARENT, RUNG
from lightship.domains.tuning.algorithms.search import Parameter
from tests.unit.tuning.algorithms._searching import Experiment, search

_SPACE = (Parameter(name="x", type="double", min="0", max="1"), Parameter(name="epochs", type="int", min="1", max="9"))
_SETTINGS = {"r_l": "9", "eta": "3", "resource_name": "epochs"}


def _experiment() -> Experiment:
    return Experiment(search("hyperband", _SPACE, settings=_SETTINGS), loss=lambda one: float(one["x"]))


def _shape(experiment: Experiment) -> Counter[tuple[str, str, str]]:
    return Counter((one.labels[BRACKET], one.labels[RUNG], one.assignments["epochs"]) for one in experiment.ended)


# bracket, rung, epochs: how many, for R = 9 and eta = 3 in the paper's table
_WHOLE = {("2", "0", "1"): 9, ("2", "1", "3"): 3, ("2", "2", "9"): 1,
          ("1", "0", "3"): 5, ("1", "1", "9"): 2, ("0", "0", "9"): 3}


def test_the_brackets_are_the_papers_whatever_runs_at_once() -> None:
    for parallel in (1, 4, 9, 30):
        experiment = _experiment()
        experiment.run(100, parallel)
        assert _shape(experiment) == _WHOLE
        assert experiment.exhausted


def test_the_best_of_a_rung_go_on_with_more() -> None:
    experiment = _experiment()
    experiment.run(100, 3)
    by_name = {one.name: one for one in experiment.ended}
    first = [one for one in experiment.ended if (one.labels[BRACKET], one.labels[RUNG]) == ("2", "0")]
    best = {one.name for one in sorted(first, key=lambda one: one.values["loss"])[:3]}
    second = [one for one in experiment.ended if (one.labels[BRACKET], one.labels[RUNG]) == ("2", "1")]
    assert {one.labels[PARENT] for one in second} == best
    assert all(one.assignments["x"] == by_name[one.labels[PARENT]].assignments["x"] for one in second)


def test_a_rung_that_waits_leaves_its_slots_to_the_next_bracket() -> None:
    experiment = _experiment()
    experiment.ask(9)
    for _ in range(8):
        experiment.end()
    [other] = experiment.ask(1)
    assert (other.labels[BRACKET], other.labels[RUNG]) == ("1", "0")
    experiment.end(0)  # the last of the first rung
    [promoted] = experiment.ask(1)
    assert (promoted.labels[BRACKET], promoted.labels[RUNG]) == ("2", "1")


def test_failed_trials_are_not_promoted_and_hold_up_nothing() -> None:
    experiment = _experiment()
    experiment.ask(9)
    for number in range(9):
        experiment.end(0, "succeeded" if number == 4 else "failed")
    survivor = experiment.ended[4].name
    [promoted, *_] = experiment.ask(2)
    assert promoted.labels[PARENT] == survivor
    experiment.run(100, 2)
    assert experiment.exhausted
    assert _shape(experiment)["2", "1", "3"] == 1


def test_a_search_of_failures_only_ends() -> None:
    experiment = _experiment()
    while not experiment.exhausted or experiment.running:
        experiment.ask(5)
        while experiment.running:
            experiment.end(0, "failed")
    assert _shape(experiment) == {("2", "0", "1"): 9, ("1", "0", "3"): 5, ("0", "0", "9"): 3}


def test_the_state_is_shown_under_upstreams_names() -> None:
    engine = _experiment()._engine
    settings = engine.propose((), 2).settings
    assert settings == {"eta": "3", "s_max": "2", "r_l": "9", "b_l": "27", "r": "1", "n": "9", "current_s": "2",
                        "current_i": "0", "resource_name": "epochs", "evaluating_trials": "9"}
