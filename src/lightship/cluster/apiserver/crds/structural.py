"""Whether a definition's schema is *structural*: every field has one type, said outside of ``anyOf`` and its kin.

Pure; ``definition`` asks me about each version. Texts and places are those of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightship.cluster.apiserver.crds import rules, walker
from lightship.cluster.apiserver.crds.places import ROOT, shown
from lightship.cluster.apiserver.registry import FieldFault
from lightship.lib import regex

Schema = Mapping[str, Any]
LIMIT_SCHEMA_DEPTH = 60

_TYPES = ("string", "integer", "number", "boolean", "object", "array")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NESTED_EMPTY = ("title", "description", "x-kubernetes-list-map-keys", "x-kubernetes-validations", "type")
_NESTED_UNDEFINED = ("default", "externalDocs", "x-kubernetes-list-type", "x-kubernetes-map-type",
                     "additionalProperties")
_NESTED_FALSE = ("nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
                 "x-kubernetes-int-or-string")
_OF_TYPE: dict[str, type | tuple[type, ...]] = {
    "properties": dict, "required": list, "enum": list, "allOf": list, "anyOf": list, "oneOf": list, "not": dict,
    "pattern": str, "format": str, "type": str, "minLength": int, "maxLength": int, "minItems": int, "maxItems": int,
    "minProperties": int, "maxProperties": int, "minimum": (int, float), "maximum": (int, float),
    "multipleOf": (int, float), "nullable": bool, "uniqueItems": bool, "exclusiveMinimum": bool,
    "exclusiveMaximum": bool, "description": str, "x-kubernetes-list-type": str, "x-kubernetes-map-type": str,
    "x-kubernetes-list-map-keys": list, "x-kubernetes-validations": list, "x-kubernetes-int-or-string": bool,
    "x-kubernetes-embedded-resource": bool, "x-kubernetes-preserve-unknown-fields": bool,
}


def check(schema: Schema, place: str) -> list[FieldFault]:
    """The faults of a schema: of its shape, else of what it says, else of its defaults."""
    return list(_types(schema, place, 0)) or list(_specified(schema, place, "root")) or list(_defaults(schema, place))


def _types(schema: Any, place: str, depth: int) -> Iterator[FieldFault]:
    """Schemas where schemas must be, and every keyword of its type."""
    if not isinstance(schema, Mapping):
        yield FieldFault(place, "Invalid value: must be a schema object")
        return
    if depth > LIMIT_SCHEMA_DEPTH:
        yield FieldFault(place, f"Invalid value: schemas are nested deeper than {LIMIT_SCHEMA_DEPTH} levels")
        return
    for name, value in schema.items():
        wanted = _OF_TYPE.get(name)
        if wanted is not None and value is not None and (
                not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
            yield FieldFault(f"{place}.{name}", f"Invalid value: {shown(value)}: has the wrong type")
            return
    for key in (schema.get("required") or []) + (schema.get("x-kubernetes-list-map-keys") or []):
        if not isinstance(key, str):
            yield FieldFault(f"{place}.required", "Invalid value: names must be strings")
    for inner, where in _below(schema, place):
        yield from _types(inner, where, depth + 1)


def _below(schema: Schema, place: str) -> Iterator[tuple[Any, str]]:
    for name, inner in (schema.get("properties") or {}).items():
        yield inner, f"{place}.properties[{name}]"
    for name in ("items", "not"):
        if schema.get(name) is not None:
            yield schema[name], f"{place}.{name}"
    if schema.get("additionalProperties") is not None and not isinstance(schema["additionalProperties"], bool):
        yield schema["additionalProperties"], f"{place}.additionalProperties"
    for name in ("allOf", "anyOf", "oneOf"):
        for number, inner in enumerate(schema.get(name) or ()):
            yield inner, f"{place}.{name}[{number}]"


def _specified(schema: Schema, place: str, level: str) -> Iterator[FieldFault]:
    """One schema outside of junctors, and all below it. ``level`` is ``root``, ``field`` or ``item``."""
    yield from _kind(schema, place, level)
    yield from _extensions(schema, place)
    yield from _lists(schema, place)
    yield from _values(schema, place)
    yield from rules.faults(schema, place, level == "root")
    if level == "root" and isinstance(schema.get("additionalProperties"), Mapping):
        yield FieldFault(f"{place}.additionalProperties", "Forbidden: must not be used at the root")
    if schema.get("properties") and schema.get("additionalProperties") is not None and (
            schema["additionalProperties"] is not True):
        yield FieldFault(f"{place}.additionalProperties",
                         "Forbidden: additionalProperties and properties are mutual exclusive")
    for name, inner in (schema.get("properties") or {}).items():
        where = f"{place}.properties[{name}]"
        if level == "root" and name == "metadata":
            yield from _metadata(inner, where)
        elif level == "root" and name in ("apiVersion", "kind"):
            if inner.get("type") != "string":
                yield FieldFault(f"{where}.type", f"Invalid value: {shown(inner.get('type', ''))}: must be string")
        else:
            yield from _specified(inner, where, "field")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _specified(schema["additionalProperties"], f"{place}.additionalProperties", "field")
    if schema.get("items") is not None:
        yield from _specified(schema["items"], f"{place}.items", "item")
    yield from _junctors(schema, schema, place)


def _kind(schema: Schema, place: str, level: str) -> Iterator[FieldFault]:
    kind = schema.get("type") or ""
    if kind == "null":
        yield FieldFault(f"{place}.type", "Forbidden: type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        allowed = ", ".join(f'"{name}"' for name in sorted(_TYPES))
        yield FieldFault(f"{place}.type", f"Unsupported value: {shown(kind)}: supported values: {allowed}")
    if kind == "array" and schema.get("items") is None:
        yield FieldFault(f"{place}.items", "Required value: must be specified")
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            yield FieldFault(f"{place}.type",
                             "Required value: must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
            yield FieldFault(f"{place}.properties",
                             "Required value: must not be empty if x-kubernetes-embedded-resource "
                                                    "is true without x-kubernetes-preserve-unknown-fields")
    elif not kind and not schema.get("x-kubernetes-int-or-string") and (
            not schema.get("x-kubernetes-preserve-unknown-fields")):
        text = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        yield FieldFault(f"{place}.type", f"Required value: must not be empty {text[level]}")
    if level == "root" and kind not in ("", "object"):
        yield FieldFault(f"{place}.type", f"Invalid value: {shown(kind)}: must be object at the root")


def _metadata(schema: Schema, place: str) -> Iterator[FieldFault]:
    if schema.get("type") != "object":
        yield FieldFault(f"{place}.type", f"Invalid value: {shown(schema.get('type', ''))}: must be object")
    restricted = set(schema.get("properties") or {}) - {"name", "generateName"}
    if restricted or schema.keys() - {"type", "properties", "description", "required"}:
        yield FieldFault(place,
                         "Forbidden: must not specify anything other than name and generateName, but metadata is "
                                "implicitly specified")


def _extensions(schema: Schema, place: str) -> Iterator[FieldFault]:
    if schema.get("x-kubernetes-int-or-string"):
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(name):
                yield FieldFault(f"{place}.{name}", "Invalid value: true: must be false if x-kubernetes-int-or-string "
                                                    "is true")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield FieldFault(f"{place}.x-kubernetes-preserve-unknown-fields", "Invalid value: false: must be true or "
                                                                          "undefined")
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield FieldFault(f"{place}.{name}", f"Forbidden: {name} is not supported")
    if schema.get("uniqueItems"):
        yield FieldFault(f"{place}.uniqueItems", "Forbidden: uniqueItems cannot be set to true since the runtime "
                                                 "complexity becomes quadratic")
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in ("granular", "atomic"):
        yield FieldFault(f"{place}.x-kubernetes-map-type", f'Unsupported value: {shown(map_type)}: supported values: '
                                                           '"atomic", "granular"')
    if map_type is not None and schema.get("type") != "object":
        yield FieldFault(f"{place}.type", "Invalid value: must be object if x-kubernetes-map-type is specified")


def _lists(schema: Schema, place: str) -> Iterator[FieldFault]:
    kind, names = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    where = f"{place}.x-kubernetes-list-map-keys"
    if kind is not None and kind not in ("atomic", "set", "map"):
        yield FieldFault(f"{place}.x-kubernetes-list-type", f'Unsupported value: {shown(kind)}: supported values: '
                                                            '"atomic", "map", "set"')
    if kind is not None and schema.get("type") != "array":
        yield FieldFault(f"{place}.type", f"Invalid value: {shown(schema.get('type', ''))}: must be array if "
                                          "x-kubernetes-list-type is specified")
    if names and kind != "map":
        yield FieldFault(f"{place}.x-kubernetes-list-type", "Required value: must be map if x-kubernetes-list-map-keys "
                                                            "is non-empty")
    items = schema.get("items") or {}
    if kind == "map" and not names:
        yield FieldFault(where, "Required value: must not be empty if x-kubernetes-list-type is map")
    if kind != "map":
        return
    if items.get("type") != "object":
        yield FieldFault(f"{place}.items.type",
                         f"Invalid value: {shown(items.get('type', ''))}: must be object if parent "
                                                "array's x-kubernetes-list-type is map")
    for number, name in enumerate(names):
        inner = (items.get("properties") or {}).get(name)
        if inner is None:
            yield FieldFault(f"{where}[{number}]", f"Invalid value: {shown(name)}: entries must all be names of item "
                                                   "properties")
        elif inner.get("type") not in ("string", "integer", "number", "boolean"):
            yield FieldFault(f"{place}.items.properties[{name}].type", "Invalid value: must be a scalar type if parent "
                                                                       "array's x-kubernetes-list-type is map")
        elif inner.get("default") is None and name not in (items.get("required") or []):
            yield FieldFault(f"{place}.items.properties[{name}].default", "Required value: this property is in "
                             "x-kubernetes-list-map-keys, so it must have a default or be a required property")


def _values(schema: Schema, place: str) -> Iterator[FieldFault]:
    if schema.get("pattern"):
        try:
            regex.compile(schema["pattern"])
        except regex.Refused as e:
            yield FieldFault(f"{place}.pattern", f"Invalid value: {shown(schema['pattern'])}: must be a valid regular "
                                                 f"expression, but isn't: {e}")


def _junctors(schema: Schema, outer: Schema, place: str) -> Iterator[FieldFault]:
    """What hangs below ``anyOf`` and its kin may only judge what ``outer`` specifies."""
    for name in ("allOf", "anyOf", "oneOf"):
        arms = schema.get(name) or []
        if name == "anyOf" and arms == _INT_OR_STRING and outer.get("x-kubernetes-int-or-string"):
            continue
        for number, arm in enumerate(arms):
            if name == "allOf" and number == 0 and arm == {"anyOf": _INT_OR_STRING}:
                continue
            yield from _nested(arm, outer, f"{place}.{name}[{number}]")
    if schema.get("not") is not None:
        yield from _nested(schema["not"], outer, f"{place}.not")


def _nested(schema: Schema, outer: Schema, place: str) -> Iterator[FieldFault]:
    for names, rule in ((_NESTED_EMPTY, "must be empty"), (_NESTED_UNDEFINED, "must be undefined"),
                        (_NESTED_FALSE, "must be false")):
        for name in names:
            if schema.get(name):
                yield FieldFault(f"{place}.{name}", f"Forbidden: {rule} to be structural")
    yield from _values(schema, place)
    for name, inner in (schema.get("properties") or {}).items():
        if name == "metadata":
            yield FieldFault(f"{place}.properties[metadata]", "Forbidden: must not be specified in a nested context")
        specified = (outer.get("properties") or {}).get(name)
        if specified is None:
            yield FieldFault(f"{place.rpartition('.')[0]}.properties[{name}]",
                             "Required value: because it is defined in "
                                                                               f"{place}.properties[{name}]")
        else:
            yield from _nested(inner, specified, f"{place}.properties[{name}]")
    if isinstance(schema.get("items"), Mapping):
        if outer.get("items") is None:
            yield FieldFault(f"{place.rpartition('.')[0]}.items",
                             f"Required value: because it is defined in {place}.items")
        else:
            yield from _nested(schema["items"], outer["items"], f"{place}.items")
    yield from _junctors(schema, outer, place)


def _defaults(schema: Schema, place: str) -> Iterator[FieldFault]:
    """Defaults must be valid and hold nothing that would be pruned."""
    if schema.get("default") is not None:
        findings = walker.Findings()
        walker.build(schema)(schema["default"], ROOT, "default", findings)
        for path in findings.unknown:
            yield FieldFault(f"{place}.{path}", "Invalid value: must not have unknown fields: they would be pruned")
        for fault in findings.faults:
            yield FieldFault(f"{place}.{fault.path}", fault.message)
    for inner, where in _below(schema, place):
        if f"{where}".startswith((f"{place}.properties", f"{place}.items", f"{place}.additionalProperties")):
            yield from _defaults(inner, where)
