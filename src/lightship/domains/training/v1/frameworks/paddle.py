"""PaddleJob: collective without a master, parameter servers with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightship.client.client import EVERYTHING
from lightship.domains.furniture import FieldError
from lightship.domains.training.v1 import elastic, names
from lightship.domains.training.v1.framework import (
    Framework,
    Job,
    PodSpec,
    Variable,
    master_or_worker,
    plain,
    with_variables,
)
from lightship.domains.training.v1.resources import resource
from lightship.kube.resources import HORIZONTAL_POD_AUTOSCALERS

_SPECS = "paddleReplicaSpecs"


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    return with_variables(spec, [
        plain("PYTHONUNBUFFERED", 1), plain("PADDLE_JOB_ID", job.name), plain("PADDLE_NNODES", job.total),
        *_meeting(job, type, index), *_part(job, type)])


def _meeting(job: Job, type: str, index: int) -> Sequence[Variable]:
    """Where all meet: the first replica listens at its own address, the others go there by name."""
    leader = master_or_worker(job)
    port = job.port(leader)
    if index == 0 and type == leader:
        return ({"name": "POD_IP_DUMMY", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                plain("PADDLE_MASTER", f"$(POD_IP_DUMMY):{port}"))
    return (plain("PADDLE_MASTER", f"{job.host(leader, 0)}:{port}"),)


def _part(job: Job, type: str) -> Sequence[Variable]:
    """Each Pod has one server or one trainer."""
    if names.MASTER not in job.replicas:
        return ()
    return (plain("PADDLE_SERVER_NUM" if type == names.MASTER else "PADDLE_TRAINER_NUM", 1),)


def _check(spec: Mapping[str, Any]) -> Iterable[FieldError]:
    return elastic.check(spec, _SPECS)


FRAMEWORK = Framework(
    resource=resource("PaddleJob", scaled=_SPECS), specs=_SPECS, types=(names.MASTER, names.WORKER),
    container="paddle", port_name="master", port=36543, restart_policy=names.ON_FAILURE, shape=_shape, check=_check,
    fields={"elasticPolicy": elastic.SCHEMA}, extras=elastic.autoscaler,
    extra_kinds=((HORIZONTAL_POD_AUTOSCALERS, EVERYTHING),))
