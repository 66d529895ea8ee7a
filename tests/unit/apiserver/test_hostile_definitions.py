"""Definitions and objects of theirs with any JSON anywhere: refused or served, never a failure of the server."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from lightship.kube.objects import Object
from tests.unit.apiserver.conftest import Caller
from tests.unit.apiserver.test_definitions import CRDS, TABS, crd, tab

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**70, 1e300, "", "x", "a" * 300, "\x00", "é", "(", ".spec.a", "string", "object",
    "array",
    "integer", [], [[]], [None], [1], ["a"], {}, {"a": None}, {"type": "object"}, {"type": "array"},
    {"properties": {"a": 1}},
    {"type": "string", "pattern": "("}, {"type": "integer", "default": "x"},
    {"x-kubernetes-validations": [{"rule": "("}]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.a > 1"}]},
    {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"]},
    {"type": "object", "x-kubernetes-embedded-resource": True}, {"x-kubernetes-int-or-string": True},
    {"type": "string", "enum": [1, {}, None]}, {"type": "number", "minimum": 1e999}, {"not": {"not": {}}},
)
KEYWORDS = ("type", "properties", "items", "additionalProperties", "default", "enum", "oneOf", "not", "pattern",
"format",
            "required", "nullable", "minimum", "maxLength", "x-kubernetes-validations", "x-kubernetes-list-type",
            "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "allOf", "multipleOf")


def mutated(value: Object, chance: random.Random) -> Object:
    """A copy with one to three odd values at places picked at random."""
    result = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        level: list[Any] = [result]
        while level:
            one = level.pop()
            inner = list(one.items()) if isinstance(one, dict) else list(enumerate(one))
            places += [(one, key) for key, _ in inner]
            level += [below for _, below in inner if isinstance(below, dict | list)]
        holder, key = chance.choice(places)
        if isinstance(holder, dict) and chance.random() < 0.3:
            key = chance.choice(KEYWORDS)
        holder[key] = copy.deepcopy(chance.choice(ODD))
    return result


async def tried(caller: Caller, seed: int, rounds: int) -> int:
    """How many of the mutated definitions were served."""
    chance, served = random.Random(seed), 0
    for number in range(rounds):
        definition = mutated(crd(), chance)
        status, said = await caller.json("POST", CRDS, definition)
        assert status < 500, (seed, number, definition, said)
        if status != 201:
            continue
        served += 1
        name = said["metadata"]["name"]
        for _ in range(5):
            obj = mutated(tab(), chance)
            for verb, path in (("POST", TABS), ("PUT", f"{TABS}/a"), ("PATCH", f"{TABS}/a"),
                                        ("PATCH", f"{TABS}/a/status")):
                headers = {"content_type": "application/merge-patch+json"} if verb == "PATCH" else {}
                status, said = await caller.json(verb, path, obj, **headers)
                assert status < 500, (seed, number, definition, verb, obj, said)
        for path in (TABS, f"{TABS}/a", f"{TABS}/a/scale", "/openapi/v3/apis/stable.example.org/v1", f"{CRDS}/{name}"):
            status, said = await caller.json("GET", path, accept="application/json;as=Table;g=meta.k8s.io;v=v1,"
                                                                 "application/json")
            assert status < 500, (seed, number, definition, path, said)
        status, said = await caller.json("DELETE", f"{CRDS}/{name}")
        assert status == 200, (seed, number, definition, said)
        assert (await caller.json("GET", f"{CRDS}/{name}"))[0] == 404
    return served


async def test_no_definition_breaks_the_server(caller: Caller) -> None:
    assert await tried(caller, seed=7, rounds=150) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_no_definition_breaks_the_server_for_long(caller: Caller, seed: int) -> None:
    assert await tried(caller, seed=1000 + seed, rounds=500) > 10
