"""What is wrong with a search, before it begins: parameters, algorithm, settings; in Katib's words where it has some.

Pure, and without the algorithms' libraries: the Experiment's admission calls me, in the server and in a webhook alike.
Katib finds most of this only when its Suggestion's service is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.tuning.algorithms import hyperband, plain
from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import Parameter, Search
from lightship.domains.tuning.algorithms.space import axes

NAME = "spec.algorithm.algorithmName"
SETTINGS = "spec.algorithm.algorithmSettings"
PARAMETERS = "spec.parameters"

LIMIT_PARAMETERS = 1000
LIMIT_POPULATION = 10_000
LIMIT_BRACKETS = 20
LIMIT_STEPS = 2**63

_LOGARITHMIC = ("logUniform", "logNormal")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: how its text is read, which values it may have, and what is said of others."""

    read: Callable[[str], Any]
    holds: Callable[[Any], bool]
    otherwise: str


def check(search: Search) -> Sequence[FieldError]:
    """Everything wrong, in the order of the specification; nothing where the search can begin."""
    if search.algorithm == "enas":
        return (FieldError(path=NAME, message="enas is not served: its controller has no counterpart here; darts is "
                                              "the architecture search that is"),)
    if search.algorithm not in ALGORITHMS:
        return (FieldError(path=NAME, message=f"unknown algorithm name {search.algorithm}; there are "
                                              f"{', '.join(sorted(ALGORITHMS))}"),)
    found = list(_parameters(search.parameters))
    if len(search.objectives) > 1 and not ALGORITHMS[search.algorithm].several:
        able = sorted(name for name, one in ALGORITHMS.items() if one.several)
        found.append(FieldError(path=NAME, message=f"{search.algorithm} takes one objective; several are taken by "
                                                   f"{', '.join(able)}"))
    found += (FieldError(path=SETTINGS, message=message)
              for message in settings_faults(search.algorithm, *_judged(search)))
    further = _FURTHER.get(search.algorithm)
    if further is not None and not found:
        found += further(search)
    return found


def _judged(search: Search) -> tuple[Mapping[str, str], Mapping[str, Setting]]:
    """The settings that are judged, and how. Some algorithms pass over what they do not know, as Katib's do."""
    known = _SETTINGS.get(search.algorithm)
    if known is not None:
        return search.settings, known
    return {name: value for name, value in search.settings.items() if name in _STATE}, _STATE


def settings_faults(name: str, settings: Mapping[str, str], known: Mapping[str, Setting]) -> Iterator[str]:
    """What is wrong with settings, one by one."""
    for key, value in settings.items():
        setting = known.get(key)
        if setting is None:
            yield f"unknown setting {key} for algorithm {name}"
            continue
        try:
            holds = setting.holds(setting.read(value))
        except (ValueError, OverflowError) as error:
            yield f"failed to validate {key}({value}): {error}"
            continue
        if not holds:
            yield setting.otherwise.format(value=value)


# --- parameters


def _parameters(parameters: Sequence[Parameter]) -> Iterator[FieldError]:
    if len(parameters) > LIMIT_PARAMETERS:
        yield FieldError(path=PARAMETERS, message=f"at most {LIMIT_PARAMETERS}, and there are {len(parameters)}")
    seen: set[str] = set()
    for number, parameter in enumerate(parameters):
        path = f"{PARAMETERS}[{number}]"
        if parameter.name in seen:
            yield FieldError(path=f"{path}.name", message=f"Detect duplicated parameter name: {parameter.name}")
        seen.add(parameter.name)
        if parameter.type in ("double", "int"):
            yield from _numeric(f"{path}.feasibleSpace", parameter)
        elif not parameter.list:
            yield FieldError(path=f"{path}.feasibleSpace.list",
                             message=f"must be specified for parameterType: {parameter.type}")


def _numeric(path: str, parameter: Parameter) -> Iterator[FieldError]:
    numbers: dict[str, float] = {}
    for field, text in (("min", parameter.min), ("max", parameter.max), ("step", parameter.step)):
        if text:
            try:
                numbers[field] = _number(parameter.type, text)
            except (ValueError, OverflowError):
                kind = "a whole number" if parameter.type == "int" else "a finite number"
                yield FieldError(path=f"{path}.{field}", message=f'"{text}" is not {kind}')
    if "step" in numbers and numbers["step"] <= 0:
        yield FieldError(path=f"{path}.step", message="must be greater than zero")
    if "min" not in numbers or "max" not in numbers:
        return  # absent ones are the Experiment's own matter
    if numbers["min"] > numbers["max"]:
        yield FieldError(path=f"{path}.max", message=f"{parameter.max} is less than the min, {parameter.min}")
    elif not math.isfinite(numbers["max"] - numbers["min"]):
        yield FieldError(path=f"{path}.max", message="min and max are too far apart")
    step = numbers.get("step", 1.0 if parameter.type == "int" else math.inf)
    if step > 0 and numbers["max"] - numbers["min"] > step * LIMIT_STEPS:
        yield FieldError(path=f"{path}.step", message=f"at most {LIMIT_STEPS} steps may lie between min and max")
    if parameter.distribution in _LOGARITHMIC and numbers["min"] <= 0:
        yield FieldError(path=f"{path}.min", message=f"must be greater than zero for the distribution "
                                                     f"{parameter.distribution}")


