"""A v1 job's Pods as a gang: what ``schedulingPolicy`` asks of its PodGroup. Pure; ``plan`` calls me."""

from __future__ import annotations

from collections.abc import Iterator

from lightship.domains.training import gang
from lightship.domains.training.v1.framework import Job
from lightship.kube import objects
from lightship.kube.objects import Object


def joined(pod: Object, job: Job) -> Object:
    """A Pod as a member of the job's gang; of the job's priority, unless its template has one."""
    spec, priority = objects.spec(pod), job.policy.scheduling.get("priorityClass")
    if priority and not spec.get("priorityClassName"):
        spec = spec | {"priorityClassName": priority}
    metadata = objects.meta(pod)
    return pod | {"metadata": metadata | {"labels": metadata["labels"] | gang.label(job.obj)}, "spec": spec}


def make(job: Job) -> Object:
    """The PodGroup: of all replicas, or of as many as ``minAvailable`` says, the first ones."""
    scheduling = job.policy.scheduling
    least = scheduling.get("minAvailable")
    timeout = scheduling.get("scheduleTimeoutSeconds")
    return gang.make_pod_group(job.obj, _members(job, job.total if least is None else int(least)), gang.Terms(
        min_member=least, min_resources=scheduling.get("minResources"),
        timeout_seconds=gang.DEFAULT_TIMEOUT_SECONDS if timeout is None else int(timeout)))


def _members(job: Job, most: int) -> Iterator[gang.Members]:
    for replicas in job.replicas.values():
        count = min(replicas.count, max(0, most))
        most -= count
        yield gang.Members(count=count, pod=objects.spec(replicas.template))
