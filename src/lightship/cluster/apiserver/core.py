"""The core kinds that are always served, with their defaults, validation, columns and field selectors.

Pure data and functions; ``server`` puts me at the head of the registry.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import columns, metrics, workloads
from lightship.cluster.apiserver.access import kinds as access_kinds
from lightship.cluster.apiserver.kinds import (
    cluster_columns,
    cluster_table,
    endpoint_addresses,
    network,
    services,
    storage,
    workload_table,
)
from lightship.cluster.apiserver.quota import kinds as quota_kinds
from lightship.cluster.apiserver.registry import FieldFault, Served
from lightship.kube import objects, resources
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

CREATE_ONLY = ("create",)

SELF_SUBJECT_REVIEWS = Resource(group="authentication.k8s.io", version="v1", kind="SelfSubjectReview",
                                plural="selfsubjectreviews", namespaced=False)
SELF_SUBJECT_RULES_REVIEWS = Resource(group="authorization.k8s.io", version="v1", kind="SelfSubjectRulesReview",
                                      plural="selfsubjectrulesreviews", namespaced=False)
LOCAL_SUBJECT_ACCESS_REVIEWS = Resource(group="authorization.k8s.io", version="v1", kind="LocalSubjectAccessReview",
                                        plural="localsubjectaccessreviews")
NEW_EVENTS = Resource(group="events.k8s.io", version="v1", kind="Event", plural="events", short_names=("ev",))

_POD_FIELDS = {"spec.nodeName": ".spec.nodeName", "spec.restartPolicy": ".spec.restartPolicy",
               "spec.schedulerName": ".spec.schedulerName", "spec.serviceAccountName": ".spec.serviceAccountName",
               "status.phase": ".status.phase", "status.podIP": ".status.podIP"}
_EVENT_FIELDS = {f"involvedObject.{field}": f".involvedObject.{field}" for field in (
    "kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")} | {
    "reason": ".reason", "reportingComponent": ".reportingComponent", "source": ".source.component", "type": ".type"}
_NEW_EVENT_FIELDS = {name.replace("involvedObject", "regarding"): path for name, path in _EVENT_FIELDS.items()}


def _default_namespace(obj: Object) -> Object:
    metadata = objects.meta(obj)
    labels = (metadata.get("labels") or {}) | {"kubernetes.io/metadata.name": objects.name(obj)}
    spec = {"finalizers": ["kubernetes"]} | objects.spec(obj)
    return obj | {"metadata": metadata | {"labels": labels}, "spec": spec,
                  "status": {"phase": "Active"} | objects.status(obj)}


_LASTING_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kubeflow"})
"""Those that the cluster and the platform cannot be without; upstream has all but the last."""


def _spared_namespace(obj: Object) -> Object:
    if objects.name(obj) in _LASTING_NAMESPACES:
        raise errors.Forbidden(f'namespaces "{objects.name(obj)}" is forbidden: this namespace may not be deleted')
    return obj


def _default_secret(obj: Object) -> Object:
    result = {key: value for key, value in obj.items() if key != "stringData"} | {"type": obj.get("type") or "Opaque"}
    if obj.get("stringData"):
        added = {key: base64.b64encode(value.encode()).decode() for key, value in obj["stringData"].items()}
        result["data"] = (obj.get("data") or {}) | added
    return result


_CONFIG_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def _key_faults(place: str, data: dict[str, Any] | None) -> list[FieldFault]:
    return [FieldFault(f"{place}[{key}]", "Invalid value: a valid config key must consist of alphanumeric characters, "
                                          "'-', '_' or '.' (253 at most) and be neither '.' nor '..'")
            for key in data or {} if not key or len(key) > 253 or key in (".", "..") or not _CONFIG_KEY.issuperset(key)]


def _base64_faults(place: str, data: dict[str, str] | None) -> list[FieldFault]:
    faults = []
    for key, value in (data or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            faults.append(FieldFault(f"{place}[{key}]", "Invalid value: not base64"))
    return faults


def _immutable_faults(obj: Object, old: Object | None, *fields: str) -> list[FieldFault]:
    if old is None or not old.get("immutable"):
        return []
    changed = [field for field in (*fields, "immutable") if obj.get(field) != old.get(field)]
    return [FieldFault(field, "Forbidden: field is immutable when `immutable` is set") for field in changed]


_WANTED_KEYS = {"kubernetes.io/tls": ("tls.crt", "tls.key"), "kubernetes.io/ssh-auth": ("ssh-privatekey",),
                "kubernetes.io/dockerconfigjson": (".dockerconfigjson",), "kubernetes.io/dockercfg": (".dockercfg",)}
_JSON_KEYS = frozenset({".dockerconfigjson", ".dockercfg"})


def _type_faults(obj: Object) -> Iterator[FieldFault]:
    """What a Secret of a type that others read must hold."""
    data, kind = obj.get("data") or {}, obj.get("type") or ""
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        yield from (FieldFault(f"data[{key}]", "Required value") for key in ("username", "password"))
    account = objects.annotations(obj).get("kubernetes.io/service-account.name")
    if kind == "kubernetes.io/service-account-token" and not account:
        yield FieldFault("metadata.annotations[kubernetes.io/service-account.name]", "Required value")
    for key in _WANTED_KEYS.get(kind, ()):
        if key not in data:
            yield FieldFault(f"data[{key}]", "Required value")
        elif key in _JSON_KEYS:
            try:
                msgspec.json.decode(base64.b64decode(data[key]), type=dict[str, Any])
            except (msgspec.MsgspecError, binascii.Error, ValueError):
                yield FieldFault(f"data[{key}]", 'Invalid value: "<secret contents redacted>": not a JSON object')


def _validate_secret(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = [*_key_faults("data", obj.get("data")), *_base64_faults("data", obj.get("data")),
              *_immutable_faults(obj, old, "data")]
    if old is not None and obj.get("type") != old.get("type"):
        shown = msgspec.json.encode(obj.get("type") or "").decode()
        return [*faults, FieldFault("type", f"Invalid value: {shown}: field is immutable")]
    return faults or list(_type_faults(obj))


def _validate_config_map(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    binary = obj.get("binaryData")
    faults = [*_key_faults("data", obj.get("data")), *_key_faults("binaryData", binary),
              *_base64_faults("binaryData", binary), *_immutable_faults(obj, old, "data", "binaryData")]
    faults += [FieldFault(f"data[{key}]", "Invalid value: the key is in binaryData too")
               for key in obj.get("data") or {} if key in (binary or {})]
    return faults


_EVENT_NAMES = (("involvedObject", "regarding"), ("message", "note"), ("source", "deprecatedSource"),
                ("firstTimestamp", "deprecatedFirstTimestamp"), ("lastTimestamp", "deprecatedLastTimestamp"),
                ("count", "deprecatedCount"), ("reportingComponent", "reportingController"))


def _to_new_event(obj: Object) -> Object:
    names = dict(_EVENT_NAMES)
    return {names.get(key, key): value for key, value in obj.items()} | {"apiVersion": NEW_EVENTS.api_version}


def _from_new_event(obj: Object) -> Object:
    names = {new: old for old, new in _EVENT_NAMES}
    return {names.get(key, key): value for key, value in obj.items()} | {"apiVersion": "v1"}


def _validate_event(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    about = obj.get("involvedObject")
    namespace = about.get("namespace") if isinstance(about, dict) else None
    if namespace and namespace != objects.namespace(obj):
        return (FieldFault("involvedObject.namespace", "Invalid value: does not match event.namespace"),)
    return ()


def served() -> tuple[Served, ...]:
    """The core table. EndpointSlices and the like have names that upstream checks only as path segments."""
    r, c, w = resources, columns, workloads
    deployments = Served(resource=r.DEPLOYMENTS, printing=c.DEPLOYMENTS,
                         default=w.default_deployment, validate=w.validate_deployment)
    events = Served(resource=r.EVENTS, printing=c.EVENTS, fields=_EVENT_FIELDS,
                    validate=_validate_event)
    return (
        Served(resource=r.PODS, printing=c.PODS, fields=_POD_FIELDS, default=w.default_pod,
               validate=w.validate_pod, returns_deleted=True),
        Served(resource=r.CONFIGMAPS, printing=c.CONFIG_MAPS, validate=_validate_config_map),
        Served(resource=r.SECRETS, printing=c.SECRETS, fields={"type": ".type"},
               default=_default_secret, validate=_validate_secret),
        Served(resource=r.NAMESPACES, counted=False, printing=c.NAMESPACES, fields={"status.phase": ".status.phase"},
               default=_default_namespace, label_name=True, doomed=_spared_namespace,
               verbs=("create", "delete", "get", "list", "patch", "update", "watch")),
        Served(resource=r.NODES, counted=False, printing=c.NODES, fields={"spec.unschedulable": ".spec.unschedulable"}),
        Served(resource=r.SERVICES, counted=False, printing=c.SERVICES, default=services.default_service,
               fields={"spec.type": ".spec.type", "spec.clusterIP": ".spec.clusterIP"},
               validate=services.validate_service, label_name=True, returns_deleted=True),
        Served(resource=r.SERVICE_ACCOUNTS, printing=c.SERVICE_ACCOUNTS, returns_deleted=True),
        Served(resource=r.PERSISTENT_VOLUME_CLAIMS, counted=False, printing=c.CLAIMS, default=storage.default_claim,
               validate=storage.validate_claim, returns_deleted=True),
        events,
        replace(events, resource=NEW_EVENTS, fields=_NEW_EVENT_FIELDS, storage=r.EVENTS.group_resource,
                to_wire=_to_new_event, from_wire=_from_new_event),
        deployments,
        replace(deployments, resource=r.REPLICA_SETS, printing=c.REPLICA_SETS, default=w.default_replica_set,
                validate=w.validate_replica_set, fields={"status.replicas": ".status.replicas"}),
        Served(resource=r.JOBS, printing=c.JOBS, default=w.default_job, validate=w.validate_job,
               fields={"status.successful": ".status.succeeded"}),
        Served(resource=r.ENDPOINT_SLICES, counted=True, printing=cluster_columns.ENDPOINT_SLICES,
               default=network.default_slice, validate=endpoint_addresses.slice_faults),
        Served(resource=r.LEASES, counted=False, printing=c.LEASES),
        Served(resource=r.TOKEN_REVIEWS, verbs=CREATE_ONLY),
        Served(resource=SELF_SUBJECT_REVIEWS, verbs=CREATE_ONLY),
        Served(resource=r.SUBJECT_ACCESS_REVIEWS, verbs=CREATE_ONLY),
        Served(resource=r.SELF_SUBJECT_ACCESS_REVIEWS, verbs=CREATE_ONLY),
        Served(resource=LOCAL_SUBJECT_ACCESS_REVIEWS, verbs=CREATE_ONLY),
        Served(resource=SELF_SUBJECT_RULES_REVIEWS, verbs=CREATE_ONLY),
        *access_kinds.served(),
        *quota_kinds.served(),
        *workload_table.served(),
        *cluster_table.served(),
        *metrics.served(),
    )
