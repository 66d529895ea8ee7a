"""Whose fields are whose: sets of fields as ``fieldsV1`` writes them, and how a kind's lists and maps are owned.

Pure; ``managed`` and ``applies`` call me. A set is nested dicts: ``f:NAME``, ``k:{"name":"x"}`` or ``v:"x"`` to what
lies below. An empty dict is a member; ``.`` marks a node that is a member and has members below. The empty root is the
empty set. Where kinds differ from one another stands in a ``Shape``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from lightship.cluster.apiserver import kubernetes_types
from lightship.cluster.apiserver.registry import Served

Fields = dict[str, Any]
LIMIT_SCHEMAS = 1000
_encode = msgspec.json.Encoder(order="sorted").encode


class Shape:
    """How values of one type are owned: whole (the default), field by field, or item by item."""

    __slots__ = ("_children", "is_map", "item", "keys", "named", "zero")

    def __init__(self, *, is_map: bool = False, keys: tuple[tuple[str, str], ...] | None = None,
                 item: Shape | None = None, zero: bool = False) -> None:
        self.is_map = is_map
        self.keys = keys
        """Of a list: the keys that name an item with their defaults; none in a set; None where it is owned whole."""
        self.item = item
        self.zero = zero
        """Of a field that Go always writes: whoever sets what is in it does not own it as well."""
        self.named: Mapping[str, Any] = {}
        self._children: dict[str, Shape] = {}

    def child(self, name: str) -> Shape:
        found = self._children.get(name)
        if found is None:
            source = self.named.get(name)
            found = self.item or LEAF if source is None else _of_source(source)
            if source is not None:
                self._children[name] = found
        return found

    def label(self, value: Any) -> str:
        """What names ``value`` in a list that is owned by item."""
        if not self.keys:
            return "v:" + _encode(value).decode()
        return "k:" + _encode({key: value.get(key) or default for key, default in self.keys}).decode()

    def labels(self, value: list[Any]) -> list[str] | None:
        """The names of all items; None where they cannot be told apart, so that the list is owned whole."""
        if self.keys and not all(isinstance(item, dict) and all(item.get(key) or default for key, default in self.keys)
                                 for item in value):
            return None
        labels = [self.label(item) for item in value]
        return labels if len(set(labels)) == len(labels) else None


LEAF = Shape()
FREE = Shape(is_map=True)
"""Where no schema is known: maps by field, lists whole."""
FREE.item = FREE


def shape_of(served: Served) -> Shape:
    """Of a kind's objects."""
    name = kubernetes_types.name_of(served.resource.api_version, served.resource.kind)
    if name:
        return _of_type(name)
    if served.openapi is None:
        return _FREE_OBJECT
    known = _schemas.get(id(served.openapi))
    if known is None or known[0] is not served.openapi:
        if len(_schemas) >= LIMIT_SCHEMAS:
            _schemas.clear()
        shape = _of_schema(served.openapi)
        shape.named = dict(shape.named) | {"metadata": _METADATA}
        known = _schemas[id(served.openapi)] = (served.openapi, shape)
    return known[1]


_schemas: dict[int, tuple[Any, Shape]] = {}
_METADATA = kubernetes_types.Field(0, "meta.v1.ObjectMeta", "")


def _of_source(source: Any) -> Shape:
    return _of_field(source) if isinstance(source, kubernetes_types.Field) else _of_schema(source)


@cache
def _of_type(name: str) -> Shape:
    shape = Shape(is_map=True)
    shape.named = kubernetes_types.json_fields(name)
    return shape


@cache
def _of_field(field: kubernetes_types.Field) -> Shape:
    if field.atomic:
        return LEAF
    inner = _of_type(field.type) if "." in field.type else FREE if field.type in ("raw", "fields") else LEAF
    if field.map:
        return Shape(is_map=True, item=inner)
    if not field.repeated:
        if "." not in field.type:
            return inner
        shape = Shape(is_map=True, zero=not field.pointer)
        shape.named = inner.named
        return shape
    kind, _, names = field.list.partition(":")
    if not kind and field.merge.startswith("merge"):
        names = field.merge.partition(":")[2]
        kind = "map" if names else "set"
    if kind == "map":
        known = kubernetes_types.json_fields(field.type)
        return Shape(keys=tuple((name, known[name].default) for name in sorted(names.split(","))), item=inner,
                     zero=field.required)
    return Shape(keys=(), item=LEAF, zero=field.required) if kind == "set" else LEAF


def _of_schema(schema: Any) -> Shape:
    if not isinstance(schema, Mapping):
        return LEAF
    if schema.get("type") == "array" or "items" in schema:
        kind, inner = schema.get("x-kubernetes-list-type"), schema.get("items") or {}
        if kind == "map":
            known = inner.get("properties") or {}
            return Shape(keys=tuple((str(key), str((known.get(key) or {}).get("default") or ""))
                                    for key in sorted(schema.get("x-kubernetes-list-map-keys") or ())),
                         item=_of_schema(inner))
        return Shape(keys=(), item=LEAF) if kind == "set" else LEAF
    if schema.get("x-kubernetes-map-type") == "atomic":
        return LEAF
    if schema.get("type") == "object" or "properties" in schema:
        rest = schema.get("additionalProperties")
        open_ = schema.get("x-kubernetes-preserve-unknown-fields")
        shape = Shape(is_map=True, item=_of_schema(rest) if isinstance(rest, Mapping) else FREE if open_ or rest
                      else LEAF)
        shape.named = schema.get("properties") or {}
        return shape
    return FREE if schema.get("x-kubernetes-preserve-unknown-fields") else LEAF


