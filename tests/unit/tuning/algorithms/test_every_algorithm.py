"""What holds for each algorithm: valid suggestions, the same ones from the same Trials, and no Trial breaks it."""

from __future__ import annotations

import math

import pytest

from lightship.domains.tuning.algorithms.checks import check
from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import Objective, Parameter, Proposal
from tests.unit.tuning.algorithms._searching import MIXED, STEPPED, Experiment, search

LEARNING = [name for name in ALGORITHMS if name != "darts"]
_SPACES = {"grid": STEPPED}


def _experiment(algorithm: str, **words: object) -> Experiment:
    return Experiment(search(algorithm, _SPACES.get(algorithm, MIXED), **words))


def _assert_valid(experiment: Experiment, proposal: Proposal) -> None:
    assert list(proposal.assignments) == [one.name for one in experiment.search.parameters]
    resource = experiment.search.settings.get("resource_name")
    for parameter in experiment.search.parameters:
        text = proposal.assignments[parameter.name]
        if parameter.list:
            assert text in parameter.list
        elif parameter.name != resource:  # which is the algorithm's own
            assert float(parameter.min) <= float(text) <= float(parameter.max)
            if parameter.type == "int":
                assert text == str(int(text))
            if parameter.step:
                steps = (float(text) - float(parameter.min)) / float(parameter.step)
                assert math.isclose(steps, round(steps), abs_tol=1e-6)


@pytest.mark.parametrize("algorithm", LEARNING)
def test_suggestions_are_of_the_space(algorithm: str) -> None:
    experiment = _experiment(algorithm)
    for _ in range(12):
        for proposal in experiment.ask(2):
            _assert_valid(experiment, proposal)
        if experiment.running:
            experiment.end(-1)


@pytest.mark.parametrize("algorithm", LEARNING)
def test_the_same_trials_give_the_same_suggestions_after_restarts_anywhere(algorithm: str) -> None:
    steady, restarted = _experiment(algorithm), _experiment(algorithm)
    for turn in range(10):
        expected = steady.ask(2)
        restarted.restart()
        assert restarted.ask(2) == expected, f"{algorithm} differs after {turn} turns"
        for one in (steady, restarted):
            if one.running:
                one.end(-1 if turn % 3 else 0)  # not in the order of their making


@pytest.mark.parametrize("algorithm", [name for name in LEARNING if name != "grid"])
def test_another_seed_is_another_search(algorithm: str) -> None:
    assert _experiment(algorithm).ask(1) != _experiment(algorithm, seed=2).ask(1)


@pytest.mark.parametrize("algorithm", LEARNING)
def test_no_end_of_a_trial_breaks_a_search(algorithm: str) -> None:
    experiment = _experiment(algorithm)
    ends = [("succeeded", math.nan), ("failed", None), ("succeeded", math.inf), ("metrics-unavailable", None),
            ("succeeded", -math.inf), ("early-stopped", 1.0), ("succeeded", 1e300), ("succeeded", -1e300)]
    for turn in range(16):
        for proposal in experiment.ask(2):
            _assert_valid(experiment, proposal)
        if experiment.running:
            state, value = ends[turn % len(ends)]
            experiment.end(0, state, value)


@pytest.mark.parametrize("algorithm", LEARNING)
def test_trials_that_are_none_of_its_own_are_passed_over(algorithm: str) -> None:
    experiment = _experiment(algorithm)
    experiment.ask(2)
    stranger = experiment.end()
    experiment.ended[-1] = type(stranger)(name="stranger", assignments={"other": "1"}, state="succeeded",
                                          values={"loss": 1.0})
    for _ in range(8):
        for proposal in experiment.ask(1):
            _assert_valid(experiment, proposal)
        if experiment.running:
            experiment.end()


@pytest.mark.parametrize("algorithm", ["tpe", "multivariate-tpe", "bayesianoptimization"])
def test_several_at_once_spread_out(algorithm: str) -> None:
    experiment = _experiment(algorithm)
    experiment.run(10)
    proposals = experiment.ask(4)
    assert len({tuple(one.assignments.items()) for one in proposals}) == 4


@pytest.mark.parametrize("algorithm", ["random", "sobol", "tpe", "multivariate-tpe"])
def test_several_objectives(algorithm: str) -> None:
    both = (Objective(metric="loss", goal_type="minimize"), Objective(metric="speed", goal_type="maximize"))
    experiment = _experiment(algorithm, objectives=both)
    for turn in range(12):
        experiment.ask(2)
        ended = experiment.end()
        speed = math.nan if turn == 3 else float(ended.assignments["layers"])
        experiment.ended[-1] = type(ended)(name=ended.name, assignments=ended.assignments, labels=ended.labels,
                                           state="succeeded", values=dict(ended.values) | {"speed": speed})


_EXTREME = (
    Parameter(name="seed", type="int", min="0", max="9223372036854775807"),
    Parameter(name="fine", type="double", min="0", max="1", step="1e-18"),
    Parameter(name="wide", type="double", min="-8e307", max="8e307"),
    Parameter(name="tiny", type="double", min="1e-300", max="1e300", distribution="logUniform"),
    Parameter(name="fixed", type="double", min="2", max="2"),
    Parameter(name="one", type="int", min="3", max="3"),
    Parameter(name="only", type="categorical", list=("a", "a")),
)


@pytest.mark.parametrize("algorithm", [name for name in LEARNING if name not in ("grid", "hyperband")])
def test_extreme_spaces(algorithm: str) -> None:
    experiment = Experiment(search(algorithm, _EXTREME))
    assert not check(experiment.search)
    for turn in range(12):
        for proposal in experiment.ask(2):
            assert proposal.assignments["fixed"] == "2.0" and proposal.assignments["one"] == "3"
            assert all(math.isfinite(float(proposal.assignments[name])) for name in ("seed", "fine", "wide", "tiny"))
        if experiment.running:
            experiment.end(0, value=float(turn % 5))


def test_maximizing_is_minimizing_the_opposite() -> None:
    upwards = (Objective(metric="loss", goal_type="maximize"),)
    low = _experiment("tpe")
    high = Experiment(search("tpe", objectives=upwards), loss=lambda assignments: -low._loss(assignments))
    for _ in range(10):
        assert low.ask(1) == high.ask(1)
        low.end(), high.end()


def test_a_grid_is_every_point_once_and_then_exhausted() -> None:
    for settings in ({}, {"random_state": "7"}):
        experiment = Experiment(search("grid", STEPPED, settings=settings))
        experiment.run(100, parallel=4)
        points = {tuple(one.assignments.values()) for one in experiment.ended}
        assert len(points) == len(experiment.ended) == 5 * 3 * 2
        assert experiment.exhausted
    assert [*Experiment(search("grid", STEPPED)).ask(1)[0].assignments.values()] == ["0.1", "1", "a"]


def test_darts_hands_the_search_to_its_trial() -> None:
    experiment = Experiment(search("darts", (), settings={"num_epochs": "3", "w_grad_clip": "None"}))
    assignments = experiment.ask(1)[0].assignments
    assert assignments["num-layers"] == "8"
    assert assignments["search-space"] == (
        "['separable_convolution_3x3', 'separable_convolution_5x5', 'skip_connection']")
    assert assignments["algorithm-settings"].startswith("{'num_epochs': '3', 'w_lr': 0.025,")
    assert "'w_grad_clip': null" in assignments["algorithm-settings"]
