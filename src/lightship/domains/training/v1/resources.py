"""How the API server, clients and informers name a v1 job's kind. Pure."""

from __future__ import annotations

from lightship.domains.training.v1 import names
from lightship.kube.resources import Column, Resource, ScalePaths

STATE = Column(name="State", path=".status.conditions[-1:].type")
AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")


def resource(kind: str, *, scaled: str = "", columns: tuple[Column, ...] = (STATE, AGE)) -> Resource:
    """The kind; ``scaled`` is the field of the replicas whose workers its ``scale`` is about, if it has one."""
    paths = ScalePaths(spec_replicas=f".spec.{scaled}.{names.WORKER}.replicas",
                       status_replicas=f".status.replicaStatuses.{names.WORKER}.active",
                       selector=f".status.replicaStatuses.{names.WORKER}.selector") if scaled else None
    return Resource(group=names.GROUP, version=names.VERSION, kind=kind, plural=f"{kind.lower()}s",
                    singular=kind.lower(), columns=columns, scale=paths,
                    subresources=frozenset({"status", "scale"} if scaled else {"status"}))