_FREE_OBJECT = Shape(is_map=True, item=FREE)
_FREE_OBJECT.named = {"metadata": _METADATA}


def of_value(value: Any, shape: Shape) -> Fields:
    """The fields that somebody owns who applies ``value``."""
    if shape.is_map and isinstance(value, dict):
        result: Fields = {}
        for key, inner in value.items():
            below = of_value(inner, shape.child(key))
            whole = key not in shape.named or inner is None or inner == {}
            result[f"f:{key}"] = {".": {}} | below if whole and below else below
        return result
    if shape.keys is not None and isinstance(value, list):
        labels = shape.labels(value)
        if labels is not None:
            item = shape.item or LEAF
            found = [(label, of_value(inner, item)) for label, inner in zip(labels, value, strict=True)]
            return {label: {".": {}} | below if below else below for label, below in found}
    return {}


def added(value: Any, shape: Shape, *, dots: bool = True) -> Fields:
    """The fields that somebody owns who writes ``value`` where nothing was; ``dots``: the nodes on the way too."""
    below: Fields = {}
    if shape.is_map and isinstance(value, dict):
        for key, inner in value.items():
            child = shape.child(key)
            if child is LEAF:
                below[f"f:{key}"] = {}
            else:
                below[f"f:{key}"] = added(inner, child, dots=dots or not child.zero)
    elif shape.keys is not None and isinstance(value, list):
        labels, item = shape.labels(value), shape.item or LEAF
        if labels is not None:
            below = {label: added(inner, item) for label, inner in zip(labels, value, strict=True)}
    return {".": {}} | below if dots and below else below


def outline(value: Mapping[str, Any]) -> tuple[Any, ...]:
    """The names in ``value`` and in the maps below it; empty where it holds lists, whose items may name fields too."""
    found: list[Any] = []
    for key, inner in value.items():
        found.append(key)
        if isinstance(inner, dict):
            below = outline(inner)
            if inner and not below:
                return ()
            found.append(below)
        elif isinstance(inner, list):
            return ()
    return tuple(found)


def compared(old: Any, new: Any, shape: Shape) -> tuple[Fields | None, Fields | None]:
    """(what was added or changed, what was removed) between two different values; None for nothing."""
    if shape.is_map and isinstance(old, dict) and isinstance(new, dict):
        before, after = old, new
        child, prefix = shape.child, "f:"
    elif shape.keys is not None and isinstance(old, list) and isinstance(new, list):
        old_labels, new_labels = shape.labels(old), shape.labels(new)
        if old_labels is None or new_labels is None:
            return {}, None
        before, after = dict(zip(old_labels, old, strict=True)), dict(zip(new_labels, new, strict=True))
        item = shape.item or LEAF
        child, prefix = (lambda name: item), ""
    else:
        return {}, None
    changed: Fields = {}
    gone: Fields = {}
    for key, value in after.items():
        if key not in before:
            inner = child(key)
            changed[prefix + key] = added(value, inner, dots=not inner.zero or not prefix)
        elif before[key] is not value and before[key] != value:
            more, less = compared(before[key], value, child(key))
            if more is not None:
                changed[prefix + key] = more
            if less is not None:
                gone[prefix + key] = less
    for key in before.keys() - after.keys():
        gone[prefix + key] = added(before[key], child(key))
    return changed or None, gone or None


def _member(node: Fields) -> bool:
    return not node or "." in node


def union(a: Fields, b: Fields) -> Fields:
    """Of two sets."""
    if not a or not b:
        return a or b
    result = dict(a)
    for key, below in b.items():
        known = result.get(key)
        if known is None or key == ".":
            result[key] = below
        elif known and below:
            result[key] = union(known, below)
        elif known or below:
            result[key] = {".": {}} | (known or below)
    return result


def minus(a: Fields, b: Fields) -> Fields:
    """The members of ``a`` that are not in ``b``, as a set."""
    return {key: left for key, below in a.items()
            if (left := below if key not in b else _minus(below, b[key])) is not None}


def _minus(a: Fields, b: Fields) -> Fields | None:
    kept = _member(a) and not _member(b)
    below = {key: left for key, inner in a.items() if key != "."
             and (left := inner if key not in b else _minus(inner, b[key])) is not None}
    if below:
        return {".": {}} | below if kept else below
    return {} if kept else None


def beyond(a: Fields, b: Fields) -> Fields:
    """Of ``a`` what may be taken away while ``b`` is kept: no node on the way to anything in ``b``."""
    return {key: left for key, below in a.items()
            if key != "." and (left := below if key not in b else beyond(below, b[key]) or None) is not None}


def common(a: Fields, b: Fields) -> Fields:
    """The members that are in both, as a set."""
    return {key: both for key, below in a.items() if key in b and (both := _common(below, b[key])) is not None}


def _common(a: Fields, b: Fields) -> Fields | None:
    kept = _member(a) and _member(b)
    below = {key: both for key, inner in a.items() if key != "." and key in b
             and (both := _common(inner, b[key])) is not None}
    if below:
        return {".": {}} | below if kept else below
    return {} if kept else None


def members(fields: Fields, path: str = "") -> list[str]:
    """The paths of a set's members as messages show them: ``.spec.containers[name="x"].image``."""
    found = []
    for key, below in fields.items():
        if key == ".":
            continue
        here = path + _shown(key)
        if _member(below):
            found.append(here)
        found += members(below, here)
    return found


def _shown(key: str) -> str:
    if key.startswith("k:"):
        names = msgspec.json.decode(key[2:])
        return "[" + ",".join(f"{name}={_encode(value).decode()}" for name, value in names.items()) + "]"
    return f"[={key[2:]}]" if key.startswith("v:") else f".{key[2:]}"
