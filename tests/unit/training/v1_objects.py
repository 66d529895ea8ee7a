"""Jobs of ``kubeflow.org/v1`` and their Pods for the tests of training."""

from __future__ import annotations

from typing import Any

from lightship.domains.training.v1 import admission, children, framework, kinds, names
from lightship.domains.training.v1.framework import Framework, Job
from lightship.kube import objects
from lightship.kube.objects import Object

FRAMEWORKS = {one.resource.kind: one for one in kinds.FRAMEWORKS}
CREATED = "2026-01-01T00:00:00Z"


def job_object(kind: str, replicas: dict[str, Any], *, name: str = "run", policy: Any = None, status: Any = None,
               annotations: Any = None, **spec: Any) -> Object:
    """A job as it is after its defaults; ``replicas`` is how many of each type, or what it has beside a template."""
    one = FRAMEWORKS[kind]
    metadata = {"name": name, "namespace": "default", "uid": f"{name}-uid", "creationTimestamp": CREATED}
    if annotations:
        metadata["annotations"] = annotations
    made: Object = {"apiVersion": one.resource.api_version, "kind": kind, "metadata": metadata, "spec": {
        one.specs: {type: _replicas(one, given) for type, given in replicas.items()}} | spec}
    if policy:
        made["spec"]["runPolicy"] = policy
    return admission.default(one, made) | ({"status": status} if status else {})


def _replicas(one: Framework, given: Any) -> dict[str, Any]:
    more = given if isinstance(given, dict) else {"replicas": given}
    return {"template": {"spec": {"containers": [{"name": one.container, "image": "busybox"}]}}} | more


def read(obj: Object) -> Job:
    return framework.read(FRAMEWORKS[obj["kind"]], obj)


def pod_of(obj: Object, type: str, index: int, phase: str = "", code: int | None = None, **metadata: Any) -> Object:
    """A replica's Pod, as the node leaves it."""
    job = read(obj)
    made = children.make_pod(job, type, index)
    made["metadata"] |= {"uid": f"{objects.name(made)}-uid"} | metadata
    state: dict[str, Any] = {"phase": phase} if phase else {}
    if code is not None:
        state["containerStatuses"] = [{"name": job.framework.container, "restartCount": 0,
                                       "state": {"terminated": {"exitCode": code}}}]
    return made | ({"status": state} if state else {})


def service_of(obj: Object, type: str, index: int) -> Object:
    made = children.make_service(read(obj), type, index)
    made["metadata"]["uid"] = f"{objects.name(made)}-service-uid"
    return made


def whole(obj: Object, phase: str = "Running", code: int | None = None) -> list[Object]:
    """A Pod and a Service for every replica."""
    made: list[Object] = []
    for type, replicas in read(obj).replicas.items():
        for index in range(replicas.count):
            made += [pod_of(obj, type, index, phase, code), service_of(obj, type, index)]
    return made


def env_of(pod: Object, container: str = "") -> dict[str, Any]:
    """The variables of a Pod's container, by name: its value, or where it comes from."""
    found = next(one for one in objects.spec(pod)["containers"] if container in ("", one["name"]))
    return {one["name"]: one["value"] if "value" in one else one["valueFrom"] for one in found.get("env") or ()}


def ended(kind: str, type: str = "Succeeded", message: str = "", at: str = CREATED) -> dict[str, Any]:
    """The status of a job that has ended."""
    return {"completionTime": at, "startTime": CREATED, "conditions": [
        {"type": "Created", "status": "True", "reason": names.reason(kind, "Created"), "message": "",
         "lastTransitionTime": CREATED, "lastUpdateTime": CREATED},
        {"type": type, "status": "True", "reason": names.reason(kind, type), "message": message,
         "lastTransitionTime": at, "lastUpdateTime": at}]}
