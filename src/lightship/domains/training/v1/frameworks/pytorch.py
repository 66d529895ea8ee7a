"""PyTorchJob: ranks that meet at the master, or elastic workers that meet at the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightship.client.client import EVERYTHING
from lightship.domains.furniture import FieldError
from lightship.domains.training import schema as s
from lightship.domains.training.v1 import elastic, names
from lightship.domains.training.v1.framework import (
    Framework,
    Job,
    PodSpec,
    Tally,
    Variable,
    led,
    master_or_worker,
    plain,
    with_variables,
)
from lightship.domains.training.v1.resources import resource
from lightship.kube.resources import HORIZONTAL_POD_AUTOSCALERS

_SPECS = "pytorchReplicaSpecs"
_WAITS = ("err=1;for i in $(seq 1000); do if nslookup {host} || getent hosts {host}; then err=0 && break; fi;"
          "echo waiting for master; sleep 0.2; done; exit $err")
"""Upstream's own, less patient between two tries, and content with an image that has no nslookup."""


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    variables = [plain("PYTHONUNBUFFERED", 1)]
    if names.MASTER in job.replicas:
        variables += _ranked(job, index + 1 if type == names.WORKER else index)
    if job.spec.get("nprocPerNode") is not None:
        variables.append(plain("PET_NPROC_PER_NODE", job.spec["nprocPerNode"]))
    policy = job.spec.get("elasticPolicy")
    variables += _elastic(job, policy) if policy is not None else [plain("PET_NNODES", job.total)]
    shaped = with_variables(spec, variables)
    if names.MASTER in job.replicas and type == names.WORKER:
        shaped["initContainers"] = [*(shaped.get("initContainers") or ()), _waiting(job)]
    return shaped


def _ranked(job: Job, rank: int) -> list[Variable]:
    port, host = job.port(names.MASTER), job.host(names.MASTER, 0)
    return [plain("MASTER_PORT", port), plain("PET_MASTER_PORT", port), plain("MASTER_ADDR", host),
            plain("PET_MASTER_ADDR", host), plain("WORLD_SIZE", job.total * _processes(job)),
            plain("RANK", rank), plain("PET_NODE_RANK", rank)]


def _processes(job: Job) -> int:
    """The processes of a node, as far as they are known before it starts: ``auto`` and its like count as one."""
    given = str(job.spec.get("nprocPerNode", ""))
    return int(given) if given.isascii() and given.isdigit() else 1


def _elastic(job: Job, policy: Mapping[str, Any]) -> list[Variable]:
    workers = job.replicas[names.WORKER].count if names.WORKER in job.replicas else 0
    host = policy.get("rdzvHost") or job.host(names.WORKER, 0)
    port = job.port(names.WORKER) if policy.get("rdzvPort") is None else policy["rdzvPort"]
    low, high = elastic.bounds(policy, workers)
    variables = [plain("PET_RDZV_ENDPOINT", f"{host}:{port}"),
                 plain("PET_RDZV_BACKEND", policy.get("rdzvBackend") or "c10d"), plain("PET_NNODES", f"{low}:{high}")]
    for field, name in (("maxRestarts", "PET_MAX_RESTARTS"), ("nProcPerNode", "PET_NPROC_PER_NODE"),
                        ("rdzvId", "PET_RDZV_ID")):
        if policy.get(field) is not None:
            variables.append(plain(name, policy[field]))
    if policy.get("rdzvConf"):
        variables.append(plain("PET_RDZV_CONF", ",".join(
            f"{one.get('key', '')}={one.get('value', '')}" for one in policy["rdzvConf"])))
    if policy.get("standalone"):
        variables.append(plain("PET_STANDALONE", ""))
    return variables


def _waiting(job: Job) -> dict[str, Any]:
    """The init container of workers: it ends once the master's name is known."""
    return {"name": "init-pytorch", "image": "alpine:3.10", "imagePullPolicy": "IfNotPresent",
            "resources": {"limits": {"cpu": "100m", "memory": "20Mi"}, "requests": {"cpu": "50m", "memory": "10Mi"}},
            "command": ["sh", "-c", _WAITS.format(host=job.host(names.MASTER, 0))]}


def _succeeded(job: Job, tally: Tally) -> bool:
    """The leading type as a whole; of elastic workers one, since all end together."""
    if led(job, tally):
        return True
    counts = tally.counts.get(names.WORKER)
    return (master_or_worker(job) == names.WORKER and job.spec.get("elasticPolicy") is not None
            and counts is not None and counts.succeeded > 0)


def _master_role(job: Job, type: str, index: int) -> bool:
    return type == names.MASTER if names.MASTER in job.replicas else index == 0


def _default(spec: dict[str, Any]) -> dict[str, Any]:
    if spec.get("nprocPerNode") is None and (spec.get("elasticPolicy") or {}).get("nProcPerNode") is None:
        return spec | {"nprocPerNode": "auto"}
    return spec


def _check(spec: Mapping[str, Any]) -> Iterable[FieldError]:
    yield from elastic.check(spec, _SPECS)
    if (spec.get("elasticPolicy") or {}).get("nProcPerNode") is not None and spec.get("nprocPerNode") is not None:
        yield FieldError(path="spec.elasticPolicy.nProcPerNode",
                         message="Forbidden: must not be used with spec.nprocPerNode")
    for type, replicas in (spec.get(_SPECS) or {}).items():
        count, place = replicas.get("replicas"), f"spec.{_SPECS}[{type}].replicas"
        if type == names.MASTER and count != 1:
            yield FieldError(path=place, message="Forbidden: must be 1")
        elif type == names.WORKER and count is not None and count < 1:
            yield FieldError(path=place, message="Forbidden: must be at least 1")


_POLICY: Sequence[tuple[str, s.Schema]] = (
    *elastic.FIELDS.items(), ("nProcPerNode", s.number()), ("rdzvBackend", s.text()), ("rdzvHost", s.text()),
    ("rdzvId", s.text()), ("rdzvPort", s.number()), ("standalone", {"type": "boolean"}),
    ("rdzvConf", s.list_of(s.object_of((), key=s.text(), value=s.text()))))

FRAMEWORK = Framework(
    resource=resource("PyTorchJob", scaled=_SPECS), specs=_SPECS, types=(names.MASTER, names.WORKER),
    container="pytorch", port_name="pytorchjob-port", port=23456, restart_policy=names.ON_FAILURE, shape=_shape,
    succeeded=_succeeded, master_role=_master_role, default=_default, check=_check,
    fields={"elasticPolicy": s.object_of((), **dict(_POLICY)), "nprocPerNode": s.text()},
    extras=elastic.autoscaler, extra_kinds=((HORIZONTAL_POD_AUTOSCALERS, EVERYTHING),))
