"""Conditions by GJSON: the two shapes that Katib's examples have, and what else its syntax offers."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.tuning import gjson
from lightship.lib import gjson as paths

COMPLETE = 'status.conditions.#(type=="Complete")#|#(status=="True")#'
PHASE = 'status.[@this].#(phase=="Succeeded")#'
RUN: dict[str, Any] = {
    "metadata": {"name": "run", "labels": {"app.kubernetes.io/name": "x"}},
    "status": {"phase": "Succeeded", "succeeded": 2, "conditions": [
        {"type": "Started", "status": "True"},
        {"type": "Complete", "status": "True", "reason": "Done", "message": "all of it"}]}}


def test_the_shape_of_conditions() -> None:
    assert gjson.find(RUN, COMPLETE) == gjson.Found("Done", "all of it")
    waits = {"status": {"conditions": [{"type": "Complete", "status": "False"}]}}
    assert gjson.find(waits, COMPLETE) is None
    assert gjson.find({}, COMPLETE) is None
    assert gjson.find({"status": {}}, COMPLETE) is None


def test_the_shape_of_phases() -> None:
    assert gjson.find(RUN, PHASE) == gjson.Found("", "")
    assert gjson.find({"status": {"phase": "Running"}}, PHASE) is None


@pytest.mark.parametrize(("path", "found"), [
    ("status.phase", "Succeeded"), ("status.conditions.#", 2), ("status.conditions.1.reason", "Done"),
    ("status.conditions.#.type", ["Started", "Complete"]), ("status.ph*", "Succeeded"),
    ('status.conditions.#(type=="Complete").reason', "Done"),
    ('status.conditions.#(status=="True")#.type', ["Started", "Complete"]),
    ('status.conditions.#(type%"Comp*").message', "all of it"),
    ('status.conditions.#(type!="Started").type', "Complete"),
    ("[status.succeeded,status.phase]", [2, "Succeeded"]),
    (r"metadata.labels.app\.kubernetes\.io/name", "x"),
    ("status|phase", "Succeeded"), ("status.conditions|0|type", "Started"), ("@this.status.succeeded", 2),
])
def test_paths(path: str, found: Any) -> None:
    assert paths.get(RUN, path) == found


@pytest.mark.parametrize("path", ["status.nothing", "status.conditions.7", "status.phase.more", "status.phase.#"])
def test_nothing_is_there(path: str) -> None:
    assert paths.get(RUN, path) is paths.NOTHING


def test_numbers_are_compared() -> None:
    replicas = {"status": {"all": [{"n": 1, "is": "a"}, {"n": 5, "is": "b"}]}}
    assert paths.get(replicas, "status.all.#(n>=5).is") == "b"
    assert paths.get(replicas, "status.all.#(n<5)#.is") == ["a"]
    assert paths.get(replicas, 'status.all.#(n>"x").is') is paths.NOTHING


@pytest.mark.parametrize("path", ["a.#(b==1", 'a.#(b=="x)', "a.@reverse", "{a,b}", "a" * 5000])
def test_what_cannot_be_read_is_said(path: str) -> None:
    assert gjson.check(path)
    with pytest.raises(paths.BadPath):
        paths.get(RUN, path)
