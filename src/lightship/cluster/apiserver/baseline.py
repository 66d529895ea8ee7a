"""What a Pod asks for that Pod Security's baseline forbids and this node gives: its author is warned. Pure.

``strict`` asks me about every object that a client writes. Only the host's network is such a thing: what else the
baseline forbids the node refuses. Nobody is kept from it, as by upstream's server with no level enforced; whoever may
do anything is not warned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lightship.cluster.apiserver.access import MASTERS
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

_POD = ("spec",)
_TEMPLATE = ("spec", "template", "spec")
_SPECS = {("", "Pod"): _POD, ("", "ReplicationController"): _TEMPLATE, ("apps", "Deployment"): _TEMPLATE,
          ("apps", "ReplicaSet"): _TEMPLATE, ("apps", "StatefulSet"): _TEMPLATE, ("apps", "DaemonSet"): _TEMPLATE,
          ("batch", "Job"): _TEMPLATE, ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE)}


def warnings(resource: Resource, obj: Object, groups: Collection[str]) -> list[str]:
    """What the author, who is in ``groups``, should know of the Pods that the object is or makes."""
    if MASTERS in groups:
        return []
    place: Any = obj
    for name in _SPECS.get((resource.group, resource.kind), ("",)):
        place = place.get(name) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping) or place.get("hostNetwork") is not True:
        return []
    return ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true): its processes reach '
            "whatever listens on this machine's loopback"]