def _number(kind: str, text: str) -> float:
    value = float(int(text)) if kind == "int" else float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError(text)
    return value


# --- each algorithm's own


def _grid(search: Search) -> Iterator[FieldError]:
    for number, parameter in enumerate(search.parameters):
        if parameter.type == "double" and not parameter.step:
            yield FieldError(path=f"{PARAMETERS}[{number}].feasibleSpace.step",
                             message=f"Param {parameter.name} step is nil; For discrete search space, all parameters "
                                     "must include step")
            return
    total = plain.combinations(axes(search.parameters))
    if search.max_trials is not None and search.max_trials > total:
        yield FieldError(path="spec.maxTrialCount", message=f"Max Trial Count: {search.max_trials} > all possible "
                                                            f"search combinations: {total}")


def _cmaes(search: Search) -> Iterator[FieldError]:
    if sum(one.type in ("double", "int") for one in search.parameters) < 2:
        yield FieldError(path=PARAMETERS,
                         message="cmaes only supports two or more dimensional continuous search space.")


def _hyperband(search: Search) -> Iterator[FieldError]:
    settings = search.settings
    if "r_l" not in settings or "resource_name" not in settings:
        yield FieldError(path=SETTINGS, message="r_l and resource_name must be set.")
        return
    try:
        largest = float(settings["r_l"])
    except ValueError:
        largest = -1.0
    if not (math.isfinite(largest) and largest >= 1):
        yield FieldError(path=SETTINGS, message="r_l must be a positive float number." if not largest > 0 else
                         f"r_l must be at least 1 and finite, and is {settings['r_l']}.")
        return
    try:
        eta = float(settings.get("eta", "3"))
    except ValueError:
        eta = math.nan
    if not math.isfinite(eta) or 0 < eta <= 1:
        yield FieldError(path=SETTINGS, message=f"eta must be a number greater than 1, and is {settings['eta']}.")
        return
    if hyperband.plan(settings)[2] > LIMIT_BRACKETS:
        yield FieldError(path=SETTINGS, message=f"r_l {settings['r_l']} and eta {eta:g} make more than "
                                                f"{LIMIT_BRACKETS} brackets; raise eta or lower r_l.")
    resource = next((one for one in search.parameters if one.name == settings["resource_name"]), None)
    if resource is None:
        yield FieldError(path=SETTINGS, message="value of resource_name setting must be in parameters.")
    elif resource.type not in ("int", "double"):
        yield FieldError(path=SETTINGS, message=f"the resource {resource.name} must be an int or a double parameter.")


def _pbt(search: Search) -> Iterator[FieldError]:
    settings = search.settings
    missing = [name for name in ("suggestion_trial_dir", "n_population", "truncation_threshold")
               if name not in settings]
    if missing:
        yield FieldError(path=SETTINGS, message=f"Required params missing: {', '.join(missing)}")
        return
    for message in settings_faults("pbt", {name: settings[name] for name in _PBT if name in settings}, _PBT):
        yield FieldError(path=SETTINGS, message=message)


def _darts(search: Search) -> Iterator[FieldError]:
    known = {name: value for name, value in search.settings.items() if name in _DARTS and value != "None"}
    for message in settings_faults("darts", known, _DARTS):
        yield FieldError(path=SETTINGS, message=message)
    config = search.nas_config or {}
    operations = config.get("operations") or ()
    if not operations:
        yield FieldError(path="spec.nasConfig.operations", message="darts needs the operations to choose among")
    for number, operation in enumerate(operations):
        path = f"spec.nasConfig.operations[{number}]"
        if not operation.get("operationType"):
            yield FieldError(path=f"{path}.operationType", message="Missing operationType in Operation")
        parameters = operation.get("parameters") or ()
        if not parameters:
            yield FieldError(path=f"{path}.parameters", message="Missing ParameterConfigs in Operation")
        for index, parameter in enumerate(parameters):
            yield from _operation(f"{path}.parameters[{index}]", parameter)


