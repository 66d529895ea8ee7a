"""What an Experiment must be to be accepted: the same in the embedded server and as a webhook. Pure.

``validate`` judges it alone and against what it was, ``validate_with`` with the ConfigMap that holds its template. The
words are upstream's where upstream checks; ``collector`` has those of metrics, ``template`` those of trial templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.tuning import early_stopping, names
from lightship.domains.tuning.algorithms import checks
from lightship.domains.tuning.experiment import collector, search, status, template
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, Resource

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_WORDS = (
    "name must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with "
    "an alphanumeric character (e.g. 'my-name', or 'abc-123', regex used for validation is "
    f"'^[a-z]([-a-z0-9]*[a-z0-9])?)') and may not be longer than {names.LIMIT_NAME_CHARACTERS} characters. ")
_TYPES = ("int", "double", "categorical", "discrete")
_DISTRIBUTIONS = ("uniform", "logUniform", "normal", "logNormal")
_BUDGET = ("parallelTrialCount", "maxTrialCount", "maxFailedTrialCount")
_OBJECTIVE = "spec.objective"
_PARAMETERS = "spec.parameters"


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with an Experiment by itself, and with its change."""
    found = [*_metadata(obj), *_budget(objects.spec(obj))]
    if old is not None:
        if objects.deleting(obj) or objects.spec(obj) == objects.spec(old):
            return ()  # a finalizer or a label: what it is was accepted before
        found += _change(obj, old)
    objective = [*_objective(objects.spec(obj).get("objective"))]
    if objective:
        return [*found, *objective]
    spec = objects.spec(obj)
    found += [*_algorithm(spec), *_resume(spec), *template.validate(obj), *_space(spec)]
    found += collector.validate(spec.get("metricsCollectorSpec") or {})
    if not found and old is None:
        found += checks.check(search.make(obj))
    return found


def related(obj: Object) -> tuple[Resource, Key] | None:
    """The ConfigMap with the trial template."""
    source = (objects.spec(obj).get("trialTemplate") or {}).get("configMap")
    if not isinstance(source, Mapping) or not source.get("configMapName"):
        return None
    return CONFIGMAPS, Key(str(source.get("configMapNamespace") or ""), str(source["configMapName"]))


