"""Kubernetes' own types as data: the fields of every type of the served core kinds.

``kubernetes_types.json`` is made by ``tools/kubernetes_types.py`` from upstream's Go types; it is read when the first
caller asks. ``protobuf`` decodes by me, ``strict`` checks field names, ``openapi`` describes kinds.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec


class Field(NamedTuple):
    """A field: its protobuf number and its type, which is basic or the name of another type."""

    number: int
    type: str
    flags: str
    merge: str = ""

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


Type = dict[str, Field]

_PACKAGES = {"": "core", "authentication.k8s.io": "authentication", "authorization.k8s.io": "authorization",
             "coordination.k8s.io": "coordination", "discovery.k8s.io": "discovery", "events.k8s.io": "events"}


@cache
def types() -> dict[str, Type]:
    """Type name, such as ``core.v1.PodSpec``, to its fields."""
    text = (resources.files(__package__) / "kubernetes_types.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Type])


def name_of(api_version: str, kind: str) -> str:
    """The type of a kind, such as ``core.v1.Pod``; empty where it is not known."""
    group, _, version = api_version.rpartition("/")
    name = f"{_PACKAGES.get(group, group)}.{version}.{kind}"
    if kind == "DeleteOptions":
        return "meta.v1.DeleteOptions"
    return name if name in types() else ""


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
