"""A TrainJob's Pods as a gang: which of them are members, and the PodGroup. Pure; ``lower`` calls me.

On the embedded cluster every training is a gang of those steps that run side by side. On any other I make upstream's
objects, of all steps, where the runtime's ``podGroupPolicy`` asks for coscheduling or volcano.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightship.domains.training import gang
from lightship.domains.training.site import Site
from lightship.domains.training.train_job import patching
from lightship.domains.training.train_job.draft import Draft, Step
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import POD_GROUPS, Resource

VOLCANO_GROUPS = Resource(group="scheduling.volcano.sh", version="v1beta1", kind="PodGroup", plural="podgroups")
_VOLCANO_NAME = "scheduling.k8s.io/group-name"
_VOLCANO_QUEUE = "scheduling.volcano.sh/queue-name"


def resource_of(group: Object) -> Resource:
    """Which of the two kinds a PodGroup is."""
    return VOLCANO_GROUPS if group["apiVersion"] == VOLCANO_GROUPS.api_version else POD_GROUPS


def mark(draft: Draft, job: Object, runtime: Object, site: Site) -> None:
    """Put on the members' templates what tells a scheduler of their group."""
    asked = _asked(runtime)
    if site.gangs or asked.get("coscheduling") is not None:
        for step in _members(draft, site):
            _metadata(step, "labels").update(gang.label(job))
    elif asked.get("volcano") is not None:
        for step in draft.steps:
            _metadata(step, "annotations")[_VOLCANO_NAME] = objects.name(job)


def make(draft: Draft, job: Object, runtime: Object, site: Site) -> Object | None:
    """The PodGroup, where there is to be one."""
    asked = _asked(runtime)
    members = [gang.Members(count=pods_of(step), pod=step.pod) for step in _members(draft, site)]
    coscheduling = asked.get("coscheduling")
    if site.gangs or coscheduling is not None:
        timeout = (coscheduling or {}).get("scheduleTimeoutSeconds", gang.DEFAULT_TIMEOUT_SECONDS)
        first = max(1, sum(map(pods_of, _first(draft, site)))) if site.gangs else None
        return gang.make_pod_group(job, members, gang.Terms(min_member=first, timeout_seconds=int(timeout))
                                   ) if members else None
    if asked.get("volcano") is None:
        return None
    template = objects.spec(runtime).get("template") or {}
    queues = [objects.annotations(one).get(_VOLCANO_QUEUE) for one in (template, *patching.templates(job))]
    queue = next((queue for queue in reversed(queues) if queue is not None), None)
    return _volcano(draft, gang.make_pod_group(job, members), asked["volcano"], queue)


def _volcano(draft: Draft, group: Object, asked: Mapping[str, Any], queue: str | None) -> Object:
    spec = {name: value for name, value in group["spec"].items() if name != "scheduleTimeoutSeconds"}
    if queue is not None:
        spec["queue"] = queue
    for step in draft.steps:
        if step.pod.get("priorityClassName"):
            spec["priorityClassName"] = step.pod["priorityClassName"]
    if asked.get("networkTopology") is not None:
        spec["networkTopology"] = dict(asked["networkTopology"])
    return group | {"apiVersion": VOLCANO_GROUPS.api_version, "spec": spec}


def _members(draft: Draft, site: Site) -> list[Step]:
    """Here: the steps that run side by side, without those that have to be over before another begins."""
    if not site.gangs:
        return draft.steps
    over = {str(depends["name"]) for step in draft.steps for depends in _depends(step)
            if depends.get("status") == "Complete"}
    return [step for step in draft.steps if step.name not in over]


def _first(draft: Draft, site: Site) -> Iterable[Step]:
    """Those of the members whose Pods are made without waiting for another member's: the least of the gang.

    The others come when these run, as an MPI launcher does, and are placed before what is no member.
    """
    members = _members(draft, site)
    if draft.in_order:
        return members[:1]
    return [step for step in members if not any(depends.get("status") == "Ready" for depends in _depends(step))]


def _depends(step: Step) -> Iterable[Mapping[str, Any]]:
    found: Iterable[Mapping[str, Any]] = step.body.get("dependsOn") or ()
    return found


def pods_of(step: Step) -> int:
    """The Pods of a step."""
    replicas = step.body.get("replicas")
    return step.count * (1 if replicas is None else int(replicas))


def _metadata(step: Step, field: str) -> dict[str, str]:
    template: dict[str, Any] = step.job.setdefault("template", {})
    found: dict[str, str] = template.setdefault("metadata", {}).setdefault(field, {})
    return found


def _asked(runtime: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = objects.spec(runtime).get("podGroupPolicy") or {}
    return found
