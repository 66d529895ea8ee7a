"""The constraints on single values: ranges, lengths, patterns, formats, enumerations, keys of lists.

Pure; ``walker`` asks me for the tests of a schema. Texts are those of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from lightship.cluster.apiserver.crds import formats
from lightship.cluster.apiserver.crds.places import Place, SchemaFault, dotted, keys, same, shown
from lightship.lib import regex


class Sink(Protocol):
    """Where faults go: ``walker.Findings``."""

    faults: list[SchemaFault]

    def add(self, place: Place, message: str, *, blocking: bool = False) -> None: ...

    def nowhere(self, place: Place, message: str) -> None: ...


Test = Callable[[Any, Place, Sink], None]
"""Looks at a value of whatever type; a type that is not its business passes."""


def of(schema: Mapping[str, Any]) -> list[Test]:
    """The tests of a schema, less those of its fields, items and junctors."""
    tests: list[Test] = []
    if schema.get("enum"):
        tests.append(_enum(schema["enum"]))
    tests += _numbers(schema) + _strings(schema) + _lists(schema) + _objects(schema)
    return tests


def _enum(values: Sequence[Any]) -> Test:
    quoted = ", ".join(shown(value if isinstance(value, str) else shown(value)) for value in values)
    plain = frozenset(value for value in values if isinstance(value, str))

    def test(value: Any, place: Place, sink: Sink) -> None:
        if type(value) is str:
            if value in plain:
                return
        elif any(same(value, allowed) for allowed in values):
            return
        sink.add(place, f"Unsupported value: {shown(value)}: supported values: {quoted}", blocking=True)

    return test


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _says(condition: Callable[[Any], bool], wanted: type | tuple[type, ...], text: str) -> Test:
    """A test that holds of other types and else wants ``condition``."""
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)

    def test(value: Any, place: Place, sink: Sink) -> None:
        if type(value) in kinds and not condition(value):
            sink.add(place, f"Invalid value: {shown(value)}: {dotted(keys(place))} in body {text}")

    return test


_NUMBERS: tuple[type, ...] = (int, float)


def _numbers(schema: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    low: Any = schema.get("minimum")
    high: Any = schema.get("maximum")
    step: Any = schema.get("multipleOf")
    if _is_number(low):
        if schema.get("exclusiveMinimum") is True:
            tests.append(_says(lambda value: value > low, _NUMBERS, f"should be greater than {shown(low)}"))
        else:
            tests.append(_says(lambda value: value >= low, _NUMBERS,
                               f"should be greater than or equal to {shown(low)}"))
    if _is_number(high):
        if schema.get("exclusiveMaximum") is True:
            tests.append(_says(lambda value: value < high, _NUMBERS, f"should be less than {shown(high)}"))
        else:
            tests.append(_says(lambda value: value <= high, _NUMBERS, f"should be less than or equal to {shown(high)}"))
    if _is_number(step) and step > 0:
        exact = Fraction(str(step))
        tests.append(_says(lambda value: (Fraction(str(value)) / exact).denominator == 1, _NUMBERS,
                           f"should be a multiple of {shown(step)}"))
    return tests


def _strings(schema: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    low, high, pattern, form = (schema.get(key) for key in ("minLength", "maxLength", "pattern", "format"))
    if isinstance(low, int):
        tests.append(_says(lambda text: len(text) >= low, str, f"should be at least {low} chars long"))
    if isinstance(high, int):
        tests.append(_too_long(high))
    if pattern:
        search = regex.compile(pattern).search
        tests.append(_says(search, str, f"should match '{pattern}'"))
    if form in formats.CHECKS and schema.get("type") in (None, "string"):
        tests.append(_format(form))
    return tests


def _too_long(limit: int) -> Test:
    def test(value: Any, place: Place, sink: Sink) -> None:
        if type(value) is str and len(value) > limit:
            sink.add(place, f"Too long: may not be more than {limit} bytes", blocking=True)

    return test


def _format(name: str) -> Test:
    def test(value: Any, place: Place, sink: Sink) -> None:
        if type(value) is str and not formats.fits(name, value):
            sink.add(place, f"Invalid value: {shown(value)}: {dotted(keys(place))} in body must be of type {name}: "
                            f"{shown(value)}", blocking=True)

    return test


def _too_many(limit: int, kind: type[list[Any]] | type[dict[str, Any]]) -> Test:
    def test(value: Any, place: Place, sink: Sink) -> None:
        if isinstance(value, kind) and len(value) > limit:
            sink.add(place, f"Too many: {len(value)}: must have at most {limit} items", blocking=True)

    return test


def _lists(schema: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    low, high, kind = schema.get("minItems"), schema.get("maxItems"), schema.get("x-kubernetes-list-type")
    if isinstance(low, int):
        tests.append(_says(lambda items: len(items) >= low, list, f"should have at least {low} items"))
    if isinstance(high, int):
        tests.append(_too_many(high, list))
    if kind == "set":
        tests.append(_unique(lambda item: item, shown))
    elif kind == "map" and schema.get("x-kubernetes-list-map-keys"):
        tests.append(_unique_keys(tuple(schema["x-kubernetes-list-map-keys"]), schema.get("items") or {}))
    return tests


def _unique(identity: Callable[[Any], Any], quoted: Callable[[Any], str]) -> Test:
    def test(value: Any, place: Place, sink: Sink) -> None:
        if type(value) is not list:
            return
        seen: set[str] = set()
        for number, item in enumerate(value):
            mark = _mark(identity(item))
            if mark in seen:
                sink.add((place, number), f"Duplicate value: {quoted(item)}")
            seen.add(mark)

    return test


def _unique_keys(names: tuple[str, ...], items: Mapping[str, Any]) -> Test:
    properties = items.get("properties") or {}
    defaults = {name: properties.get(name, {}).get("default") for name in names}

    def identity(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        return {name: item.get(name, defaults[name]) for name in names}

    return _unique(identity, lambda item: shown(identity(item)))


def _mark(value: Any) -> str:
    """A text that is the same for values that are equal as JSON."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{shown(key)}:{_mark(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_mark, value)) + "]"
    if type(value) is float and value.is_integer():
        return str(int(value))
    return shown(value)


def _objects(schema: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    low, high = schema.get("minProperties"), schema.get("maxProperties")
    if isinstance(low, int):
        tests.append(_says(lambda fields: len(fields) >= low, dict, f"should have at least {low} properties"))
    if isinstance(high, int):
        tests.append(_too_many(high, dict))
    return tests
