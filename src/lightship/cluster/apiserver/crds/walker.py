"""A schema compiled into one pass over an object: prune, default and validate together.

Pure; ``serving`` compiles, when the first object of a version comes. ``build`` turns a schema into a closure; objects
are walked by ``_Object``, lists by ``_List``. Values are never changed in place: what changed is copied. What hangs
below ``allOf``, ``anyOf``, ``oneOf`` and ``not`` only judges. ``checks`` has the constraints on single values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightship.cluster.apiserver.crds import checks
from lightship.cluster.apiserver.crds.places import NOWHERE, ROOT, Place, SchemaFault, dotted, keys

LIMIT_FAULTS = 100
LIMIT_UNKNOWN_FIELDS = 100

Schema = Mapping[str, Any]


@dataclass(slots=True)
class Findings:
    """What one pass finds."""

    faults: list[SchemaFault] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, place: Place, message: str, *, blocking: bool = False) -> None:
        if len(self.faults) < LIMIT_FAULTS:
            steps = keys(place)
            self.faults.append(SchemaFault(dotted(steps), message, steps, blocking))

    def lacks(self, place: Place, name: str) -> None:
        """A required field is not there: its parent is what an update may leave unchanged."""
        if len(self.faults) < LIMIT_FAULTS:
            steps = keys(place)
            self.faults.append(SchemaFault(dotted((*steps, name)), "Required value", steps, True))

    def nowhere(self, place: Place, message: str) -> None:
        """A fault of ``anyOf`` and its kin, which Kubernetes reports without a field."""
        if len(self.faults) < LIMIT_FAULTS:
            steps = keys(place)
            named = message.replace("{}", dotted(steps))
            self.faults.append(SchemaFault(NOWHERE, f'Invalid value: "": {named}', steps))

    def drop(self, place: Place, name: str) -> None:
        if len(self.unknown) < LIMIT_UNKNOWN_FIELDS:
            self.unknown.append(dotted((*keys(place), name)))


Walk = Callable[[Any, Any, Any, Findings], Any]
"""(value, place of the parent, key in it, findings) to the value as it is to be."""

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array",
          type(None): "null"}


def type_name(value: Any) -> str:
    return _NAMES.get(type(value), "object")


def wrong_type(value: Any, place: Place, wanted: str, findings: Findings) -> None:
    found = type_name(value)
    findings.add(place, f'Invalid value: "{found}": {dotted(keys(place))} in body must be of type {wanted}: "{found}"',
                 blocking=True)


def compile(schema: Schema) -> Callable[[Any, Findings], Any]:
    """The pass over whole objects: kind, version and metadata are known to every kind."""
    walk = build(_with_head(schema, required=()))
    return lambda obj, findings: walk(obj, None, None, findings)


def _with_head(schema: Schema, *, required: Sequence[str]) -> Schema:
    """The schema of an object that has apiVersion, kind and metadata, whatever it says itself."""
    given = schema.get("properties") or {}
    text = {"type": "string"}
    head = {"apiVersion": text, "kind": text, **given,
            "metadata": {**(given.get("metadata") or {}), "type": "object",
                         "x-kubernetes-preserve-unknown-fields": True}}
    wanted = dict.fromkeys([*(schema.get("required") or ()), *required])
    return {**schema, "type": "object", "properties": head, "required": list(wanted)}


def build(schema: Schema, judging: bool = False) -> Walk:
    """The walk of one schema. Where it only judges, unknown fields are none of its business."""
    if schema.get("x-kubernetes-embedded-resource"):
        schema = {**schema, "x-kubernetes-embedded-resource": False}
        return build(_with_head(schema, required=("apiVersion", "kind")), judging)
    kind = schema.get("type") or ("integer,string" if schema.get("x-kubernetes-int-or-string") else None)
    tests = [*checks.of(schema), *_junctors(schema)]
    inner: Walk
    if kind == "object" or (not kind and (schema.get("properties") or schema.get("additionalProperties")
                                          or schema.get("required"))):
        inner = _Object(schema, judging).walk
    elif kind == "array" or (not kind and schema.get("items")):
        inner = _List(schema, judging).walk
    elif schema.get("x-kubernetes-int-or-string"):
        inner = _int_or_string
    elif kind:
        inner = _scalar(kind)
    else:
        inner = _any
    return _tested(inner, tests, bool(schema.get("nullable")) or (judging and not kind), kind or "")


def _tested(inner: Walk, tests: Sequence[checks.Test], nullable: bool, kind: str) -> Walk:
    """``inner``, then the constraints, which look at values of the right type only."""

    def walk(value: Any, parent: Any, key: Any, findings: Findings) -> Any:
        if value is None and (nullable or not kind):
            return value
        before = len(findings.faults)
        result = inner(value, parent, key, findings)
        if len(findings.faults) == before or kind in ("object", "array"):
            place = ROOT if parent is None else (parent, key)
            for test in tests:
                test(result, place, findings)
        return result

    return walk if tests or nullable else inner


def _any(value: Any, parent: Any, key: Any, findings: Findings) -> Any:
    return value


def _int_or_string(value: Any, parent: Any, key: Any, findings: Findings) -> Any:
    if type(value) is not int and type(value) is not str and not _whole(value):
        wrong_type(value, (parent, key), "integer,string", findings)
    return value


def _whole(value: Any) -> bool:
    return type(value) is float and value.is_integer()


def _scalar(kind: str) -> Walk:
    wanted = _TYPES.get(kind)

    def walk(value: Any, parent: Any, key: Any, findings: Findings) -> Any:
        if type(value) is wanted or (kind == "number" and type(value) in (int, float)):
            return value
        if kind != "integer" or not _whole(value):
            wrong_type(value, (parent, key), kind, findings)
        return value

    return walk


@dataclass(frozen=True, slots=True)
class _Default:
    name: str
    make: Callable[[], Any]
    nullable: bool


def _maker(value: Any) -> Callable[[], Any]:
    """A fresh copy each time, which costs nothing for a plain value."""
    if not isinstance(value, dict | list):
        return lambda: value
    text = msgspec.json.encode(value)
    return lambda: msgspec.json.decode(text)


class _Object:
    """The walk of an object: its properties, what else it may hold, and what it must."""

    def __init__(self, schema: Schema, judging: bool) -> None:
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        self._fields: dict[str, tuple[type | None, Walk, bool]] = {
            name: (_plain(inner), build(inner, judging), not judging and not inner.get("nullable") and bool(
                inner.get("type") or inner.get("x-kubernetes-int-or-string")))
            for name, inner in properties.items()}
        self._defaults = () if judging else tuple(
            _Default(name, _maker(inner["default"]), bool(inner.get("nullable")))
            for name, inner in properties.items() if inner.get("default") is not None)
        self._extra = build(extra, judging) if isinstance(extra, Mapping) else None
        self._prunes = not judging and not schema.get("x-kubernetes-preserve-unknown-fields") and (
            extra is None or extra is False)
        self._required = frozenset(schema.get("required") or ())
        self._anything = judging and not schema.get("type")

    def walk(self, value: Any, parent: Any, key: Any, findings: Findings) -> Any:
        here = ROOT if parent is None else (parent, key)
        if type(value) is not dict:
            if not self._anything:
                wrong_type(value, here, "object", findings)
            return value
        result, fields = value, self._fields
        for name, inner in value.items():
            known = fields.get(name)
            if known is None:
                if self._extra is not None:
                    new = self._extra(inner, here, name, findings)
                elif self._prunes:
                    findings.drop(here, name)
                    if result is value:
                        result = dict(value)
                    del result[name]
                    continue
                else:
                    continue
            else:
                plain, walk, drops_null = known
                if type(inner) is plain:
                    continue
                if inner is None and drops_null:
                    if result is value:
                        result = dict(value)
                    del result[name]
                    continue
                new = walk(inner, here, name, findings)
            if new is not inner:
                if result is value:
                    result = dict(value)
                result[name] = new
        return self._completed(value, result, here, findings)

    def _completed(self, value: dict[str, Any], result: dict[str, Any], here: Place, findings: Findings) -> Any:
        for default in self._defaults:
            if default.name not in result:
                if result is value:
                    result = dict(value)
                result[default.name] = self._fields[default.name][1](default.make(), here, default.name, findings)
        if not self._required <= result.keys():
            for name in sorted(self._required - result.keys()):
                findings.lacks(here, name)
        return result


def _plain(schema: Schema) -> type | None:
    """The Python type that says all of a schema; None where there is more to look at."""
    kind = schema.get("type")
    if kind not in ("string", "integer", "boolean") or schema.get("x-kubernetes-int-or-string"):
        return None
    harmless = {"type", "description", "default", "nullable", "title", "example", "externalDocs",
                "x-kubernetes-validations"}
    if kind == "integer":
        harmless = harmless | {"format"}
    return _TYPES[kind] if schema.keys() <= harmless else None


class _List:
    """The walk of a list."""

    def __init__(self, schema: Schema, judging: bool) -> None:
        items = schema.get("items")
        self._item = build(items, judging) if isinstance(items, Mapping) else None
        self._plain = _plain(items) if isinstance(items, Mapping) else None
        self._anything = judging and not schema.get("type")

    def walk(self, value: Any, parent: Any, key: Any, findings: Findings) -> Any:
        here = (parent, key)
        if type(value) is not list:
            if not self._anything:
                wrong_type(value, here, "array", findings)
            return value
        if self._item is None:
            return value
        result = value
        for number, inner in enumerate(value):
            if type(inner) is self._plain:
                continue
            new = self._item(inner, here, number, findings)
            if new is not inner:
                if result is value:
                    result = list(value)
                result[number] = new
        return result


def _junctors(schema: Schema) -> list[checks.Test]:
    tests: list[checks.Test] = []
    if schema.get("allOf"):
        tests.append(_all_of([build(inner, True) for inner in schema["allOf"]]))
    if schema.get("anyOf"):
        tests.append(_any_of([build(inner, True) for inner in schema["anyOf"]]))
    if schema.get("oneOf"):
        tests.append(_one_of([build(inner, True) for inner in schema["oneOf"]]))
    if schema.get("not") is not None:
        tests.append(_not(build(schema["not"], True)))
    return tests


def _judge(walk: Walk, value: Any, place: Place) -> list[SchemaFault]:
    findings = Findings()
    walk(value, *place, findings)
    return findings.faults


def _all_of(walks: Sequence[Walk]) -> checks.Test:
    def test(value: Any, place: Place, findings: checks.Sink) -> None:
        faults = [fault for walk in walks for fault in _judge(walk, value, place)]
        if faults:
            findings.nowhere(place, '"{}" must validate all the schemas (allOf)')
            findings.faults.extend(faults)

    return test


def _any_of(walks: Sequence[Walk]) -> checks.Test:
    def test(value: Any, place: Place, findings: checks.Sink) -> None:
        best: list[SchemaFault] | None = None
        for walk in walks:
            faults = _judge(walk, value, place)
            if not faults:
                return
            if best is None or len(faults) < len(best):
                best = faults
        findings.nowhere(place, '"{}" must validate at least one schema (anyOf)')
        findings.faults.extend(best or ())

    return test


def _one_of(walks: Sequence[Walk]) -> checks.Test:
    def test(value: Any, place: Place, findings: checks.Sink) -> None:
        verdicts = [_judge(walk, value, place) for walk in walks]
        valid = sum(1 for faults in verdicts if not faults)
        if valid == 1:
            return
        found = f"Found {valid} valid alternatives" if valid else "Found none valid"
        findings.nowhere(place, f'"{{}}" must validate one and only one schema (oneOf). {found}')
        if not valid:
            findings.faults.extend(sorted(verdicts, key=len)[0])

    return test


def _not(walk: Walk) -> checks.Test:
    def test(value: Any, place: Place, findings: checks.Sink) -> None:
        if not _judge(walk, value, place):
            findings.nowhere(place, '"{}" must not validate the schema (not)')

    return test
