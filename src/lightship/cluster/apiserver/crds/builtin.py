"""The definitions of the kinds that the domains bring: what ``kubectl get crd`` shows of them.

Pure; ``registrar`` calls me. Their admission is the domain's own, so a definition only tells of it. Install scripts
apply upstream's definitions of the same kinds: those are accepted, and what they specify is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightship.cluster.apiserver.crds import definition
from lightship.cluster.apiserver.registry import Served
from lightship.cluster.store.broadcast import Key as StoreKey
from lightship.kube import objects, versions
from lightship.kube.objects import Object
from lightship.kube.resources import CUSTOM_RESOURCE_DEFINITIONS

BUILT_IN = "lightship.dev/built-in"
"""The annotation that tells a built-in definition; its value is true."""
RECONSIDERED = "lightship.dev/names-reconsidered-at"
"""The annotation by which a definition whose names were taken gets another look; its value is a revision."""
OPEN: Mapping[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def store_key(name: str) -> StoreKey:
    return StoreKey(CUSTOM_RESOURCE_DEFINITIONS.group_resource, "", name)


def definitions(served: Iterable[Served]) -> dict[str, Object]:
    """Name to definition of every custom kind that is served from the start."""
    grouped: dict[str, list[Served]] = {}
    for one in served:
        if one.custom:
            grouped.setdefault(one.resource.group_resource, []).append(one)
    return {name: _definition(name, sorted(members, key=lambda one: versions.rank(one.resource.version)))
            for name, members in grouped.items()}


def _definition(name: str, members: list[Served]) -> Object:
    resource = members[-1].resource
    names: Object = {"plural": resource.plural, "singular": resource.singular or resource.kind.lower(),
                     "kind": resource.kind, "listKind": resource.list_kind}
    for field, words in (("shortNames", resource.short_names), ("categories", resource.categories)):
        if words:
            names[field] = list(words)
    spec = {"group": resource.group, "scope": "Namespaced" if resource.namespaced else "Cluster", "names": names,
            "conversion": {"strategy": "None"},
            "versions": [_version(one, storage=one is members[-1]) for one in members]}
    annotations = {BUILT_IN: "true"}
    if resource.group.endswith((".k8s.io", ".kubernetes.io")):
        annotations[definition.APPROVED] = "built in"
    return {"apiVersion": CUSTOM_RESOURCE_DEFINITIONS.api_version, "kind": CUSTOM_RESOURCE_DEFINITIONS.kind,
            "metadata": {"name": name, "annotations": annotations}, "spec": spec}


def _version(served: Served, *, storage: bool) -> Object:
    resource = served.resource
    version: Object = {"name": resource.version, "served": True, "storage": storage,
                       "schema": {"openAPIV3Schema": served.openapi or OPEN}}
    if "status" in resource.subresources:
        version["subresources"] = {"status": {}} | _scale(served)
    if resource.columns:
        version["additionalPrinterColumns"] = [
            {"name": column.name, "type": column.type, "jsonPath": column.path}
            | ({"priority": column.priority} if column.priority else {})
            | ({"description": column.description} if column.description else {}) for column in resource.columns]
    return version


def _scale(served: Served) -> Object:
    if served.scale is None:
        return {}
    paths: Object = {"specReplicasPath": served.scale.spec_replicas, "statusReplicasPath": served.scale.status_replicas}
    return {"scale": paths | ({"labelSelectorPath": served.scale.selector} if served.scale.selector else {})}


def kept(obj: Object, fixed: Object) -> Object:
    """A write of a built-in definition: its specification stays, what is said around it is taken."""
    annotations = objects.annotations(obj) | objects.annotations(fixed)
    return obj | {"metadata": obj["metadata"] | {"annotations": annotations}, "spec": objects.spec(fixed)}
