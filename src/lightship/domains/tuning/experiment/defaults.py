"""What an Experiment's author need not say, as upstream fills it in. Pure; admission calls me before it validates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.domains.tuning import names
from lightship.kube import objects
from lightship.kube.objects import Object

PARALLEL_TRIALS = 3
FILE_PATH = "/var/log/katib/metrics.log"
EVENT_DIRECTORY = "/var/log/katib/tfevent/"
PROMETHEUS_PATH, PROMETHEUS_PORT = "/metrics", 8080
STDOUT, FILE, EVENTS, PROMETHEUS = "StdOut", "File", "TensorFlowEvent", "PrometheusMetric"
CUSTOM, PUSH, NONE = "Custom", "Push", "None"
V1_KINDS = ("TFJob", "PyTorchJob", "XGBoostJob", "MPIJob", "PaddleJob", "JAXJob")
"""Upstream has defaults for the first four; the last two are as the others."""
V1_PRIMARY = {"training.kubeflow.org/job-role": "master"}
TRAIN_JOB_PRIMARY = {"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "0"}


def default(obj: Object) -> Object:
    """The Experiment with its defaults."""
    spec = objects.spec(obj)
    filled = dict(spec)
    filled.setdefault("parallelTrialCount", PARALLEL_TRIALS)
    filled["resumePolicy"] = spec.get("resumePolicy") or names.NEVER
    if isinstance(spec.get("objective"), dict):
        filled["objective"] = _objective(spec["objective"])
    if isinstance(spec.get("trialTemplate"), dict):
        filled["trialTemplate"] = _template(spec["trialTemplate"])
    filled["metricsCollectorSpec"] = _collector(spec.get("metricsCollectorSpec") or {})
    if isinstance(spec.get("parameters"), list):
        filled["parameters"] = [_parameter(one) for one in spec["parameters"]]
    return obj | {"spec": filled}


def condition(type: str) -> str:
    """The GJSON that finds a true condition of ``type``."""
    return f'status.conditions.#(type=="{type}")#|#(status=="True")#'


def conditions_of(kind: str) -> tuple[str, str]:
    """How a run of ``kind`` tells success and failure; empty where only its author knows."""
    if kind in ("Job", "TrainJob"):
        return condition("Complete"), condition("Failed")
    if kind in V1_KINDS:
        return condition("Succeeded"), condition("Failed")
    return "", ""


def strategy(type: Any) -> str:
    """Which of a metric's values counts for an objective of ``type``."""
    return {names.MINIMIZE: "min", names.MAXIMIZE: "max"}.get(str(type), "latest")


def _objective(objective: Mapping[str, Any]) -> dict[str, Any]:
    strategies = [dict(one) for one in objective.get("metricStrategies") or ()]
    known = {one.get("name") for one in strategies}
    wanted = [(objective.get("objectiveMetricName"), objective.get("type"))]
    wanted += [(one.get("objectiveMetricName"), one.get("type"))
               for one in objective.get("additionalObjectives") or ()]
    wanted += [(name, objective.get("type")) for name in objective.get("additionalMetricNames") or ()]
    for name, type in wanted:
        if name and name not in known:
            known.add(name)
            strategies.append({"name": name, "value": strategy(type)})
    return dict(objective) | {"metricStrategies": strategies}


def _template(template: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(template)
    run = template.get("trialSpec")
    if not isinstance(run, Mapping):
        return filled
    kind = str(run.get("kind") or "")
    for name, value in zip(("successCondition", "failureCondition"), conditions_of(kind), strict=True):
        if value and not template.get(name):
            filled[name] = value
    if not template.get("primaryPodLabels"):
        if kind == "TrainJob":
            filled["primaryPodLabels"] = dict(TRAIN_JOB_PRIMARY)
        elif kind in V1_KINDS:
            filled["primaryPodLabels"] = dict(V1_PRIMARY)
    return filled


def _collector(spec: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(spec)
    collector = spec.get("collector") or {"kind": STDOUT}
    filled["collector"] = collector
    kind, source = collector.get("kind"), dict(spec.get("source") or {})
    place = dict(source.get("fileSystemPath") or {})
    if kind == PROMETHEUS:
        get = dict(source.get("httpGet") or {})
        filled["source"] = source | {"httpGet": get | {"path": get.get("path") or PROMETHEUS_PATH,
                                                      "port": get.get("port") or PROMETHEUS_PORT}}
    elif kind == FILE:
        filled["source"] = source | {"fileSystemPath": {
            "kind": place.get("kind") or "File", "path": place.get("path") or FILE_PATH,
            "format": place.get("format") or "TEXT"}}
    elif kind == EVENTS:
        filled["source"] = source | {"fileSystemPath": place | {
            "kind": place.get("kind") or "Directory", "path": place.get("path") or EVENT_DIRECTORY}}
    return filled


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    space = parameter.get("feasibleSpace")
    if not isinstance(space, Mapping) or not space or space.get("distribution"):
        return dict(parameter)
    return dict(parameter) | {"feasibleSpace": dict(space) | {"distribution": "uniform"}}
