"""TFJob: tasks that find each other by ``TF_CONFIG``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training import schema as s
from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import (
    Framework,
    Job,
    PodSpec,
    Tally,
    Words,
    by_path,
    plain,
    with_variables,
)
from lightship.domains.training.v1.resources import resource

_SPECS = "tfReplicaSpecs"
_CHIEFS = (names.CHIEF, names.MASTER)
_ALL_WORKERS = "AllWorkers"


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    """``TF_CONFIG`` for the main container, unless there is only one replica and so nobody to find."""
    if job.total == 1:
        return spec
    return with_variables(spec, [plain("TF_CONFIG", config(job, type, index))], only="tensorflow")


def config(job: Job, type: str, index: int) -> str:
    """The text of ``TF_CONFIG``, keys in upstream's order."""
    cluster = {one.lower(): [f"{job.host(one, place)}.{job.namespace}.svc:{job.port(one)}"
                             for place in range(job.replicas[one].count)] for one in sorted(job.replicas)}
    task = {"type": type.lower(), "index": index}
    if job.spec.get("enableDynamicWorker"):
        return _text({"cluster": _sparse(cluster, type.lower(), index), "task": task})
    return _text({"cluster": cluster, "task": task, "environment": "cloud"})


def _sparse(cluster: Mapping[str, list[str]], type: str, index: int) -> dict[str, Any]:
    """What one task must know where workers come and go: itself and the parameter servers."""
    if type == "ps":
        return {"worker": {}, "ps": [cluster[type][index]]}
    if type == "worker":
        return {"worker": {str(index): cluster[type][index]}, "ps": cluster.get("ps")}
    return {"worker": {}, "ps": []}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _leader(job: Job) -> str:
    """The chief or master, else the workers; a job of neither is judged by what it has."""
    known = [type for type in (*_CHIEFS, names.WORKER) if type in job.replicas]
    return (known or list(job.replicas))[0]


def _succeeded(job: Job, tally: Tally) -> bool:
    """The leading type as a whole, or worker 0, unless all workers are asked for."""
    leader = _leader(job)
    if tally.all_succeeded(job, leader):
        return True
    return (leader == names.WORKER and job.spec.get("successPolicy") != _ALL_WORKERS
            and (names.WORKER, 0) in tally.done)


def _master_role(job: Job, type: str, index: int) -> bool:
    if any(chief in job.replicas for chief in _CHIEFS):
        return type in _CHIEFS
    return type == names.WORKER and index == 0


def _tolerates(job: Job, type: str) -> bool:
    return type == names.WORKER and bool(job.spec.get("enableDynamicWorker"))


def _words(job: Job) -> Words:
    said = by_path(job)
    return Words(running=said.running, succeeded=said.succeeded, restarting=said.restarting,
                 failed=f"{job.kind} {job.namespace}/{job.name} has failed because {{count}} {{type}} replica(s) "
                        "failed.")


def _check(spec: Mapping[str, Any]) -> Iterable[FieldError]:
    if sum(type in _CHIEFS for type in spec.get(_SPECS) or {}) > 1:
        yield FieldError(path=f"spec.{_SPECS}", message="Forbidden: must not have more than 1 Chief or Master role")


FRAMEWORK = Framework(
    resource=resource("TFJob"), specs=_SPECS,
    types=(names.CHIEF, names.EVALUATOR, names.MASTER, names.PS, names.WORKER), container="tensorflow",
    port_name="tfjob-port", port=2222, restart_policy=names.NEVER, shape=_shape, leader=_leader,
    succeeded=_succeeded, master_role=_master_role, tolerates=_tolerates, words=_words,
    default=lambda spec: {"successPolicy": ""} | spec, check=_check,
    fields={"enableDynamicWorker": {"type": "boolean"}, "successPolicy": s.text()})
