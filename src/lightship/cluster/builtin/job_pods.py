"""A Job's Pods: making one, and reading what became of it. Pure; ``job_plan`` and ``jobs`` call me."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightship.cluster.builtin import children, names, pods
from lightship.kube import objects
from lightship.kube.objects import Object

TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer of a Pod that its Job has yet to count: so none is lost, whoever deletes it and whenever we crash."""
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
LIMIT_STEM_CHARACTERS = 57


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A Pod to make: its completion index; the failed Pod of that index whose count it carries on, and whether a
    policy ignored that failure."""

    index: int | None = None
    before: Object | None = None
    ignored: bool = False


def indexed(job: Object) -> bool:
    return objects.spec(job).get("completionMode") == "Indexed"


def index_of(pod: Object) -> int | None:
    text = names.annotation(pod, names.JOB_INDEX)
    return int(text) if text.isdigit() else None


def tracked(pod: Object) -> bool:
    """Whether the Job has yet to count it, or to let it go once it has."""
    return TRACKING in objects.finalizers(pod)


def succeeded(pod: Object) -> bool:
    return pods.phase(pod) == "Succeeded"


def failed(job: Object, pod: Object) -> bool:
    """Whether it counts as failed: one that is being deleted does too, unless only what has failed is replaced."""
    if pods.phase(pod) == "Failed":
        return True
    if not objects.deleting(pod) or succeeded(pod):
        return False
    # One that was never bound has no node that would say how it ended.
    return not only_failed_are_replaced(job) or not objects.spec(pod).get("nodeName")


def only_failed_are_replaced(job: Object) -> bool:
    spec = objects.spec(job)
    return (spec.get("podReplacementPolicy") or ("Failed" if spec.get("podFailurePolicy") else "")) == "Failed"


def terminating(pod: Object) -> bool:
    return objects.deleting(pod) and not pods.finished(pod)


def failures_of_index(pod: Object) -> int:
    """How many of its index had failed before it."""
    return _count(pod, FAILURES)


def all_failures_of_index(pod: Object) -> int:
    """The same with those that a policy ignored."""
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def make_pod(job: Object, suffix: str, wanted: Wanted) -> Object:
    """A Pod from the Job's template."""
    uid, name, index = objects.uid(job), objects.name(job), wanted.index
    place = "" if index is None else f"-{index}"
    stem = f"{name[:LIMIT_STEM_CHARACTERS - len(place)].rstrip('-.')}{place}-"
    pod = children.pod_from(objects.spec(job).get("template") or {}, job, f"{stem}{suffix}", stem)
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["labels"] |= {names.JOB_NAME: name, names.JOB_NAME_OLD: name, names.JOB_UID: uid, names.JOB_UID_OLD: uid}
    held = metadata.get("finalizers") or []
    metadata["finalizers"] = held if TRACKING in held else [*held, TRACKING]
    if index is None:
        return pod
    metadata["labels"][names.JOB_INDEX] = metadata["annotations"][names.JOB_INDEX] = str(index)
    if objects.spec(job).get("backoffLimitPerIndex") is not None:
        metadata["annotations"] |= _carried(wanted.before, wanted.ignored)
    spec["hostname"] = f"{name}-{index}"
    for kind in ("initContainers", "containers"):
        if spec.get(kind):
            spec[kind] = [_with_index(container) for container in spec[kind]]
    return pod


def _carried(before: Object | None, ignored: bool) -> dict[str, str]:
    if before is None:
        return {FAILURES: "0"}
    failures, unblamed = _count(before, FAILURES), _count(before, IGNORED_FAILURES)
    if ignored:
        return {FAILURES: str(failures), IGNORED_FAILURES: str(unblamed + 1)}
    return {FAILURES: str(failures + 1)} | ({IGNORED_FAILURES: str(unblamed)} if unblamed else {})


def _with_index(container: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env") or []
    if any(variable.get("name") == "JOB_COMPLETION_INDEX" for variable in env):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{names.JOB_INDEX}']"}}
    return container | {"env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}


def _count(pod: Object, annotation: str) -> int:
    text = names.annotation(pod, annotation)
    return int(text) if text.isdigit() else 0
