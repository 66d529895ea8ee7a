from __future__ import annotations

from typing import Any

import pytest

from lightship import errors
from lightship.cluster.apiserver import merging
from lightship.kube import patches

POD = merging.of_kind("v1", "Pod")


def test_merge_replaces_removes_and_descends_without_touching_the_target() -> None:
    target = {"a": {"b": 1, "c": 2}, "d": [1], "e": 1}
    result = patches.merge(target, {"a": {"b": None, "x": {"y": None, "z": 1}}, "d": [2], "f": True})
    assert result == {"a": {"c": 2, "x": {"z": 1}}, "d": [2], "e": 1, "f": True}
    assert target == {"a": {"b": 1, "c": 2}, "d": [1], "e": 1}


def test_diff_is_the_patch_between_two_objects() -> None:
    old: dict[str, Any] = {"a": {"b": 1, "c": 2}, "gone": 1, "same": [1]}
    new: dict[str, Any] = {"a": {"b": 2, "c": 2}, "same": [1], "new": True}
    patch = patches.diff(old, new)
    assert patch == {"a": {"b": 2}, "gone": None, "new": True}
    assert patches.merge(old, patch) == new
    assert patches.diff(new, new) == {}


def test_json_patch_does_every_operation() -> None:
    target = {"a": [1, 3], "b": {"c/d": 1}, "e": 1}
    result = patches.json_patch(target, [
        {"op": "add", "path": "/a/1", "value": 2}, {"op": "add", "path": "/a/-", "value": 4},
        {"op": "replace", "path": "/b/c~1d", "value": 5}, {"op": "copy", "from": "/b", "path": "/f"},
        {"op": "move", "from": "/e", "path": "/g"}, {"op": "test", "path": "/g", "value": 1},
        {"op": "remove", "path": "/a/0"},
    ])
    assert result == {"a": [2, 3, 4], "b": {"c/d": 5}, "f": {"c/d": 5}, "g": 1}
    assert target == {"a": [1, 3], "b": {"c/d": 1}, "e": 1}


@pytest.mark.parametrize("operations", [
    {}, [1], [{"op": "nope", "path": "/a"}], [{"op": "add", "path": "/a"}], [{"op": "remove", "path": "/nope"}],
    [{"op": "remove", "path": ""}], [{"op": "add", "path": "a", "value": 1}],
    [{"op": "add", "path": "/a/9", "value": 1}],
    [{"op": "replace", "path": "/a/-", "value": 1}], [{"op": "test", "path": "/a", "value": 1}],
    [{"op": "add", "path": "/n/m", "value": 1}], [{"op": "add", "path": "/a/²", "value": 1}],
    [{"op": "move", "from": "/o", "path": "/o/p"}],
])
def test_a_broken_json_patch_is_invalid_input(operations: Any) -> None:
    with pytest.raises(errors.InvalidInput):
        patches.json_patch({"a": [], "o": {"p": 1}}, operations)


def pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Pod", "spec": {"containers": list(containers)}}


def test_strategic_merge_merges_lists_by_their_key() -> None:
    target = pod({"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "y"})
    patch = {"spec": {"containers": [{"name": "a", "image": "z", "env": [{"name": "F", "value": "2"}]},
                                     {"name": "b", "$patch": "delete"}, {"name": "c", "image": "w"}]}}
    assert patches.strategic_merge(target, patch, lists=POD) == pod(
        {"name": "a", "image": "z", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
        {"name": "c", "image": "w"})


def test_strategic_merge_knows_its_directives() -> None:
    target = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
                       "containers": [{"name": "a"}, {"name": "b"}]}, "metadata": {"finalizers": ["x", "y"]}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"},
                      "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
             "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}
    assert patches.strategic_merge(target, patch, lists=POD) == {
        "spec": {"strategy": {"type": "Recreate"}, "containers": [{"name": "b"}, {"name": "a"}]},
        "metadata": {"finalizers": ["y"]}}
    added = patches.strategic_merge(target, {"metadata": {"finalizers": ["z", "x"]}}, lists=POD)
    assert added["metadata"]["finalizers"] == ["z", "x", "y"], "as upstream: the patch's come first"


def test_ports_merge_by_what_their_kind_says() -> None:
    service = patches.strategic_merge({"spec": {"ports": [{"port": 80}]}},
                                      {"spec": {"ports": [{"port": 80, "name": "http"}]}},
                                      lists=merging.of_kind("v1", "Service"))
    assert service["spec"]["ports"] == [{"port": 80, "name": "http"}]
    with pytest.raises(errors.InvalidInput, match="merge key"):
        patches.strategic_merge({}, {"spec": {"containers": [{"image": "x"}]}}, lists=POD)


def test_lists_merge_by_their_type_and_not_by_their_name() -> None:
    """A taint is taken off by a patch that gives the list without it; Endpoints' addresses have no key at all."""
    node = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}}
    left = {"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}
    assert patches.strategic_merge(node, left, lists=merging.of_kind("v1", "Node")) == left
    endpoints = {"subsets": [{"addresses": [{"ip": "1"}]}]}
    assert patches.strategic_merge(endpoints, {"subsets": []}, lists=merging.of_kind("v1", "Endpoints")) == {
        "subsets": []}


def test_copies_that_double_the_object_are_bounded() -> None:
    operations = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(60)]
    with pytest.raises(errors.TooLarge):
        patches.json_patch({"data": {"a": "b" * 100}}, operations)
    one = {"op": "copy", "from": "/data", "path": "/more"}
    assert patches.json_patch({"data": {"a": "b"}}, [one])["more"] == {"a": "b"}


def test_many_operations_on_a_huge_list_are_bounded() -> None:
    operations = [{"op": "add", "path": "/items/0", "value": 1}] * 10_000
    with pytest.raises(errors.TooLarge):
        patches.json_patch({"items": [0] * 500_000}, operations)
    assert len(patches.json_patch({"items": [0]}, operations)["items"]) == 10_001
