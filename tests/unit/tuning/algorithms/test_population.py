"""Population-based training: generations, whose checkpoint each member goes on from, and members that fail."""

from __future__ import annotations

import random
from collections import Counter

from lightship.domains.tuning.algorithms.population import GENERATION, LIMIT_ATTEMPTS, MEMBER, PARENT, perturbed
from lightship.domains.tuning.algorithms.search import Parameter
from lightship.domains.tuning.algorithms.space import axis
from tests.unit.tuning.algorithms._searching import Experiment, search

_SPACE = (Parameter(name="lr", type="double", min="0.0001", max="0.02", step="0.0001"),)
_SETTINGS = {"suggestion_trial_dir": "/ckpt", "n_population": "10", "truncation_threshold": "0.2"}


def _experiment(**settings: str) -> Experiment:
    return Experiment(search("pbt", _SPACE, settings=_SETTINGS | settings), loss=lambda one: float(one["lr"]))


def test_a_generation_begins_when_the_last_member_of_the_one_before_has_ended() -> None:
    experiment = _experiment()
    assert len(experiment.ask(40)) == 10
    for _ in range(9):
        experiment.end()
    assert experiment.ask(5) == ()
    assert not experiment.exhausted
    experiment.end()
    second = experiment.ask(40)
    assert Counter(one.labels[GENERATION] for one in second) == {"1": 10}
    assert {one.labels[MEMBER] for one in second} == {str(number) for number in range(10)}


def test_the_worst_give_way_to_copies_of_the_best_with_their_checkpoints() -> None:
    experiment = _experiment()
    experiment.ask(10)
    while experiment.running:
        experiment.end(-1)
    ranked = sorted(experiment.ended, key=lambda one: one.values["loss"])
    best, losers = ranked[:2], ranked[-2:]
    by_name = {one.name: one for one in experiment.ended}
    for child in experiment.ask(10):
        parent = by_name[child.labels[PARENT]]
        if child.labels[MEMBER] in {one.labels[MEMBER] for one in losers}:
            assert parent in best
            assert child.assignments == parent.assignments
        else:
            assert parent.labels[MEMBER] == child.labels[MEMBER]
            ratio = float(child.assignments["lr"]) / float(parent.assignments["lr"])
            assert 0.75 < ratio < 1.35 and ratio != 1


def test_a_failed_member_is_tried_again_and_at_last_gives_way() -> None:
    experiment = _experiment()
    first = experiment.ask(10)
    for _ in range(9):
        experiment.end(1)
    for _ in range(LIMIT_ATTEMPTS - 1):
        experiment.end(0, "failed")
        [again] = experiment.ask(5)
        assert again.assignments == first[0].assignments and again.labels == first[0].labels
    experiment.end(0, "failed")
    [child] = [one for one in experiment.ask(10) if one.labels[MEMBER] == "0"]
    assert child.labels[GENERATION] == "1"
    assert child.labels[PARENT] in {one.name for one in experiment.ended if one.state == "succeeded"}


def test_a_population_that_failed_altogether_begins_anew() -> None:
    experiment = _experiment()
    for _ in range(LIMIT_ATTEMPTS):
        experiment.ask(10)
        while experiment.running:
            experiment.end(0, "failed")
    anew = experiment.ask(10)
    assert {one.labels[GENERATION] for one in anew} == {"1"}
    assert not any(PARENT in one.labels for one in anew)


def test_parameters_may_be_drawn_anew_instead() -> None:
    experiment = _experiment(resample_probability="1", truncation_threshold="0")
    experiment.ask(10)
    while experiment.running:
        experiment.end()
    kept = {one.labels[MEMBER]: one.assignments for one in experiment.ended}
    assert sum(kept[one.labels[MEMBER]] == one.assignments for one in experiment.ask(10)) <= 1


def test_a_perturbed_value_moves_and_stays_in_its_space() -> None:
    chance = random.Random(3)
    whole = axis(Parameter(name="n", type="int", min="1", max="4"))
    assert {perturbed(whole, "1", chance) for _ in range(50)} == {"1", "2"}
    assert {perturbed(whole, "2", chance) for _ in range(50)} == {"1", "3"}
    choice = axis(Parameter(name="c", type="categorical", list=("a", "b", "c")))
    assert {perturbed(choice, "a", chance) for _ in range(50)} == {"b", "c"}
    real = axis(Parameter(name="d", type="double", min="0", max="1"))
    assert {perturbed(real, "0.9", chance) for _ in range(50)} == {"1.0", repr(0.9 * 0.8)}
