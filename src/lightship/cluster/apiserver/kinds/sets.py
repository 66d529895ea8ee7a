"""StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions and PodTemplates: defaults and validation.

Pure; ``kinds.workload_table`` puts these into the registry. Types have been checked before I see an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightship.cluster.apiserver import workloads
from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import objects
from lightship.kube.objects import Object

_STATEFUL_MUTABLE = frozenset({"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                               "persistentVolumeClaimRetentionPolicy", "minReadySeconds"})


def default_stateful_set(obj: Object) -> Object:
    spec: dict[str, Any] = {"podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10,
                            } | pods.given(objects.spec(obj))
    update = dict(spec.get("updateStrategy") or {})
    if not update.get("type"):
        update = {"rollingUpdate": {}} | update | {"type": "RollingUpdate"}
    if update["type"] == "RollingUpdate" and update.get("rollingUpdate") is not None:
        update["rollingUpdate"] = {"partition": 0} | pods.given(update["rollingUpdate"])
    spec["updateStrategy"] = update
    retention = pods.given(spec.get("persistentVolumeClaimRetentionPolicy") or {})
    spec["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Retain", "whenScaled": "Retain"} | retention
    if spec.get("template"):
        spec["template"] = workloads.default_template(spec["template"])
    if spec.get("volumeClaimTemplates"):
        spec["volumeClaimTemplates"] = [_default_claim_template(claim) for claim in spec["volumeClaimTemplates"]]
    return obj | {"spec": spec}


def _default_claim_template(claim: Object) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}} | claim | {
        "spec": {"volumeMode": "Filesystem"} | pods.given(objects.spec(claim))}


def validate_stateful_set(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(workloads.replica_faults(spec, None, always=True))
    update = spec.get("updateStrategy") or {}
    if update.get("type") not in ("RollingUpdate", "OnDelete"):
        faults.append(pods.unsupported("spec.updateStrategy.type", update.get("type"), "OnDelete",
                                            "RollingUpdate"))
    partition = (update.get("rollingUpdate") or {}).get("partition") or 0
    if partition < 0:
        faults.append(pods.negative("spec.updateStrategy.rollingUpdate.partition", partition))
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        faults.append(FieldFault("spec.podManagementPolicy",
                                 f"Invalid value: {pods.shown(spec.get('podManagementPolicy'))}: must be "
                                 "'OrderedReady' or 'Parallel'"))
    for when, policy in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if policy not in ("Retain", "Delete"):
            faults.append(pods.unsupported(f"spec.persistentVolumeClaimRetentionPolicy.{when}", policy, "Delete",
                                                "Retain"))
    if old is not None:
        before = objects.spec(old)
        if any(spec.get(field) != before.get(field) for field in (spec.keys() | before.keys()) - _STATEFUL_MUTABLE):
            faults.append(FieldFault("spec", "Forbidden: updates to statefulset spec for fields other than 'replicas', "
                                             "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
                                             "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
                                             "forbidden"))
    return faults


def default_daemon_set(obj: Object) -> Object:
    spec: dict[str, Any] = {"revisionHistoryLimit": 10} | pods.given(objects.spec(obj))
    update = {"type": "RollingUpdate"} | pods.given(spec.get("updateStrategy") or {})
    if update["type"] == "RollingUpdate":
        update["rollingUpdate"] = {"maxUnavailable": 1, "maxSurge": 0} | pods.given(
            update.get("rollingUpdate") or {})
    spec["updateStrategy"] = update
    if spec.get("template"):
        spec["template"] = workloads.default_template(spec["template"])
    return obj | {"spec": spec}


def validate_daemon_set(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(workloads.replica_faults(spec, old, always=True))
    update = spec.get("updateStrategy") or {}
    if update.get("type") not in ("RollingUpdate", "OnDelete"):
        faults.append(pods.unsupported("spec.updateStrategy.type", update.get("type"), "OnDelete",
                                            "RollingUpdate"))
    elif update["type"] == "RollingUpdate":
        rolling = update.get("rollingUpdate") or {}
        faults += workloads.amount_faults("spec.updateStrategy.rollingUpdate", rolling, "maxUnavailable", "maxSurge")
        if not faults and all(str(rolling.get(f)) in ("0", "0%") for f in ("maxUnavailable", "maxSurge")):
            faults.append(FieldFault("spec.updateStrategy.rollingUpdate", "Required value: cannot be 0 when maxSurge "
                                                                          "is 0"))
    return faults


def default_replication_controller(obj: Object) -> Object:
    spec: dict[str, Any] = {"replicas": 1} | pods.given(objects.spec(obj))
    template = spec.get("template")
    if not template:
        return obj | {"spec": spec}
    labels = objects.labels(template)
    spec["template"] = workloads.default_template(template)
    metadata = obj["metadata"]
    if labels:
        spec["selector"] = spec.get("selector") or labels
        metadata = metadata if metadata.get("labels") else metadata | {"labels": labels}
    return obj | {"spec": spec, "metadata": metadata}


def validate_replication_controller(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    return tuple(_controller_faults(spec))


def _controller_faults(spec: dict[str, Any]) -> Iterator[FieldFault]:
    selector = spec.get("selector") or {}
    if (spec.get("replicas") or 0) < 0:
        yield pods.negative("spec.replicas", spec["replicas"])
    if not selector:
        yield FieldFault("spec.selector", "Required value")
    yield from workloads.template_faults(spec, always=True)
    labels = objects.labels(spec.get("template") or {})
    if selector and spec.get("template") and not selector.items() <= labels.items():
        yield FieldFault("spec.template.metadata.labels", f"Invalid value: {pods.shown(labels)}: `selector` does "
                                                          "not match template `labels`")


def default_pod_template(obj: Object) -> Object:
    return obj | {"template": workloads.default_template(obj.get("template") or {})}


def validate_pod_template(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(workloads.template_faults({"template": obj.get("template")}, place="template"))


def validate_controller_revision(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = []
    if obj.get("data") is None:
        faults.append(FieldFault("data", "Required value: data is mandatory"))
    if (obj.get("revision") or 0) < 0:
        faults.append(pods.negative("revision", obj["revision"]))
    if old is not None and obj.get("data") != old.get("data"):
        faults.append(FieldFault("data", "Invalid value: field is immutable"))
    return faults