def validate_with(obj: Object, old: Object | None, config_map: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a new Experiment for the template in its ConfigMap."""
    if old is not None or related(obj) is None:
        return ()
    return template.validate_text(obj, config_map)


def _metadata(obj: Object) -> Iterator[FieldError]:
    name = objects.name(obj)
    if name and (not _NAME.fullmatch(name) or len(name) > names.LIMIT_NAME_CHARACTERS):
        yield FieldError(path="metadata.name", message=_NAME_WORDS)


def _budget(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    most, failed, parallel = (spec.get(name) for name in ("maxTrialCount", "maxFailedTrialCount", "parallelTrialCount"))
    if failed is not None and failed < 0:
        yield FieldError(path="spec.maxFailedTrialCount", message="should not be less than 0")
    if most is not None and most <= 0:
        yield FieldError(path="spec.maxTrialCount", message="must be greater than 0")
    if parallel is not None and parallel <= 0:
        yield FieldError(path="spec.parallelTrialCount", message="must be greater than 0")
    for name, value in (("maxFailedTrialCount", failed), ("parallelTrialCount", parallel)):
        if value is not None and most is not None and value > most:
            yield FieldError(path=f"spec.{name}", message="should be less than or equal to spec.maxTrialCount")


def _change(obj: Object, old: Object) -> Iterator[FieldError]:
    """What may be edited, and when."""
    spec = objects.spec(obj)
    if status.ended(old) and not status.restartable(old):
        yield FieldError(path="spec.resumePolicy", message=(
            "Experiment can be restarted if it is in succeeded state by reaching max trials and spec.resumePolicy = "
            f"{names.LONG_RUNNING} or spec.resumePolicy = {names.FROM_VOLUME}, when experiment is completed"))
    most = spec.get("maxTrialCount")
    if most is not None and most <= int(objects.status(old).get("trials") or 0):
        yield FieldError(path="spec.maxTrialCount", message="must be greater than status.trials count")
    kept = {name: value for name, value in spec.items() if name not in _BUDGET}
    if kept != {name: value for name, value in objects.spec(old).items() if name not in _BUDGET}:
        yield FieldError(path="spec", message="only spec.parallelTrialCount, spec.maxTrialCount and "
                                              "spec.maxFailedTrialCount are editable")


def _objective(objective: Any) -> Iterator[FieldError]:
    if not isinstance(objective, Mapping):
        yield FieldError(path=_OBJECTIVE, message="must be specified")
        return
    first = str(objective.get("objectiveMetricName") or "")
    seen = {first}
    yield from _one_objective(objective, _OBJECTIVE)
    for place, one in enumerate(objective.get("additionalObjectives") or ()):
        path = f"{_OBJECTIVE}.additionalObjectives[{place}]"
        yield from _one_objective(one, path)
        if one.get("objectiveMetricName") in seen:
            yield FieldError(path=f"{path}.objectiveMetricName", message="must differ from the other objectives'")
        seen.add(str(one.get("objectiveMetricName")))
    if seen & set(objective.get("additionalMetricNames") or ()):
        yield FieldError(path=f"{_OBJECTIVE}.additionalMetricNames",
                         message="should not contain spec.objective.objectiveMetricName")
    for place, one in enumerate(objective.get("metricStrategies") or ()):
        if one.get("value") not in ("min", "max", "latest"):
            yield FieldError(path=f"{_OBJECTIVE}.metricStrategies[{place}].value", message="must be min, max or latest")


def _one_objective(objective: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    if objective.get("type") not in (names.MINIMIZE, names.MAXIMIZE):
        yield FieldError(path=f"{path}.type", message=f"must be {names.MINIMIZE} or {names.MAXIMIZE}")
    if not objective.get("objectiveMetricName"):
        yield FieldError(path=f"{path}.objectiveMetricName", message="must be specified")


def _algorithm(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    algorithm = spec.get("algorithm")
    if not isinstance(algorithm, Mapping):
        yield FieldError(path="spec.algorithm", message="must be specified")
    elif not algorithm.get("algorithmName"):
        yield FieldError(path="spec.algorithm.algorithmName", message="must be specified")
    stopping = spec.get("earlyStopping")
    if isinstance(stopping, Mapping):
        name = str(stopping.get("algorithmName") or "")
        if not name:
            yield FieldError(path="spec.earlyStopping.algorithmName", message="must be specified")
        else:
            yield from early_stopping.check(name, search.settings(stopping.get("algorithmSettings")))


def _resume(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    if spec.get("resumePolicy") not in names.RESUME_POLICIES:
        yield FieldError(path="spec.resumePolicy", message=(
            f"invalid ResumePolicyType: it is one of {', '.join(names.RESUME_POLICIES)}"))


def _space(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    parameters, nas = spec.get("parameters") or (), spec.get("nasConfig")
    if not parameters and not nas:
        yield FieldError(path="spec", message="spec.parameters or spec.nasConfig must be specified")
    if parameters and nas:
        yield FieldError(path="spec", message="only one of spec.parameters and spec.nasConfig can be specified")
    seen: set[str] = set()
    for place, parameter in enumerate(parameters):
        path = f"{_PARAMETERS}[{place}]"
        name = str(parameter.get("name") or "")
        if not name:
            yield FieldError(path=f"{path}.name", message="must be specified")
        elif name in seen:
            yield FieldError(path=f"{path}.name", message=f"parameter name {name} can't be duplicated")
        seen.add(name)
        yield from _parameter(parameter, path)


def _parameter(parameter: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    kind, space = parameter.get("parameterType"), parameter.get("feasibleSpace") or {}
    if kind not in _TYPES:
        yield FieldError(path=f"{path}.parameterType", message=f"parameterType: {kind} is not supported")
    if space.get("distribution") and space["distribution"] not in _DISTRIBUTIONS:
        yield FieldError(path=f"{path}.feasibleSpace.distribution",
                         message=f"distribution: {space['distribution']} is not supported")
    if not space:
        yield FieldError(path=f"{path}.feasibleSpace", message="feasibleSpace must be specified")
    elif kind in ("double", "int"):
        if space.get("list"):
            yield FieldError(path=f"{path}.feasibleSpace.list",
                             message=f"feasibleSpace.list is not supported for parameterType: {kind}")
        if not space.get("max") or not space.get("min"):
            yield FieldError(path=f"{path}.feasibleSpace.max", message=(
                f"feasibleSpace.max or feasibleSpace.min must be specified for parameterType: {kind}"))
    elif kind in ("categorical", "discrete"):
        if space.get("max") or space.get("min") or space.get("step"):
            yield FieldError(path=f"{path}.feasibleSpace", message=(
                f"feasibleSpace .max, .min and .step is not supported for parameterType: {kind}"))
        elif not space.get("list"):
            yield FieldError(path=f"{path}.feasibleSpace.list",
                             message=f"feasibleSpace.list must be specified for parameterType: {kind}")

