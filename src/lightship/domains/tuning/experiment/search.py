"""An Experiment as its algorithm sees it: the search, and what it is told of Trials. Pure.

Admission checks the search; ``decide`` and the reconciler ask with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.domains.tuning import names
from lightship.domains.tuning.algorithms.search import Objective, Parameter, Search
from lightship.kube import objects
from lightship.kube.objects import Object


def make(experiment: Object) -> Search:
    """The search of an Experiment; its uid is the study's key."""
    spec = objects.spec(experiment)
    algorithm = spec.get("algorithm") or {}
    uid = objects.uid(experiment)
    return Search(
        experiment=uid, parameters=tuple(_parameter(one) for one in spec.get("parameters") or ()),
        objectives=objectives(spec.get("objective") or {}), algorithm=str(algorithm.get("algorithmName") or ""),
        settings=settings(algorithm.get("algorithmSettings")), max_trials=spec.get("maxTrialCount"),
        parallel_trials=int(spec.get("parallelTrialCount") or 1), seed=names.seed(uid),
        nas_config=spec.get("nasConfig"))


def objectives(objective: Mapping[str, Any]) -> tuple[Objective, ...]:
    """All objectives, the leading one first."""
    wanted = [objective, *(objective.get("additionalObjectives") or ())]
    return tuple(Objective(metric=str(one.get("objectiveMetricName") or ""),
                           goal_type="maximize" if one.get("type") == names.MAXIMIZE else "minimize")
                 for one in wanted)


def settings(pairs: Any) -> dict[str, str]:
    """A list of names and values, as the CRDs have them, as a mapping."""
    return {str(one.get("name")): str(one.get("value") or "") for one in pairs or ()}


def _parameter(parameter: Mapping[str, Any]) -> Parameter:
    space = parameter.get("feasibleSpace") or {}
    return Parameter(
        name=str(parameter.get("name") or ""), type=parameter.get("parameterType") or "double",
        min=str(space.get("min") or ""), max=str(space.get("max") or ""), step=str(space.get("step") or ""),
        list=tuple(str(one) for one in space.get("list") or ()), distribution=str(space.get("distribution") or ""))
