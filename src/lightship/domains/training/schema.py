"""Pieces of structural schemas that the kinds of this room share. Pure data.

Pod-shaped parts are kept as they come: the API server judges them where they become Pods, and upstream's own schemas
of them take a megabyte.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

OPEN: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
EMPTY: Schema = {"type": "object"}
IMMUTABLE = {"rule": "self == oldSelf", "message": "field is immutable"}
METADATA: Schema = {"type": "object", "properties": {
    "name": {"type": "string"}, "generateName": {"type": "string"}, "namespace": {"type": "string"},
    "labels": STRINGS, "annotations": STRINGS, "finalizers": {"type": "array", "items": {"type": "string"}}}}


def text(**limits: Any) -> Schema:
    return {"type": "string", **limits}


def number(form: str = "int32", **limits: Any) -> Schema:
    return {"type": "integer", "format": form, **limits}


def object_of(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return made | {"required": list(required)} if required else made


def list_of(items: Schema, most: int = 0, *, key: str = "", atomic: bool = False) -> Schema:
    """A list; with ``key`` one whose items are told apart by it, as apply and transition rules need."""
    made: Schema = {"type": "array", "items": items}
    if most:
        made["maxItems"] = most
    if key:
        made |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    elif atomic:
        made["x-kubernetes-list-type"] = "atomic"
    return made


def ruled(schema: Schema, *rules: dict[str, str]) -> Schema:
    return schema | {"x-kubernetes-validations": [*schema.get("x-kubernetes-validations", ()), *rules]}


def named(most: int, **more: Schema) -> Schema:
    """A list of Pod-shaped things with names, kept as they come."""
    item = OPEN | {"properties": {"name": text(minLength=1, maxLength=253), **more}, "required": ["name"]}
    return list_of(item, most, key="name")


def of_kind(spec: Schema, status: Schema | None = None, required: tuple[str, ...] = ()) -> Schema:
    """The schema of a whole kind."""
    parts: Schema = {"apiVersion": text(), "kind": text(), "metadata": {"type": "object"}, "spec": spec}
    if status is not None:
        parts["status"] = status
    return object_of(required, **parts)
