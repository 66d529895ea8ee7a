"""A JobSet's Jobs and its Service, and the names by which its Pods find each other. Pure; ``jobsets`` calls me."""

from __future__ import annotations

import hashlib
from typing import Any

from lightship.cluster.builtin.jobsets import claims, names
from lightship.kube import objects
from lightship.kube.objects import Object

ReplicatedJob = dict[str, Any]


def replicated_jobs(job_set: Object) -> list[ReplicatedJob]:
    return objects.spec(job_set).get("replicatedJobs") or []


def replicas(replicated: ReplicatedJob) -> int:
    value = replicated.get("replicas")
    return 1 if value is None else int(value)


def restarts(job_set: Object) -> int:
    return int(objects.status(job_set).get("restarts") or 0)


def job_restarts(job_set: Object, replicated: str) -> list[int]:
    """How often each Job of a replicated Job was to be made anew while the others went on; nothing if none ever was."""
    states = objects.status(job_set).get("replicatedJobsStatus") or ()
    found: dict[str, Any] = next((state for state in states if state.get("name") == replicated), {})
    return list(found.get("jobRestarts") or ())


def suspended(job_set: Object) -> bool:
    return bool(objects.spec(job_set).get("suspend"))


def has_host_names(job_set: Object) -> bool:
    return bool((objects.spec(job_set).get("network") or {}).get("enableDNSHostnames", True))


def subdomain(job_set: Object) -> str:
    return str((objects.spec(job_set).get("network") or {}).get("subdomain") or objects.name(job_set))


def job_name(job_set: Object, replicated: ReplicatedJob, index: int) -> str:
    return f"{objects.name(job_set)}-{replicated['name']}-{index}"


def make_service(job_set: Object) -> Object:
    """The headless Service under which Pods have names, before they are ready too."""
    network = objects.spec(job_set).get("network") or {}
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": subdomain(job_set), "namespace": objects.namespace(job_set),
                     "ownerReferences": [objects.owner_reference(job_set)]},
        "spec": {"clusterIP": "None", "selector": {names.NAME: objects.name(job_set)},
                 "publishNotReadyAddresses": bool(network.get("publishNotReadyAddresses", True))},
    }


def make_job(job_set: Object, replicated: ReplicatedJob, index: int) -> Object:
    """One Job of a replicated Job, with what tells it and its Pods of their place."""
    template = replicated.get("template") or {}
    spec: dict[str, Any] = {"completionMode": "Indexed"} | objects.spec(template)
    pod = dict(spec.get("template") or {})
    pod_spec = {"restartPolicy": "OnFailure"} | objects.spec(pod)
    if has_host_names(job_set):
        pod_spec["subdomain"] = subdomain(job_set)
    if volumes := claims.volumes(job_set, pod_spec):
        pod_spec["volumes"] = [*(pod_spec.get("volumes") or ()), *volumes]
    place = _place(job_set, replicated, index)
    marked = _annotations(job_set, replicated) | place
    spec["template"] = pod | {"spec": pod_spec, "metadata": objects.meta(pod) | {
        "labels": objects.labels(pod) | place, "annotations": objects.annotations(pod) | marked}}
    spec["suspend"] = suspended(job_set)
    spec.setdefault("completions", int(spec.get("parallelism") or 1))
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": job_name(job_set, replicated, index), "namespace": objects.namespace(job_set),
            "labels": objects.labels(template) | place, "annotations": objects.annotations(template) | marked,
            "ownerReferences": [objects.owner_reference(job_set)],
        },
        "spec": spec,
    }


def _place(job_set: Object, replicated: ReplicatedJob, index: int) -> dict[str, str]:
    """Labels that are annotations too."""
    everyone = replicated_jobs(job_set)
    before = everyone[:everyone.index(replicated)]
    group = str(replicated.get("groupName") or names.DEFAULT_GROUP)
    fellows = [other for other in everyone if (other.get("groupName") or names.DEFAULT_GROUP) == group]
    whole = f"{objects.namespace(job_set)}/{job_name(job_set, replicated, index)}"
    place = {
        names.NAME: objects.name(job_set), names.UID: objects.uid(job_set), names.REPLICATED_JOB: replicated["name"],
        names.RESTARTS: str(restarts(job_set)), names.REPLICAS: str(replicas(replicated)),
        names.GLOBAL_REPLICAS: str(sum(map(replicas, everyone))), names.INDEX: str(index),
        names.GLOBAL_INDEX: str(sum(map(replicas, before)) + index), names.GROUP: group,
        names.GROUP_REPLICAS: str(sum(map(replicas, fellows))),
        names.GROUP_INDEX: str(sum(replicas(other) for other in before if other in fellows) + index),
        # A name, not a secret: upstream's clients compute the same.
        names.KEY: hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest(),
    }
    alone = job_restarts(job_set, replicated["name"])
    if index < len(alone) and alone[index]:
        place[names.JOB_RESTARTS] = str(alone[index])
    if coordinator := objects.spec(job_set).get("coordinator"):
        place[names.COORDINATOR] = (f"{objects.name(job_set)}-{coordinator['replicatedJob']}-"
                                    f"{int(coordinator.get('jobIndex') or 0)}-{int(coordinator.get('podIndex') or 0)}"
                                    f".{subdomain(job_set)}")
    return place


def _annotations(job_set: Object, replicated: ReplicatedJob) -> dict[str, str]:
    inner = objects.annotations(replicated.get("template") or {}).get(names.EXCLUSIVE)
    topology = inner or objects.annotations(job_set).get(names.EXCLUSIVE)
    return {names.EXCLUSIVE: topology} if topology else {}


def resumed(job_set: Object, job: Object) -> dict[str, Any]:
    """The patch that lets a suspended Job go on, with what was changed in the JobSet's templates meanwhile."""
    name = objects.labels(job).get(names.REPLICATED_JOB)
    replicated = next((other for other in replicated_jobs(job_set) if other["name"] == name), None)
    patch: dict[str, Any] = {"suspend": False}
    if replicated is None:
        return {"spec": patch}
    wanted = (objects.spec(replicated.get("template") or {}).get("template")) or {}
    there = objects.spec(job).get("template") or {}
    metadata = {kind: values for kind in ("labels", "annotations") if (values := {
        key: value for key, value in (objects.meta(wanted).get(kind) or {}).items()
        if (objects.meta(there).get(kind) or {}).get(key) != value})}
    spec: dict[str, Any] = {}
    nodes = objects.spec(wanted).get("nodeSelector") or {}
    if not nodes.items() <= (objects.spec(there).get("nodeSelector") or {}).items():
        spec["nodeSelector"] = nodes
    for kind in ("tolerations", "schedulingGates"):
        has = objects.spec(there).get(kind) or []
        if missing := [entry for entry in objects.spec(wanted).get(kind) or () if entry not in has]:
            spec[kind] = [*has, *missing]
    template = ({"metadata": metadata} if metadata else {}) | ({"spec": spec} if spec else {})
    return {"spec": patch | ({"template": template} if template else {})}
