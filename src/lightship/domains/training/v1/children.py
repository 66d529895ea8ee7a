"""The Pods and Services of a replica. Pure; ``plan`` calls me for those that are missing."""

from __future__ import annotations

from typing import Any

from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import Job
from lightship.kube import objects
from lightship.kube.objects import Object


def labels(job: Job) -> dict[str, str]:
    """What marks every child of a job."""
    return {names.JOB_LABEL: job.name, names.OPERATOR_LABEL: names.operator(job.kind)}


def replica_labels(job: Job, type: str, index: int) -> dict[str, str]:
    """What marks the children of one replica, and chooses its Pod."""
    return labels(job) | {names.TYPE_LABEL: type.lower(), names.INDEX_LABEL: str(index)}


def selector(job: Job, type: str) -> str:
    """The labels of a type's Pods as text, sorted, for ``scale``."""
    wanted = labels(job) | {names.TYPE_LABEL: type.lower()}
    return ",".join(f"{name}={wanted[name]}" for name in sorted(wanted))


def make_pod(job: Job, type: str, index: int) -> Object:
    """A replica's Pod: the template, and what its peers and the framework expect."""
    replicas = job.replicas[type]
    template = objects.meta(replicas.template)
    own = replica_labels(job, type, index)
    if job.framework.master_role(job, type, index):
        own[names.ROLE_LABEL] = names.MASTER_ROLE
    metadata: dict[str, Any] = {
        "name": job.host(type, index), "namespace": job.namespace,
        "labels": dict(template.get("labels") or {}) | own,
        "ownerReferences": [objects.owner_reference(job.obj)]}
    if template.get("annotations"):
        metadata["annotations"] = dict(template["annotations"])
    policy = names.NEVER if replicas.restart_policy == names.EXIT_CODE else replicas.restart_policy
    spec = job.framework.shape(dict(objects.spec(replicas.template)), job, type, index)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | {"restartPolicy": policy}}


def make_service(job: Job, type: str, index: int) -> Object:
    """The headless Service by whose name a replica is found: with the ports of its main container."""
    own = replica_labels(job, type, index)
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": job.host(type, index), "namespace": job.namespace, "labels": own,
                     "ownerReferences": [objects.owner_reference(job.obj)]},
        "spec": {"clusterIP": "None", "selector": own, "ports": _ports(job, type)}}


def _ports(job: Job, type: str) -> list[dict[str, Any]]:
    for container in objects.spec(job.replicas[type].template).get("containers") or ():
        if container.get("name") == job.framework.container:
            return [{"name": port.get("name", ""), "port": port["containerPort"]}
                    | ({"protocol": port["protocol"]} if port.get("protocol") else {})
                    for port in container.get("ports") or ()]
    return []


def place(child: Object) -> tuple[str, int] | None:
    """Which replica a child is of: its type in lower case, and its index; None where it does not say."""
    found = objects.labels(child)
    index = found.get(names.INDEX_LABEL, "")
    if not (index.isascii() and index.isdigit() and len(index) < 10):
        return None
    return found.get(names.TYPE_LABEL, ""), int(index)