def _operation(path: str, parameter: Mapping[str, Any]) -> Iterator[FieldError]:
    space = parameter.get("feasibleSpace") or {}
    kind = parameter.get("parameterType")
    if not parameter.get("name"):
        yield FieldError(path=f"{path}.name", message="Missing Name in ParameterConfig")
    if not kind:
        yield FieldError(path=f"{path}.parameterType", message="Missing ParameterType in ParameterConfig")
    elif kind in ("categorical", "discrete"):
        if not space.get("list"):
            yield FieldError(path=f"{path}.feasibleSpace.list", message="Missing List in ParameterConfig.feasibleSpace")
    elif not space.get("min") and not space.get("max"):
        yield FieldError(path=f"{path}.feasibleSpace", message="Missing Max and Min in ParameterConfig.feasibleSpace")
    elif kind == "double" and not space.get("step"):
        yield FieldError(path=f"{path}.feasibleSpace.step",
                         message="Step parameter should be > 0 in ParameterConfig.feasibleSpace")


_FURTHER: Mapping[str, Callable[[Search], Iterator[FieldError]]] = {
    "grid": _grid, "cmaes": _cmaes, "hyperband": _hyperband, "pbt": _pbt, "darts": _darts,
}


# --- settings


def _count(name: str, words: str = "great or equal than zero") -> Setting:
    return Setting(read=int, holds=lambda value: value >= 0, otherwise=f"{name} should be {words}")


def _one_of(what: str, *values: str) -> Setting:
    return Setting(read=str, holds=lambda value: value in values, otherwise=what)


def _positive(read: Callable[[str], Any], message: str) -> Setting:
    return Setting(read=read, holds=lambda value: value > 0 and math.isfinite(value), otherwise=message)


def _rate(name: str) -> Setting:
    return Setting(read=float, holds=lambda value: value >= 0 and math.isfinite(value),
                   otherwise=f"{name} should be greater than or equal to zero")


def _least(name: str, least: int, words: str) -> Setting:
    return Setting(read=int, holds=lambda value: value >= least, otherwise=f"{name} should be {words}")


_STATE = {"random_state": _count("random_state")}
_OPTUNA = {"n_startup_trials": _count("n_startup_trials"), "n_ei_candidates": _count("n_ei_candidates")}
_PBT: Mapping[str, Setting] = {
    "n_population": Setting(read=int, holds=lambda value: 5 <= value <= LIMIT_POPULATION,
                            otherwise=f"Param(n_population) should be >= 5 and at most {LIMIT_POPULATION}"),
    "truncation_threshold": Setting(
        read=float, holds=lambda value: 0 <= value <= 1,
        otherwise="Param(truncation_threshold) should be between 0 and 1, inclusive"),
    "resample_probability": Setting(
        read=float, holds=lambda value: 0 <= value <= 1,
        otherwise="Param(resample_probability) should be null to perturb at 0.8 or 1.2, or be between 0 and 1, "
                  "inclusive, to resample"),
}
_DARTS: Mapping[str, Setting] = {
    "num_epochs": _least("num_epochs", 1, "greater than zero"),
    "batch_size": _least("batch_size", 1, "greater than or equal to one"),
    "num_workers": _least("num_workers", 0, "greater than or equal to zero"),
} | {name: _least(name, 1, "greater than or equal to one")
     for name in ("init_channels", "print_step", "num_nodes", "stem_multiplier")
     } | {name: _rate(name) for name in ("w_lr", "w_lr_min", "alpha_lr", "w_weight_decay", "alpha_weight_decay",
                                         "w_momentum", "w_grad_clip")}

_SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "random": _STATE,
    "grid": _STATE,
    # Katib's default engine for tpe is hyperopt, its other one Optuna; both write their settings differently.
    "tpe": _STATE | _OPTUNA | {
        "gamma": Setting(read=float, holds=lambda value: 0 < value < 1,
                         otherwise="gamma should be in the range of (0, 1)"),
        "prior_weight": _positive(float, "prior_weight should be great than zero"),
        "n_EI_candidates": _positive(int, "n_EI_candidates should be great than zero"),
    },
    "multivariate-tpe": _STATE | _OPTUNA,
    "cmaes": _STATE | {
        "restart_strategy": _one_of("restart_strategy {value} is not supported in CMAES optimization",
                                    "none", "None", "ipop", "bipop"),
        "sigma": Setting(read=float, holds=lambda value: value >= 0 and math.isfinite(value),
                         otherwise="sigma should be great or equal than zero"),
    },
    "bayesianoptimization": _STATE | {
        "base_estimator": _one_of("base_estimator {value} is not supported in Bayesian optimization",
                                  "GP", "RF", "ET", "GBRT"),
        "n_initial_points": _count("n_initial_points"),
        "acq_func": _one_of("acq_func {value} is not supported in Bayesian optimization",
                            "gp_hedge", "LCB", "EI", "PI", "EIps", "PIps"),
        "acq_optimizer": _one_of("acq_optimizer {value} is not supported in Bayesian optimization",
                                 "auto", "sampling", "lbfgs"),
    },
}
