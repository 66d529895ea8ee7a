"""A StatefulSet's Pods and claims: their names and what ties them together. Pure; ``statefulsets`` calls me."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightship.cluster.builtin import children
from lightship.cluster.builtin.controller_revisions import POD_REVISION
from lightship.kube import objects
from lightship.kube.objects import Key, Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def pod_name(stateful_set: Object, ordinal: int) -> str:
    return f"{objects.name(stateful_set)}-{ordinal}"


def make_pod(stateful_set: Object, template: Mapping[str, Any], ordinal: int, revision: str) -> Object:
    """The Pod of an ordinal, with its own name, host name and claims."""
    name = pod_name(stateful_set, ordinal)
    pod = children.pod_from(template, stateful_set, name, "")
    pod["metadata"]["generateName"] = f"{objects.name(stateful_set)}-"
    pod["metadata"]["labels"] |= {POD_NAME: name, POD_INDEX: str(ordinal), POD_REVISION: revision}
    spec = pod["spec"]
    spec["hostname"] = name
    if service := objects.spec(stateful_set).get("serviceName"):
        spec["subdomain"] = service
    claims = {objects.name(claim): claim_name(stateful_set, claim, ordinal) for claim in claim_templates(stateful_set)}
    if claims:
        others = [volume for volume in spec.get("volumes") or () if volume.get("name") not in claims]
        spec["volumes"] = others + [{"name": volume, "persistentVolumeClaim": {"claimName": claim}}
                                    for volume, claim in claims.items()]
    return pod


def claim_templates(stateful_set: Object) -> list[Object]:
    return objects.spec(stateful_set).get("volumeClaimTemplates") or []


def claim_name(stateful_set: Object, template: Object, ordinal: int) -> str:
    return f"{objects.name(template)}-{objects.name(stateful_set)}-{ordinal}"


def make_claims(stateful_set: Object, ordinal: int) -> Iterator[Object]:
    """The claims of an ordinal, which outlive its Pod."""
    chosen = (objects.spec(stateful_set).get("selector") or {}).get("matchLabels") or {}
    for template in claim_templates(stateful_set):
        labels = objects.labels(template) | chosen
        metadata: dict[str, Any] = {"name": claim_name(stateful_set, template, ordinal),
                                    "namespace": objects.namespace(stateful_set), "labels": labels}
        if notes := objects.annotations(template):
            metadata["annotations"] = notes
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
               "spec": objects.spec(template)}


def claim_keys(stateful_set: Object, ordinal: int) -> list[Key]:
    return [Key(objects.namespace(stateful_set), claim_name(stateful_set, template, ordinal))
            for template in claim_templates(stateful_set)]


def retention(stateful_set: Object) -> tuple[bool, bool]:
    """Whether claims are to go with the set, and with a Pod that is scaled away."""
    policy = objects.spec(stateful_set).get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"


def claim_owners(stateful_set: Object, claim: Object, pod: Object | None) -> list[dict[str, Any]]:
    """The owner references that the retention policy asks for; ``pod`` is the claim's, where it is scaled away."""
    with_set, with_scale = retention(stateful_set)
    uids = {objects.uid(stateful_set)} | ({objects.uid(pod)} if pod is not None else set())
    kept = [reference for reference in objects.meta(claim).get("ownerReferences") or ()
            if reference.get("uid") not in uids
            and not (reference.get("kind") == "Pod" and reference.get("name") == _pod_of(stateful_set, claim))]
    if with_scale and pod is not None:
        return [*kept, _reference(pod)]
    return [*kept, _reference(stateful_set)] if with_set else kept


def _pod_of(stateful_set: Object, claim: Object) -> str:
    return f"{objects.name(stateful_set)}-{objects.name(claim).rpartition('-')[2]}"


def _reference(owner: Object) -> dict[str, Any]:
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": objects.name(owner),
            "uid": objects.uid(owner)}
