"""A training's Pods as one gang: the PodGroup by which a scheduler admits all of them or none. Pure.

Every kind of this room calls me when it makes its Pods: ``make_pod_group`` for the object, ``label`` for what each Pod
bears. The kind is scheduler-plugins'; the embedded cluster serves it and its scheduler obeys it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.kube import objects, pod_requests
from lightship.kube.objects import Object
from lightship.kube.resources import POD_GROUPS

LABEL = "scheduling.x-k8s.io/pod-group"
DEFAULT_TIMEOUT_SECONDS = 60
"""Upstream's: how long a group waits before others of its kind may no longer overtake it."""


@dataclass(frozen=True, kw_only=True)
class Members:
    """``count`` Pods of one specification."""

    count: int
    pod: Mapping[str, Any]
    """The Pod's ``spec``."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a user asks of the gang's admission; what is left out follows from its members."""

    min_member: int | None = None
    min_resources: Mapping[str, Any] | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS


def make_pod_group(owner: Object, members: Iterable[Members], terms: Terms | None = None) -> Object:
    """The PodGroup of ``owner``'s Pods, under its name and owned by it: to be applied before the first Pod is made."""
    terms, everyone = terms or Terms(), list(members)
    total: pod_requests.Resources = {}
    for one in everyone:
        asked = pod_requests.requests(one.pod)
        pod_requests.add(total, {name: amount * one.count for name, amount in asked.items()})
    spec: dict[str, Any] = {
        "minMember": sum(one.count for one in everyone) if terms.min_member is None else terms.min_member,
        "scheduleTimeoutSeconds": terms.timeout_seconds,
    }
    resources = dict(terms.min_resources) if terms.min_resources is not None else pod_requests.shown(total)
    if resources:
        spec["minResources"] = resources
    return {
        "apiVersion": POD_GROUPS.api_version, "kind": POD_GROUPS.kind,
        "metadata": {"name": objects.name(owner), "namespace": objects.namespace(owner),
                     "ownerReferences": [objects.owner_reference(owner)]},
        "spec": spec,
    }


def label(owner: Object) -> dict[str, str]:
    """The label of each of ``owner``'s Pods."""
    return {LABEL: objects.name(owner)}
