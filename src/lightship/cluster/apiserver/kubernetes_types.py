"""Kubernetes' own types as data: the fields of every type of the served core kinds.

``kubernetes_types.json`` is made by ``tools/kubernetes_types.py`` from upstream's Go types; it is read when the first
caller asks. ``protobuf`` decodes by me, ``typed`` checks types, ``strict`` names of fields, ``openapi`` describes
kinds, ``fields`` learns from me how lists merge.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import msgspec

LIMIT_REMEMBERED_NAMES = 4096


class Field(NamedTuple):
    """A field: its protobuf number (0 where it has none) and its type, which is basic or the name of another type."""

    number: int
    type: str
    flags: str
    merge: str = ""
    """``patchStrategy:patchMergeKey`` of strategic merge."""
    list: str = ""
    """``atomic``, ``set`` or ``map:KEY,KEY``: who owns which items."""
    default: str = ""

    @property
    def repeated(self) -> bool:
        return "r" in self.flags

    @property
    def map(self) -> bool:
        return "m" in self.flags

    @property
    def pointer(self) -> bool:
        return "p" in self.flags

    @property
    def inline(self) -> bool:
        """In JSON the fields of the type stand in its place."""
        return "i" in self.flags

    @property
    def required(self) -> bool:
        return "q" in self.flags

    @property
    def atomic(self) -> bool:
        """A map or an object that is owned whole."""
        return "a" in self.flags


Type = dict[str, Field]

PACKAGES = {
    "": "core", "apps": "apps", "batch": "batch", "autoscaling": "autoscaling", "policy": "policy",
    "authentication.k8s.io": "authentication", "authorization.k8s.io": "authorization",
    "apiextensions.k8s.io": "apiextensions", "certificates.k8s.io": "certificates",
    "coordination.k8s.io": "coordination", "discovery.k8s.io": "discovery", "events.k8s.io": "events",
    "jobset.x-k8s.io": "jobset", "metrics.k8s.io": "metrics", "networking.k8s.io": "networking",
    "node.k8s.io": "node", "rbac.authorization.k8s.io": "rbac", "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage",
}
"""API group to the first part of its types' names."""


@cache
def types() -> dict[str, Type]:
    """Type name, such as ``core.v1.PodSpec``, to its fields."""
    text = (resources.files(__package__) / "kubernetes_types.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Type])


@lru_cache(maxsize=LIMIT_REMEMBERED_NAMES)
def name_of(api_version: str, kind: str) -> str:
    """The type of a kind, such as ``core.v1.Pod``; empty where it is not known."""
    group, _, version = api_version.rpartition("/")
    if kind == "DeleteOptions":
        return "meta.v1.DeleteOptions"
    package = PACKAGES.get(group)
    name = f"{package}.{version}.{kind}"
    return name if package and name in types() else ""


@cache
def json_fields(name: str) -> Type:
    """The type's fields as JSON has them, with inline ones in their place."""
    result: Type = {}
    for label, field in types()[name].items():
        if field.inline:
            result |= json_fields(field.type)
        else:
            result[label] = field
    return result
