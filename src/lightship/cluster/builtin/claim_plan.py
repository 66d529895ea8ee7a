"""Which volume a claim gets: one that is there and fits, or a new one of its class. Pure; ``claims`` calls me.

Volumes of the built-in class are directories of a node. A handle names the directory below the node's ``volumes``; it
is ``namespace/name`` of the claim wherever no other volume has that, as it was before there were volumes as objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.builtin import names
from lightship.kube import objects, quantities, selectors
from lightship.kube.objects import Object

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
PROVISIONER = "directories.lightship.dev"
"""Provisions directories of the node; also the driver of such volumes."""

STANDARD: Object = {
    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    "allowVolumeExpansion": True,
}
"""The class that every cluster of ours begins with. Immediate, since a claim is for this node anyhow."""


def storage(obj: Mapping[str, Any]) -> int:
    """What a claim asks for, or a volume has, in bytes."""
    spec = objects.spec(obj)
    amounts = spec.get("capacity") or (spec.get("resources") or {}).get("requests") or {}
    return quantities.whole(amounts.get("storage") or 0)


def default_class(classes: Iterable[Object]) -> str | None:
    """The name of the default class, of several the newest."""
    marked = [found for found in classes if names.annotation(found, DEFAULT_CLASS) == "true"]
    newest = max(marked, key=lambda found: (str(objects.meta(found).get("creationTimestamp")), objects.name(found)),
                 default=None)
    return objects.name(newest) if newest is not None else None


def is_claimed_by(volume: Object, claim: Object) -> bool:
    """Whether the volume says that it is the claim's (or was kept for one of that name)."""
    reference = objects.spec(volume).get("claimRef") or {}
    return (reference.get("namespace") == objects.namespace(claim) and reference.get("name") == objects.name(claim)
            and reference.get("uid") in (None, "", objects.uid(claim)))


def best(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """The volume that was kept for the claim, or else the smallest free one that fits."""
    fitting = [volume for volume in volumes if not objects.deleting(volume) and (
        is_claimed_by(volume, claim) or not objects.spec(volume).get("claimRef")) and fits(claim, volume)]
    kept = [volume for volume in fitting if objects.spec(volume).get("claimRef")]
    return min(kept or fitting, key=lambda volume: (storage(volume), objects.name(volume)), default=None)


def fits(claim: Object, volume: Object) -> bool:
    wanted, given = objects.spec(claim), objects.spec(volume)
    if (wanted.get("storageClassName") or "") != (given.get("storageClassName") or ""):
        return False
    if (wanted.get("volumeMode") or "Filesystem") != (given.get("volumeMode") or "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(given.get("accessModes") or ()):
        return False
    if storage(volume) < storage(claim):
        return False
    selector = wanted.get("selector")
    try:
        return selector is None or selectors.from_object(selector).matches(objects.labels(volume))
    except errors.LightshipError:
        return False


def make_volume(claim: Object, storage_class: Object, node: str, taken: Collection[str]) -> Object:
    """A new directory for the claim, on ``node``."""
    handle = f"{objects.namespace(claim)}/{objects.name(claim)}"
    if handle in taken:
        handle = f"{objects.namespace(claim)}/pvc-{objects.uid(claim)}"
    spec = objects.spec(claim)
    return {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{objects.uid(claim)}", "finalizers": [VOLUME_FINALIZER],
                     "annotations": {PROVISIONED_BY: PROVISIONER, BOUND_BY_CONTROLLER: "yes"}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec.get("accessModes") or [], "volumeMode": spec.get("volumeMode") or "Filesystem",
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": objects.name(storage_class), "claimRef": claim_reference(claim),
            "csi": {"driver": PROVISIONER, "volumeHandle": handle},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}},
        },
    }


def handles(volumes: Iterable[Object]) -> set[str]:
    return {str((objects.spec(volume).get("csi") or {}).get("volumeHandle")) for volume in volumes
            if (objects.spec(volume).get("csi") or {}).get("driver") == PROVISIONER}


def is_reclaimed_by_node(volume: Object) -> bool:
    """Whether the node deletes the data, and then the volume."""
    spec = objects.spec(volume)
    return ((spec.get("csi") or {}).get("driver") == PROVISIONER
            and spec.get("persistentVolumeReclaimPolicy") == "Delete")


def claim_reference(claim: Object) -> Object:
    return {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": objects.namespace(claim),
            "name": objects.name(claim), "uid": objects.uid(claim)}


def uses(pod: Object, claim: str) -> bool:
    """Whether a volume of the Pod is the claim of that name."""
    for volume in objects.spec(pod).get("volumes") or ():
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim:
            return True
        if volume.get("ephemeral") and names.ephemeral_claim(objects.name(pod), volume["name"]) == claim:
            return True
    return False


def ephemeral_claims(pod: Object) -> Sequence[Object]:
    """The claims that the Pod's own ``ephemeral`` volumes stand for; they go with the Pod."""
    made = []
    for volume in objects.spec(pod).get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if not template:
            continue
        metadata = {key: value for key, value in (template.get("metadata") or {}).items()
                    if key in ("labels", "annotations")}
        made.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                     "metadata": metadata | {"name": names.ephemeral_claim(objects.name(pod), volume["name"]),
                                             "namespace": objects.namespace(pod),
                                             "ownerReferences": [objects.owner_reference(pod)]},
                     "spec": template.get("spec") or {}})
    return made
