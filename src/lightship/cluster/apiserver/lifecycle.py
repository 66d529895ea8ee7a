"""What happens to an object's system fields when it is created, changed and deleted. Pure; ``writes`` calls me."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from lightship import errors
from lightship.cluster.apiserver import shapes
from lightship.cluster.apiserver.errors import Cause, Invalid
from lightship.cluster.apiserver.registry import Fault, FieldFault, Served
from lightship.cluster.apiserver.workloads import DEFAULT_GRACE_SECONDS
from lightship.kube import objects, quota, times
from lightship.kube.objects import Object

_SYSTEM = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
           "deletionGracePeriodSeconds", "selfLink")
_DECIDED = ("priority", "preemptionPolicy")
"""Of a Pod: what admission decided when it was made, and who replaces the Pod need not repeat."""
_NOT_SPEC = frozenset({"apiVersion", "kind", "metadata", "status"})


def check(obj: Object, served: Served, faults: Iterable[Fault], well: Object | None = None) -> None:
    """Raises ``Invalid`` with all faults, of the metadata first. ``well``: an object whose metadata was found good."""
    known = well is not None and well["metadata"] is obj["metadata"]
    found = [*faults] if known else [*shapes.faults(obj, served), *faults]
    if found:
        resource = served.resource
        kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        raise Invalid(f'{kind} "{objects.name(obj)}"', [Cause(f.path, f.message) for f in found])


def admitted(served: Served, new: Object, old: Object | None) -> tuple[Object, Iterable[Fault]]:
    """The object with its defaults, and what its kind says is wrong with it.

    A kind's functions that stumble over a value of a type that they did not expect make a bad request of it.
    """
    try:
        if served.admit:
            return served.admit(new, old)
        new = served.default(new)
        return new, list(served.validate(new, old))
    except (TypeError, AttributeError, KeyError, ValueError, IndexError) as e:
        if not served.custom:
            raise
        raise errors.BadRequest(f"{served.resource.kind} in version {served.resource.version!r} cannot be handled as a "
                                f"{served.resource.kind}: a field has a value of the wrong type ({e})") from e


def created(obj: Object, served: Served, namespace: str, stamp: tuple[str, datetime]) -> Object:
    """A new object with its system fields; ``stamp`` is its uid and the time. Not yet defaulted."""
    uid, now = stamp
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _SYSTEM}
    if served.resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = times.rfc3339(now)
    if served.custom or ("spec" in obj if served.counted is None else served.counted):
        metadata["generation"] = 1
    result = obj | {"metadata": metadata}
    if "status" in served.resource.subresources:
        result.pop("status", None)
        if not served.custom and served.store_resource in _FIRST_STATUS:
            result["status"] = _FIRST_STATUS[served.store_resource]
    return result


_FIRST_STATUS: dict[str, Object] = {
    "deployments.apps": {}, "jobs.batch": {}, "cronjobs.batch": {}, "resourcequotas": {},
    "services": {"loadBalancer": {}}, "ingresses.networking.k8s.io": {"loadBalancer": {}},
    "replicasets.apps": {"replicas": 0}, "replicationcontrollers": {"replicas": 0},
    "statefulsets.apps": {"replicas": 0, "availableReplicas": 0},
    "daemonsets.apps": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
                        "numberReady": 0},
    "poddisruptionbudgets.policy": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0,
                                    "expectedPods": 0},
    "horizontalpodautoscalers.autoscaling": {"desiredReplicas": 0, "currentMetrics": None},
}
"""What Go writes of a status that nobody has written yet: the fields that its types do not leave out."""


def updated(old: Object, new: Object, served: Served) -> Object:
    """``new`` as the successor of ``old``: system fields kept, status kept where it has its own subresource."""
    before, metadata = old["metadata"], dict(new["metadata"])
    for field in _SYSTEM:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    if "namespace" in before:
        metadata["namespace"] = before["namespace"]
    if "managedFields" in before:
        metadata.setdefault("managedFields", before["managedFields"])
    result = new | {"metadata": metadata}
    if served.store_resource == quota.PODS and "spec" in new:
        result["spec"] = {field: value for field in _DECIDED if (value := objects.spec(old).get(field)) is not None
                          } | {field: value for field, value in new["spec"].items() if value is not None}
    if "status" in served.resource.subresources:
        if "status" in old:
            result["status"] = old["status"]
        else:
            result.pop("status", None)
    return result


def with_status(old: Object, new: Object) -> Object:
    """``old`` with the status of ``new``; everything else of ``new`` is ignored."""
    result = {key: value for key, value in old.items() if key != "status"}
    if "status" in new:
        result["status"] = new["status"]
    return result


def bumped(old: Object, new: Object, served: Served) -> Object:
    """``new`` with its generation raised if anything but metadata and a status of its own changed."""
    if "generation" not in old["metadata"]:
        return new
    keys = (old.keys() | new.keys()) - _NOT_SPEC
    if served.custom and "status" not in served.resource.subresources:
        keys |= {"status"}
    if all(old.get(key) == new.get(key) and (key in old) == (key in new) for key in keys):
        return new
    return new | {"metadata": new["metadata"] | {"generation": objects.generation(old) + 1}}


def check_identity(old: Object, new: Object, served: Served) -> None:
    """An update may not name another object. Raises ``errors.BadRequest`` or ``errors.Conflict``."""
    before, after = old["metadata"], new["metadata"]
    if after.get("name") and after["name"] != before["name"]:
        raise errors.BadRequest(f"the name of the object ({after['name'][:300]}) does not match the name on the URL "
                                f"({before['name']})")
    if after.get("namespace") and after["namespace"] != before.get("namespace"):
        raise errors.BadRequest("the namespace of the object does not match the namespace on the request")
    if after.get("uid") and after["uid"] != before["uid"]:
        raise errors.Conflict(f"Operation cannot be fulfilled on {served.resource.group_resource} "
                              f'"{before["name"]}": Precondition failed: UID in precondition: {after["uid"][:100]}, '
                              f'UID in object meta: {before["uid"]}')


def finalizer_faults(old: Object, new: Object) -> list[Fault]:
    """Once deletion was asked for, finalizers can only go."""
    if not objects.deleting(old):
        return []
    added = sorted(set(objects.finalizers(new)) - set(objects.finalizers(old)))
    return [FieldFault("metadata.finalizers", "Forbidden: no new finalizers can be added if the object is being "
                                                     f"deleted, found new finalizers {added}")] if added else []


def finished(obj: Object) -> bool:
    """Whether nothing holds an object any more whose deletion was asked for."""
    if not objects.deleting(obj) or objects.finalizers(obj):
        return False
    if obj["kind"] == "Namespace" and objects.spec(obj).get("finalizers"):
        return False
    return not obj["metadata"].get("deletionGracePeriodSeconds")


def grace_seconds(obj: Object, asked: int | None) -> int:
    """How long the object's own end may take: only a Pod that runs on a node has any."""
    if obj["kind"] != "Pod" or obj["apiVersion"] != "v1":
        return 0
    spec = objects.spec(obj)
    if not spec.get("nodeName") or objects.status(obj).get("phase") in ("Succeeded", "Failed"):
        return 0
    default = spec.get("terminationGracePeriodSeconds")
    seconds = asked if asked is not None else DEFAULT_GRACE_SECONDS if default is None else int(default)
    already = obj["metadata"].get("deletionGracePeriodSeconds")
    return min(seconds, already) if objects.deleting(obj) and already is not None else seconds


def marked(obj: Object, grace: int, now: datetime) -> Object:
    """The object with its deletion asked for."""
    metadata: dict[str, Any] = obj["metadata"] | {"deletionGracePeriodSeconds": grace}
    if not objects.deleting(obj) or metadata["deletionGracePeriodSeconds"] != obj["metadata"].get(
            "deletionGracePeriodSeconds"):
        metadata["deletionTimestamp"] = times.rfc3339(now + timedelta(seconds=grace))
    if "generation" in metadata and not objects.deleting(obj):
        metadata["generation"] = objects.generation(obj) + 1
    result = obj | {"metadata": metadata}
    if obj["kind"] == "Namespace":
        result["status"] = objects.status(obj) | {"phase": "Terminating"}
    return result
