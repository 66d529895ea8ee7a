"""What each framework wants of the training nodes: how many there are, and the variables by which they meet.

Pure; ``lower`` calls ``enforce`` with its draft. Variables are given only where the TrainJob has ``spec.trainer``, as
upstream does, so that a runtime can be used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightship.domains.training import names
from lightship.domains.training.train_job import mpi
from lightship.domains.training.train_job.draft import Draft, gpus, upsert
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

RESERVED: Mapping[str, frozenset[str]] = {
    "torch": frozenset({"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}),
    "xgboost": frozenset({"DMLC_TRACKER_URI", "DMLC_TRACKER_PORT", "DMLC_TASK_ID", "DMLC_NUM_WORKER"}),
    "mpi": mpi.RESERVED,
}
"""Variables that a user may not set, by policy."""

Variable = dict[str, Any]


def enforce(draft: Draft, job: Object, policy: Mapping[str, Any]) -> None:
    """Set the number of nodes, then the policy's variables."""
    trainer = objects.spec(job).get("trainer")
    steps = draft.with_step(names.TRAINER)
    mpi_policy = mpi.of(policy)
    if trainer is not None and trainer.get("numNodes") is not None and mpi_policy is None:
        for step in steps[:1]:
            step.count = int(trainer["numNodes"])
    nodes = steps[0].count if steps else 1
    node = steps[0].container(names.NODE) if steps else None
    if trainer is not None and node is not None:
        node.env = upsert(node.env, trainer.get("env") or ())
    if mpi_policy is not None:
        mpi.enforce(draft, job, mpi_policy, resources_of_node(draft, job))
    elif policy.get("torch") is not None:
        _torch(draft, job, policy["torch"], nodes)
    elif node is None or trainer is None:
        return
    elif policy.get("jax") is not None:
        node.add(_jax(job, nodes))
    elif policy.get("xgboost") is not None:
        node.add(_xgboost(job, nodes * (gpus(resources_of_node(draft, job)) or 1)))


def _torch(draft: Draft, job: Object, torch: Mapping[str, Any], nodes: int) -> None:
    trainer = objects.spec(job).get("trainer")
    variables = [
        _plain("PET_NNODES", nodes),
        _plain("PET_NPROC_PER_NODE", processes(trainer or {}, resources_of_node(draft, job))),
        _from_index("PET_NODE_RANK"),
        _plain("PET_MASTER_ADDR", names.first_node(objects.name(job))),
        _plain("PET_MASTER_PORT", names.PORT),
    ]
    steps = draft.with_step(names.TRAINER)
    node = steps[0].container(names.NODE) if steps else None
    if trainer is not None and node is not None:
        node.add(variables)
    for target in (torch.get("envInjection") or {}).get("targets") or ():
        for name in target["containerNames"]:
            other = draft.container(target["jobName"], name)
            if other is not None:  # admission has refused a runtime's target that is not there
                other.env = upsert(other.env, variables)


def processes(trainer: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """The processes of a node: as asked, ``auto`` where it has GPUs, else one for each CPU."""
    if trainer.get("numProcPerNode") is not None:
        return str(trainer["numProcPerNode"])
    if gpus(resources):
        return "auto"
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu = quantities.whole(requests.get("cpu") or 0) or quantities.whole(limits.get("cpu") or 0)
    return str(max(1, cpu))


def resources_of_node(draft: Draft, job: Object) -> Mapping[str, Any]:
    """The TrainJob's resources a node where it has any, else the runtime's."""
    trainer = objects.spec(job).get("trainer") or {}
    if trainer.get("resourcesPerNode") is not None:
        return dict(trainer["resourcesPerNode"])
    steps = draft.with_step(names.TRAINER)
    node = steps[0].container(names.NODE) if steps else None
    return (node.body.get("resources") or {}) if node is not None else {}


def _jax(job: Object, nodes: int) -> Sequence[Variable]:
    return (_plain("JAX_NUM_PROCESSES", nodes), _from_index("JAX_PROCESS_ID"),
            _plain("JAX_COORDINATOR_ADDRESS", f"{names.first_node(objects.name(job))}:{names.PORT}"))


def _xgboost(job: Object, workers: int) -> Sequence[Variable]:
    return (_plain("DMLC_TRACKER_URI", names.first_node(objects.name(job))), _plain("DMLC_TRACKER_PORT", names.PORT),
            _from_index("DMLC_TASK_ID"), _plain("DMLC_NUM_WORKER", workers))


def _plain(name: str, value: object) -> Variable:
    return {"name": name, "value": str(value)}


def _from_index(name: str) -> Variable:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": names.COMPLETION_INDEX_PATH}}}
