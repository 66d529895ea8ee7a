"""What a Pod's claims mean for where it may go. Pure; ``filters`` and ``decide`` call me."""

from __future__ import annotations

from lightship.cluster.builtin.scheduling import affinity
from lightship.cluster.builtin.scheduling.facts import Landscape, NodeFacts, PodFacts
from lightship.kube import objects
from lightship.kube.objects import Key

READ_WRITE_ONCE_POD = "ReadWriteOncePod"


def pod_obstacle(pod: PodFacts, land: Landscape) -> str:
    """Why the Pod cannot go anywhere yet, for the sake of its claims."""
    for name in pod.claims:
        claim = land.claims.get(Key(pod.key.namespace, name))
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if objects.deleting(claim):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if objects.status(claim).get("phase") == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume ' \
                   f'"{objects.spec(claim).get("volumeName", "")}"'
        bound = objects.spec(claim).get("volumeName") and objects.status(claim).get("phase") == "Bound"
        if not bound and str(objects.spec(claim).get("storageClassName") or "") not in land.waiting_classes:
            return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def unbound(pod: PodFacts, land: Landscape) -> tuple[Key, ...]:
    """The claims that wait to hear on which node their volume is wanted."""
    found = []
    for name in pod.claims:
        key = Key(pod.key.namespace, name)
        claim = land.claims.get(key)
        if claim is not None and not objects.spec(claim).get("volumeName"):
            found.append(key)
    return tuple(found)


def node_obstacle(pod: PodFacts, node: NodeFacts, land: Landscape) -> str:
    """Whether a volume that the Pod needs is elsewhere."""
    for name in pod.claims:
        claim = land.claims.get(Key(pod.key.namespace, name)) or {}
        volume = land.volumes.get(str(objects.spec(claim).get("volumeName") or "")) or {}
        required = (objects.spec(volume).get("nodeAffinity") or {}).get("required")
        if required and not affinity.selector_matches(required, node):
            return "node(s) didn't match PersistentVolume's node affinity"
    return ""


def single_pod_claim_taken(pod: PodFacts, land: Landscape) -> bool:
    """Whether another Pod uses a claim that only one may use."""
    single = {name for name in pod.claims
              if READ_WRITE_ONCE_POD in (objects.spec(land.claims.get(Key(pod.key.namespace, name)) or {}).get(
                  "accessModes") or ())}
    return bool(single) and any(
        other.key.namespace == pod.key.namespace and other.uid != pod.uid and not single.isdisjoint(other.claims)
        for _, other in land.placed())
