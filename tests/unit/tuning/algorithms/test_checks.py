"""What admission says of searches: upstream's own cases and messages, and what upstream finds out too late."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lightship.domains.tuning.algorithms.checks import NAME, SETTINGS, check
from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import Objective, Parameter
from tests.unit.tuning.algorithms._searching import MIXED, NAS, STEPPED, search

_X = Parameter(name="x", type="double", min="0", max="1")


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_good_searches_pass(algorithm: str) -> None:
    assert list(check(search(algorithm, STEPPED if algorithm == "grid" else MIXED))) == []


SETTINGS_CASES = [
    ("tpe", {"gamma": "0.5", "prior_weight": "1", "n_EI_candidates": "3", "random_state": "1"}, None),
    ("tpe", {"n_startup_trials": "5", "n_ei_candidates": "24"}, None),
    ("tpe", {"gamma": "1.5"}, "gamma should be in the range of (0, 1)"),
    ("tpe", {"gamma": "many"}, "failed to validate gamma(many): could not convert string to float: 'many'"),
    ("tpe", {"prior_weight": "0"}, "prior_weight should be great than zero"),
    ("tpe", {"n_EI_candidates": "0"}, "n_EI_candidates should be great than zero"),
    ("tpe", {"unknown": "0"}, "unknown setting unknown for algorithm tpe"),
    ("random", {"random_state": "-1"}, "random_state should be great or equal than zero"),
    ("grid", {"n_startup_trials": "1"}, "unknown setting n_startup_trials for algorithm grid"),
    ("multivariate-tpe", {"gamma": "0.5"}, "unknown setting gamma for algorithm multivariate-tpe"),
    ("cmaes", {"restart_strategy": "ipop", "sigma": "0.1", "random_state": "0"}, None),
    ("cmaes", {"restart_strategy": "bipop"}, None),
    ("cmaes", {"restart_strategy": "None"}, None),
    ("cmaes", {"restart_strategy": "often"}, "restart_strategy often is not supported in CMAES optimization"),
    ("cmaes", {"sigma": "-1"}, "sigma should be great or equal than zero"),
    ("bayesianoptimization", {"base_estimator": "SVM"}, "base_estimator SVM is not supported in Bayesian optimization"),
    ("bayesianoptimization", {"acq_func": "best"}, "acq_func best is not supported in Bayesian optimization"),
    ("bayesianoptimization", {"acq_optimizer": "x"}, "acq_optimizer x is not supported in Bayesian optimization"),
    ("bayesianoptimization", {"n_initial_points": "-1"}, "n_initial_points should be great or equal than zero"),
    ("hyperband", {"r_l": "4"}, "r_l and resource_name must be set."),
    ("hyperband", {"r_l": "x", "resource_name": "n"}, "r_l must be a positive float number."),
    ("hyperband", {"r_l": "-1", "resource_name": "n"}, "r_l must be a positive float number."),
    ("hyperband", {"r_l": "inf", "resource_name": "n"}, "r_l must be at least 1 and finite, and is inf."),
    ("hyperband", {"r_l": "4", "eta": "1", "resource_name": "n"}, "eta must be a number greater than 1, and is 1."),
    ("hyperband", {"r_l": "4", "resource_name": "y"}, "value of resource_name setting must be in parameters."),
    ("hyperband", {"r_l": "4", "resource_name": "kind"}, "the resource kind must be an int or a double parameter."),
    ("hyperband", {"r_l": "1e300", "eta": "1.5", "resource_name": "n"},
     "r_l 1e300 and eta 1.5 make more than 20 brackets; raise eta or lower r_l."),
    ("pbt", {"n_population": "40"}, "Required params missing: suggestion_trial_dir, truncation_threshold"),
    ("pbt", {"suggestion_trial_dir": "/c", "n_population": "4", "truncation_threshold": "0.2"},
     "Param(n_population) should be >= 5 and at most 10000"),
    ("pbt", {"suggestion_trial_dir": "/c", "n_population": "9", "truncation_threshold": "1.1"},
     "Param(truncation_threshold) should be between 0 and 1, inclusive"),
    ("pbt", {"suggestion_trial_dir": "/c", "n_population": "9", "truncation_threshold": "1",
             "resample_probability": "2"},
     "Param(resample_probability) should be null to perturb at 0.8 or 1.2, or be between 0 and 1, inclusive, to "
     "resample"),
    ("hyperband", {"r_l": "4", "resource_name": "n", "random_state": "x"},
     "failed to validate random_state(x): invalid literal for int() with base 10: 'x'"),
    ("sobol", {"random_state": "-1", "passed": "over"}, "random_state should be great or equal than zero"),
    ("darts", {"num_epochs": "0"}, "num_epochs should be greater than zero"),
    ("darts", {"w_lr": "-1"}, "w_lr should be greater than or equal to zero"),
    ("darts", {"batch_size": "0"}, "batch_size should be greater than or equal to one"),
    ("darts", {"batch_size": "None", "own": "passed on"}, None),
]


@pytest.mark.parametrize(("algorithm", "settings", "message"), SETTINGS_CASES)
def test_settings(algorithm: str, settings: dict[str, str], message: str | None) -> None:
    found = [(one.path, one.message) for one in check(search(algorithm, STEPPED, settings=settings))]
    assert found == ([] if message is None else [(SETTINGS, message)])


PARAMETER_CASES = [
    (Parameter(name="x", type="double", min="2", max="1"), "feasibleSpace.max", "1 is less than the min, 2"),
    (Parameter(name="x", type="int", min="1", max="ten"), "feasibleSpace.max", '"ten" is not a whole number'),
    (Parameter(name="x", type="int", min="1.5", max="3"), "feasibleSpace.min", '"1.5" is not a whole number'),
    (Parameter(name="x", type="double", min="0", max="inf"), "feasibleSpace.max", '"inf" is not a finite number'),
    (Parameter(name="x", type="double", min="nan", max="1"), "feasibleSpace.min", '"nan" is not a finite number'),
    (Parameter(name="x", type="double", min="0", max="1", step="0"), "feasibleSpace.step", "must be greater than zero"),
    (Parameter(name="x", type="double", min="0", max="1", step="1e-300"), "feasibleSpace.step",
     "at most 9223372036854775808 steps may lie between min and max"),
    (Parameter(name="x", type="double", min="-1e308", max="1e308"), "feasibleSpace.max",
     "min and max are too far apart"),
    (Parameter(name="x", type="int", min="0", max="9" * 400), "feasibleSpace.max",
     f'"{"9" * 400}" is not a whole number'),
    (Parameter(name="x", type="double", min="0", max="1", distribution="logUniform"), "feasibleSpace.min",
     "must be greater than zero for the distribution logUniform"),
    (Parameter(name="x", type="categorical"), "feasibleSpace.list",
     "must be specified for parameterType: categorical"),
]


@pytest.mark.parametrize(("parameter", "field", "message"), PARAMETER_CASES)
def test_parameters(parameter: Parameter, field: str, message: str) -> None:
    assert [(one.path, one.message) for one in check(search("random", [parameter]))] == [
        (f"spec.parameters[0].{field}", message)]


def test_a_name_twice() -> None:
    assert [one.message for one in check(search("random", [_X, _X]))] == ["Detect duplicated parameter name: x"]


def test_grids_that_cannot_be() -> None:
    [fault] = check(search("grid", [_X]))
    assert fault.message.startswith("Param x step is nil;")
    [fault] = check(search("grid", STEPPED, max_trials=31))
    assert fault.message == "Max Trial Count: 31 > all possible search combinations: 30"
    assert not check(search("grid", STEPPED, max_trials=30))


def test_evolution_wants_two_numbers() -> None:
    assert [one.message for one in check(search("cmaes", [_X]))] == [
        "cmaes only supports two or more dimensional continuous search space."]


def test_enas_and_unknown_names_are_refused_clearly() -> None:
    [enas] = check(search("enas", [_X]))
    assert enas.path == NAME and "enas is not served" in enas.message and "darts" in enas.message
    [unknown] = check(search("annealing", [_X]))
    assert unknown.message.startswith("unknown algorithm name annealing; there are bayesianoptimization, cmaes,")


def test_several_objectives_want_an_algorithm_that_takes_them() -> None:
    both = (Objective(metric="loss", goal_type="minimize"), Objective(metric="speed", goal_type="maximize"))
    assert not check(search("tpe", objectives=both))
    [fault] = check(search("cmaes", objectives=both))
    assert fault.message.startswith("cmaes takes one objective; several are taken by darts, grid, multivariate-tpe")


def test_darts_names_the_operation_that_is_incomplete() -> None:
    [fault] = check(search("darts", (), nas_config=NAS | {"operations": [{"operationType": "conv"}]}))
    assert (fault.path, fault.message) == ("spec.nasConfig.operations[0].parameters",
                                           "Missing ParameterConfigs in Operation")


def test_checking_imports_no_library() -> None:
    code = ("import sys; import lightship.domains.tuning.algorithms.checks, lightship.domains.tuning.algorithms.worker;"
            "print([name for name in ('optuna', 'numpy', 'scipy', 'sklearn', 'cmaes') if name in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
