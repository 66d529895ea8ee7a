"""The PersistentVolumeClaims that a JobSet's ``volumeClaimPolicies`` ask for, shared by its Jobs. Pure.

``plan`` has them made, ``make`` mounts them where a container of a Job names one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightship.cluster.builtin.jobsets import names
from lightship.kube import objects
from lightship.kube.objects import Object

_RETAIN = "Retain"


def make(job_set: Object) -> list[Object]:
    """The claims. One that is to be retained has no owner, and outlives the JobSet."""
    made = []
    for policy, template in _templates(job_set):
        metadata: dict[str, Any] = {
            "name": _name(job_set, template), "namespace": objects.namespace(job_set),
            "labels": objects.labels(template) | {names.NAME: objects.name(job_set)}}
        if objects.annotations(template):
            metadata["annotations"] = dict(objects.annotations(template))
        if (policy.get("retentionPolicy") or {}).get("whenDeleted") != _RETAIN:
            metadata["ownerReferences"] = [objects.owner_reference(job_set)]
        made.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                     "spec": objects.spec(template)})
    return made


def volumes(job_set: Object, pod_spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The volumes for a Pod: those of the claims that one of its containers mounts."""
    mounted = {mount.get("name") for kind in ("containers", "initContainers")
               for container in pod_spec.get(kind) or () for mount in container.get("volumeMounts") or ()}
    return [{"name": objects.name(template), "persistentVolumeClaim": {"claimName": _name(job_set, template)}}
            for _, template in _templates(job_set) if objects.name(template) in mounted]


def _templates(job_set: Object) -> Iterator[tuple[dict[str, Any], Object]]:
    for policy in objects.spec(job_set).get("volumeClaimPolicies") or ():
        for template in policy.get("templates") or ():
            yield policy, template


def _name(job_set: Object, template: Object) -> str:
    return f"{objects.name(template)}-{objects.name(job_set)}"
