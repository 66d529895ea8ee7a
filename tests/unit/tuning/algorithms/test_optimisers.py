"""Optimisers against functions whose best value is known: over seeds 0-29 each beats chance at the same budget.

The tables that the tests print (``pytest -s``) show medians and how many of the seeds were won.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import pytest

from lightship.domains.tuning.algorithms.population import PARENT
from lightship.domains.tuning.algorithms.search import Parameter
from tests.unit.tuning.algorithms import _known as known
from tests.unit.tuning.algorithms._searching import Experiment, search

SEEDS = range(30)
QUICK = {("tpe", "branin"), ("cmaes", "branin")}
"""What the full tier has time for."""
TRIALS = 60
FUNCTIONS: Mapping[str, tuple[Sequence[Parameter], Callable[[Mapping[str, str]], float]]] = {
    "branin": (known.BRANIN, known.branin), "hartmann-6": (known.HARTMANN, known.hartmann)}


def _found(algorithm: str, function: str, parallel: int = 1) -> list[float]:
    parameters, loss = FUNCTIONS[function]
    return [Experiment(search(algorithm, parameters, seed=seed, settings={}), loss).run(TRIALS, parallel)
            for seed in SEEDS]


def _wins(one: Sequence[float], other: Sequence[float]) -> int:
    return sum(mine < theirs for mine, theirs in zip(one, other, strict=True))


def _assert_beats(name: str, one: Sequence[float], chance: Sequence[float]) -> None:
    wins = _wins(one, chance)
    print(f"\n{name}: median {statistics.median(one):.4f}, chance {statistics.median(chance):.4f}, "
          f"wins {wins} of {len(one)}")
    assert statistics.median(one) < statistics.median(chance)
    assert wins > len(one) / 2


def test_the_known_functions_have_the_least_values_that_are_known() -> None:
    assert known.branin({"x": "9.42478", "y": "2.475"}) == pytest.approx(known.BRANIN_LEAST, abs=1e-5)
    best = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
    assert known.hartmann({f"x{number}": str(value) for number, value in enumerate(best)}) == pytest.approx(
        known.HARTMANN_LEAST, abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("algorithm", "function"), [
    pytest.param(algorithm, function, marks=[] if (algorithm, function) in QUICK else [pytest.mark.proof])
    for algorithm in ("tpe", "multivariate-tpe", "cmaes", "bayesianoptimization") for function in FUNCTIONS])
def test_an_optimiser_beats_chance_at_the_same_budget(algorithm: str, function: str) -> None:
    _assert_beats(f"{algorithm} on {function}", _found(algorithm, function), _found("random", function))


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize("algorithm", ["tpe", "cmaes"])
def test_it_does_so_with_four_trials_at_once(algorithm: str) -> None:
    _assert_beats(f"{algorithm} on branin, 4 at once", _found(algorithm, "branin", 4), _found("random", "branin"))


def test_hyperband_beats_chance_at_the_same_resource() -> None:
    """As many epochs in all: chance spends 27 on each Trial. Only Trials that had all 27 count."""
    bands, chances = [], []
    settings = {"r_l": "27", "eta": "3", "resource_name": "epochs"}
    for seed in SEEDS:
        band = Experiment(search("hyperband", known.CURVE, seed=seed, settings=settings), known.curve)
        band.run(1000, 8)
        spent = sum(int(one.assignments["epochs"]) for one in band.ended)
        bands.append(min(one.values["loss"] for one in band.ended if one.assignments["epochs"] == "27"))
        chance = Experiment(search("random", known.CURVE, seed=seed, settings={}),
                            lambda one: known.curve(dict(one) | {"epochs": "27"}))
        chances.append(chance.run(-(-spent // 27)))
    _assert_beats("hyperband on a learning curve", bands, chances)


def test_population_based_training_beats_chance_at_the_same_resource() -> None:
    """As many rounds of training in all: chance keeps the rate that it began with."""
    populations, chances = [], []
    settings = {"suggestion_trial_dir": "/c", "n_population": "10", "truncation_threshold": "0.2"}
    for seed in SEEDS:
        experiment = Experiment(search("pbt", known.RATE, seed=seed, settings=settings))
        scores = {"": 0.0}
        rates: list[float] = []
        for epoch in range(known.EPOCHS):
            experiment.ask(10)
            while experiment.running:
                one = experiment.running[0]
                rate = float(one.assignments["rate"])
                rates += [rate] if epoch == 0 else []
                scores[one.name] = known.trained(rate, epoch, scores[one.labels.get(PARENT, "")])
                experiment.end(0, value=-scores[one.name])
        populations.append(-max(scores.values()))
        finals = []
        for rate in rates:
            score = 0.0
            for epoch in range(known.EPOCHS):
                score = known.trained(rate, epoch, score)
            finals.append(score)
        chances.append(-max(finals))
    _assert_beats("pbt on a moving optimum", populations, chances)
