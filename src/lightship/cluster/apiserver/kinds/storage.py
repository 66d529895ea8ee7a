"""PersistentVolumes, claims and StorageClasses: defaults and validation. Pure; the tables put these into the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_POLICIES = ("Delete", "Recycle", "Retain")
_NO_SOURCE = frozenset({"capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName",
                        "mountOptions", "volumeMode", "nodeAffinity", "volumeAttributesClassName"})


def default_volume(obj: Object) -> Object:
    spec: dict[str, Any] = {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"} | pods.given(
        objects.spec(obj))
    if spec.get("hostPath") is not None:
        spec["hostPath"] = {"type": ""} | pods.given(spec["hostPath"])
    if isinstance(spec.get("capacity"), dict):
        spec["capacity"] = quantities.shown_all(spec["capacity"])
    return obj | {"spec": spec, "status": {"phase": "Pending"} | objects.status(obj)}


def validate_volume(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_volume_faults(objects.spec(obj), None if old is None else objects.spec(old)))


def _volume_faults(spec: dict[str, Any], before: dict[str, Any] | None) -> Iterator[FieldFault]:
    yield from mode_faults(spec, required=True)
    capacity = spec.get("capacity") or {}
    if "storage" not in capacity:
        yield FieldFault("spec.capacity", 'Unsupported value: supported values: "storage"' if capacity else
                         "Required value")
    else:
        yield from size_faults("spec.capacity[storage]", capacity["storage"])
    sources = sorted(key for key in spec if key not in _NO_SOURCE)
    if not sources:
        yield FieldFault("spec", "Required value: must specify a volume type")
    for extra in sources[1:]:
        yield FieldFault(f"spec.{extra}", "Forbidden: may not specify more than 1 volume type")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy not in _POLICIES:
        yield pods.unsupported("spec.persistentVolumeReclaimPolicy", policy, *_POLICIES)
    if before is not None:
        source = {key: spec.get(key) for key in sources}
        if source != {key: before.get(key) for key in before if key not in _NO_SOURCE}:
            yield FieldFault("spec.persistentvolumesource", "Forbidden: spec.persistentvolumesource is immutable after "
                                                            "creation")
        if spec.get("volumeMode") != before.get("volumeMode"):
            yield FieldFault("spec.volumeMode", f"Invalid value: {pods.shown(spec.get('volumeMode'))}: field is "
                                                "immutable")


def mode_faults(spec: dict[str, Any], *, required: bool) -> Iterator[FieldFault]:
    modes = spec.get("accessModes") or []
    if required and not modes:
        yield FieldFault("spec.accessModes", "Required value: at least 1 access mode is required")
    for mode in modes:
        if mode not in MODES:
            yield pods.unsupported("spec.accessModes", mode, *MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield FieldFault("spec.accessModes", "Forbidden: may not use ReadWriteOncePod with other access modes")
    if spec.get("volumeMode") not in (None, "Block", "Filesystem"):
        yield pods.unsupported("spec.volumeMode", spec["volumeMode"], "Block", "Filesystem")


def size_faults(place: str, amount: Any) -> Iterator[FieldFault]:
    try:
        number = quantities.parse(amount)
    except errors.InvalidInput as e:
        yield FieldFault(place, f"Invalid value: {e.message}")
        return
    if number <= 0:
        yield FieldFault(place, f"Invalid value: {pods.shown(amount)}: must be greater than zero")


def default_claim(obj: Object) -> Object:
    spec = {"volumeMode": "Filesystem"} | pods.given(objects.spec(obj))
    if isinstance(spec.get("resources"), dict):
        spec["resources"] = {kind: quantities.shown_all(amounts) if isinstance(amounts, dict) else amounts
                             for kind, amounts in spec["resources"].items()}
    return obj | {"spec": spec, "status": {"phase": "Pending"} | objects.status(obj)}


def validate_claim(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_claim_faults(objects.spec(obj), old))


def _claim_faults(spec: dict[str, Any], old: Object | None) -> Iterator[FieldFault]:
    yield from mode_faults(spec, required=True)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if requests.get("storage") in (None, ""):
        yield FieldFault("spec.resources[storage]", "Required value")
        return
    faults = list(size_faults("spec.resources[storage]", requests["storage"]))
    yield from faults
    if old is None or faults:
        return
    before = objects.spec(old)
    free = {"resources", "volumeAttributesClassName"} | ({"volumeName"} if not before.get("volumeName") else set())
    if before.get("storageClassName") is None:
        free.add("storageClassName")
    changed = [f for f in spec.keys() | before.keys() if f not in free and spec.get(f) != before.get(f)]
    if changed:
        yield FieldFault("spec", "Forbidden: spec is immutable after creation except resources.requests and "
                                 "volumeAttributesClassName for bound claims")
    size, was = requests["storage"], ((before.get("resources") or {}).get("requests") or {}).get("storage")
    if was is not None and quantities.parse(size) != quantities.parse(was):
        if objects.status(old).get("phase") != "Bound":
            yield FieldFault("spec", "Forbidden: spec is immutable after creation except resources.requests and "
                                     "volumeAttributesClassName for bound claims")
        elif quantities.parse(size) < quantities.parse(
                (objects.status(old).get("capacity") or {}).get("storage") or was):
            yield FieldFault("spec.resources.requests.storage", "Forbidden: field can not be less than "
                                                                "status.capacity")


def default_class(obj: Object) -> Object:
    return {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"} | obj


def validate_class(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = []
    if not obj.get("provisioner"):
        faults.append(FieldFault("provisioner", "Required value"))
    if obj.get("reclaimPolicy") not in _POLICIES:
        faults.append(pods.unsupported("reclaimPolicy", obj.get("reclaimPolicy"), "Delete", "Retain"))
    if obj.get("volumeBindingMode") not in ("Immediate", "WaitForFirstConsumer"):
        faults.append(pods.unsupported("volumeBindingMode", obj.get("volumeBindingMode"), "Immediate",
                                            "WaitForFirstConsumer"))
    if old is not None:
        for field, text in (("parameters", "updates to parameters are forbidden."),
                            ("provisioner", "updates to provisioner are forbidden."),
                            ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
                            ("volumeBindingMode", "field is immutable")):
            if obj.get(field) != old.get(field):
                faults.append(FieldFault(field, f"Forbidden: {text}"))
    return faults
