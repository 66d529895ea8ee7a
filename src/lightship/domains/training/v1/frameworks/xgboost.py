"""XGBoostJob: a master that holds the tracker, and workers; LightGBM's list of workers besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import Framework, Job, PodSpec, plain, with_variables
from lightship.domains.training.v1.resources import resource

_SPECS = "xgbReplicaSpecs"


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    masters = job.replicas[names.MASTER].count
    variables = [
        plain("MASTER_PORT", job.port(names.MASTER)),
        plain("MASTER_ADDR", job.host(names.MASTER, 0)),
        plain("WORLD_SIZE", job.total),
        plain("RANK", index + masters if type == names.WORKER else index),
        plain("PYTHONUNBUFFERED", 1),
    ]
    if job.total > 1:
        workers = [job.host(names.WORKER, one) for one in range(job.total - 1)]
        variables += [plain("WORKER_PORT", job.port(names.WORKER)), plain("WORKER_ADDRS", ",".join(workers))]
    return with_variables(spec, variables)


def _check(spec: Mapping[str, Any]) -> Iterable[FieldError]:
    master = (spec.get(_SPECS) or {}).get(names.MASTER)
    if master is None:
        yield FieldError(path=f"spec.{_SPECS}[{names.MASTER}]", message="Required value: must be present")
    elif master.get("replicas") != 1:
        yield FieldError(path=f"spec.{_SPECS}[{names.MASTER}].replicas", message="Forbidden: must be 1")


FRAMEWORK = Framework(
    resource=resource("XGBoostJob"), specs=_SPECS, types=(names.MASTER, names.WORKER), container="xgboost",
    port_name="xgboostjob-port", port=9999, restart_policy=names.NEVER, shape=_shape, check=_check)
