"""``x-kubernetes-validations`` through the front door: transitions, messages, reasons, budgets, forgiveness."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.kube.objects import Object
from tests.unit.apiserver.conftest import Caller
from tests.unit.apiserver.test_definitions import CRDS, TABS, crd, tab

MERGE = {"content_type": "application/merge-patch+json"}


def ruled(*rules: Object, **fields: Object) -> Object:
    properties = {"cronSpec": {"type": "string"}, "replicas": {"type": "integer"}, "max": {"type": "integer"},
                  "names": {"type": "array", "items": {"type": "string"}}} | fields
    return crd(version={"schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}}}}})


async def causes(caller: Caller, method: str, path: str, body: Any, **headers: str) -> list[tuple[str, str]]:
    status, said = await caller.json(method, path, body, **headers)
    assert status == 422, said
    return [(cause["field"], cause["message"]) for cause in said["details"]["causes"]]


async def test_a_rule_that_does_not_hold(caller: Caller) -> None:
    assert (await caller.json("POST", CRDS, ruled(
        {"rule": "self.replicas <= self.max", "message": "too many replicas"},
        {"rule": "self.replicas >= 0", "fieldPath": ".replicas", "reason": "FieldValueForbidden"},
        {"rule": "self.cronSpec != 'bad'", "messageExpression": "'not ' + self.cronSpec"})))[0] == 201
    assert (await caller.json("POST", TABS, tab("ok", replicas=1, max=2)))[0] == 201
    assert await causes(caller, "POST", TABS, tab(replicas=3, max=2, cronSpec="bad")) == [
        ("spec", 'Invalid value: "object": too many replicas'), ("spec", 'Invalid value: "object": not bad')]
    assert await causes(caller, "POST", TABS, tab(replicas=-1, max=2)) == [
        ("spec.replicas", "Forbidden: failed rule: self.replicas >= 0")]
    assert await causes(caller, "POST", TABS, tab(max=2)) == [
        ("spec", 'Invalid value: "object": no such key: replicas evaluating rule: self.replicas <= self.max'),
        ("spec", 'Invalid value: "object": no such key: replicas evaluating rule: self.replicas >= 0')]


async def test_transitions_see_what_was_there(caller: Caller) -> None:
    await caller.json("POST", CRDS, ruled(cronSpec={"type": "string", "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "message": "is immutable"}]}))
    await caller.json("POST", TABS, tab())
    assert await causes(caller, "PATCH", f"{TABS}/a", {"spec": {"cronSpec": "x"}}, **MERGE) == [
        ("spec.cronSpec", 'Invalid value: "string": is immutable')]
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"replicas": 2}}, **MERGE))[0] == 200


async def test_what_was_wrong_before_is_forgiven_until_it_changes(caller: Caller) -> None:
    await caller.json("POST", CRDS, ruled())
    await caller.json("POST", TABS, tab(replicas=9))
    strict = ruled(replicas={"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]})
    status, said = await caller.json("PATCH", f"{CRDS}/crontabs.stable.example.org", {"spec": strict["spec"]}, **MERGE)
    assert status == 200, said
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"max": 1}}, **MERGE))[0] == 200
    assert await causes(caller, "PATCH", f"{TABS}/a", {"spec": {"replicas": 8}}, **MERGE)


async def test_rules_do_not_run_over_what_the_schema_refuses(caller: Caller) -> None:
    await caller.json("POST", CRDS, ruled({"rule": "self.replicas > 0"}))
    found = await causes(caller, "POST", TABS, tab(replicas="x"))
    assert [field for field, _ in found] == ["spec.replicas", "<nil>"]
    assert "some validation rules were not checked" in found[1][1]


async def test_a_rule_cannot_hold_the_server(caller: Caller) -> None:
    await caller.json("POST", CRDS, ruled(
        {"rule": "self.names.all(a, self.names.all(b, self.names.all(c, a + b + c != '')))"}))
    found = await causes(caller, "POST", TABS, tab(names=[f"n{n}" for n in range(1000)]))
    assert "call cost exceeds limit" in found[0][1]


@pytest.mark.parametrize(("rule", "field"), [
    ({"rule": "self.nothing > 1"}, "rule"), ({"rule": "self.replicas"}, "rule"), ({"rule": ""}, "rule"),
    ({"rule": "true", "message": " "}, "message"), ({"rule": "true", "reason": "Because"}, "reason"),
    ({"rule": "true", "messageExpression": "1"}, "messageExpression"), ({"rule": "true", "fieldPath": ".no"},
                                                                        "fieldPath"),
])
async def test_wrong_rules_are_refused_with_their_definition(caller: Caller, rule: Object, field: str) -> None:
    found = await causes(caller, "POST", CRDS, ruled(rule))
    place = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"
    assert f"{place}.{field}" in {where for where, _ in found}
