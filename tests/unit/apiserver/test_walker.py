"""A schema's one pass: whatever comes, it ends, changes nothing in place, and what it made it leaves as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.cluster.apiserver.crds import walker
from lightship.cluster.apiserver.crds.places import ROOT

NAMES = ("a", "b", "c")
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), st.sampled_from(["", "x", "yy"]))
JSON = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*NAMES, "z"]), inner, max_size=4)), max_leaves=12)


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-2, 2)),
        st.builds(lambda most: {"type": "string", "maxLength": most, "nullable": True}, st.integers(0, 2)),
        st.just({"type": "string", "default": "x"}), st.just({"type": "boolean"}), st.just({"type": "number"}),
        st.just({"x-kubernetes-int-or-string": True}), st.just({"x-kubernetes-preserve-unknown-fields": True}),
        st.just({"type": "string", "enum": ["x", "yy"]}))


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    def wider(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        fields = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        return st.one_of(
            st.builds(lambda fields, required: {"type": "object", "properties": fields, "required": required},
                      fields, st.lists(st.sampled_from(NAMES), max_size=1)),
            st.builds(lambda item: {"type": "array", "items": item}, inner),
            st.builds(lambda item: {"type": "array", "items": item, "x-kubernetes-list-type": "set"}, inner),
            st.builds(lambda item: {"type": "object", "additionalProperties": item}, inner),
            st.builds(lambda fields: {"type": "object", "properties": fields,
                                      "x-kubernetes-preserve-unknown-fields": True}, fields),
            st.builds(lambda fields: {"type": "object", "properties": fields, "oneOf": [
                {"required": ["a"]}, {"required": ["b"]}]}, fields))

    return st.recursive(leaves(), wider, max_leaves=8)


@given(schemas(), JSON)
def test_a_pass_is_settled_after_one(schema: dict[str, Any], value: Any) -> None:
    walk, before = walker.build(schema), copy.deepcopy(value)
    first, second = walker.Findings(), walker.Findings()
    made = walk(value, ROOT, "v", first)
    assert value == before
    again = walk(made, ROOT, "v", second)
    assert again == made
    assert not second.unknown
    if not first.faults:
        assert not second.faults


@pytest.mark.parametrize(("schema", "value", "valid"), [
    ({"type": "integer"}, 1.0, True), ({"type": "integer"}, 1.5, False), ({"type": "integer"}, True, False),
    ({"type": "number"}, 1, True), ({"type": "number"}, True, False), ({"type": "string"}, None, False),
    ({"type": "string", "nullable": True}, None, True), ({"type": "string", "enum": ["a"]}, "b", False),
    ({"x-kubernetes-int-or-string": True}, None, False), ({"x-kubernetes-int-or-string": True}, 1.5, False),
    ({"x-kubernetes-int-or-string": True, "nullable": True}, None, True),
    ({"type": "integer", "enum": [1]}, True, False), ({"type": "number", "multipleOf": 0.1}, 0.3, True),
    ({"type": "number", "multipleOf": 0.1}, 0.35, False), ({"type": "integer",
        "maximum": 3, "exclusiveMaximum": True}, 3, False),
    ({"type": "string", "format": "date-time"}, "2024-01-01T00:00:00Z", True),
    ({"type": "string", "format": "date-time"}, "2024-13-01T00:00:00Z", False),
    ({"type": "string", "format": "ipv4"}, "10.0.0.1", True), ({"type": "string", "format": "ipv4"}, "::1", False),
    ({"type": "string", "format": "uuid"}, "x", False), ({"type": "string", "format": "unheard-of"}, "x", True),
    ({"type": "string", "format": "duration"}, "1h30m", True), ({"type": "string", "format": "byte"}, "a", False),
    ({"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"}, [1, 1.0], False),
    ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"], False),
    ({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}, {}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "not": {"required": ["a"]}}, {"a": "x"}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"required": ["a"]}]}, {}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}},
      "anyOf": [{"properties": {"a": {"enum": ["x"]}}}, {"properties": {"a": {"minLength": 2}}}]}, {"a": "y"}, False),
    ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%$"},
     "5%", True),
    ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%$"},
     5, True),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
     {"apiVersion": "v1"}, False),
])
def test_what_is_valid(schema: dict[str, Any], value: Any, valid: bool) -> None:
    findings = walker.Findings()
    walker.build(schema)(value, ROOT, "v", findings)
    assert (not findings.faults) is valid, findings.faults
