"""Minimal patches: what differs, what does not, and what is left to others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship import errors
from lightship.kube import patches
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS
from lightship.runtime import apply
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build


@pytest.mark.parametrize(("existing", "wanted", "patch"), [
    ({"a": 1, "b": 2}, {"a": 1}, {}),
    ({"a": 1}, {"a": 2}, {"a": 2}),
    ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ({"a": {"b": 1, "theirs": 2}}, {"a": {"b": 3}}, {"a": {"b": 3}}),
    ({"a": 1, "b": 2}, {"b": None, "c": None}, {"b": None}),
    ({"a": 1}, {"a": True}, {"a": True}),
    ({"kind": "X"}, {"kind": "Y", "apiVersion": "v1"}, {}),
    ({"l": [1, 2]}, {"l": [2, 1]}, {"l": [2, 1]}),
    ({"l": [{"name": "a", "image": "x", "filled": 1}]}, {"l": [{"name": "a", "image": "x"}]}, {}),
    ({"l": [{"name": "a", "image": "x", "filled": 1}]}, {"l": [{"name": "a", "image": "y"}]},
     {"l": [{"name": "a", "image": "y", "filled": 1}]}),
    ({"l": [{"name": "a", "f": 1}, {"name": "b", "f": 2}]}, {"l": [{"name": "b"}]}, {"l": [{"name": "b", "f": 2}]}),
    ({"l": [{"p": 1, "filled": 1}]}, {"l": [{"p": 1}]}, {}),
    ({"l": [{"p": 1}]}, {"l": [{"p": 1}, {"p": 2}]}, {"l": [{"p": 1}, {"p": 2}]}),
])
def test_the_difference(existing: Any, wanted: Any, patch: Any) -> None:
    assert apply.difference(existing, wanted) == patch


_values = st.recursive(st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
                       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner,
                                                                                   max_size=3), max_leaves=8)
_objects = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


@given(existing=_objects, wanted=_objects)
def test_once_applied_there_is_no_difference_left(existing: Object, wanted: Object) -> None:
    patched = patches.merge(existing, apply.difference(existing, wanted))
    assert apply.difference(patched, wanted) == {}


async def test_ensure_creates_then_is_silent_then_patches_only_the_change() -> None:
    api = MemoryApi()
    client = api.client()
    wanted = build.deployment(2)
    made = await apply.ensure(client, DEPLOYMENTS, wanted, None)
    assert await apply.ensure(client, DEPLOYMENTS, wanted, made) is made
    api.writes.clear()
    changed = await apply.ensure(client, DEPLOYMENTS, build.deployment(3), made)
    assert changed["spec"]["replicas"] == 3
    assert [(write.verb, write.body) for write in api.writes] == [("patch", {"spec": {"replicas": 3}})]


async def test_a_name_that_was_taken_meanwhile_is_patched() -> None:
    api = MemoryApi()
    api.insert(DEPLOYMENTS.path(), build.deployment(1))
    made = await apply.ensure(api.client(), DEPLOYMENTS, build.deployment(2), None)
    assert made["spec"]["replicas"] == 2


async def test_a_thing_of_another_owner_is_left_alone() -> None:
    api = MemoryApi()

    def config_map(owner: str, value: str) -> Object:
        return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value}, "metadata": {
            "name": "x", "namespace": "default",
            "ownerReferences": [build.owned_by("InferenceService", owner, f"{owner}-uid")]}}

    api.insert(CONFIGMAPS.path(), config_map("theirs", "1"))
    with pytest.raises(errors.AlreadyExists, match='belongs to InferenceService "theirs"') as raised:
        await apply.ensure(api.client(), CONFIGMAPS, config_map("ours", "2"), None)
    assert "Rename" in raised.value.remedy
    assert (api.find(CONFIGMAPS.path(), Key("default", "x")) or {})["data"] == {"a": "1"}


async def test_status_is_made_exactly_so() -> None:
    api = MemoryApi()
    there = api.insert(DEPLOYMENTS.path(), build.deployment(1) | {"status": {"replicas": 3, "old": True}})
    api.writes.clear()
    changed = await apply.patch_status(api.client(), DEPLOYMENTS, there, {"replicas": 1})
    assert changed["status"] == {"replicas": 1}
    assert api.writes[0].subresource == "status"
    assert await apply.patch_status(api.client(), DEPLOYMENTS, changed, {"replicas": 1}) is changed


async def test_only_the_meant_one_is_deleted() -> None:
    api = MemoryApi()
    former = api.insert(CONFIGMAPS.path(), {"metadata": {"name": "x", "namespace": "default"}})
    client = api.client()
    await apply.delete_if_there(client, CONFIGMAPS, former)
    api.insert(CONFIGMAPS.path(), {"metadata": {"name": "x", "namespace": "default"}})
    await apply.delete_if_there(client, CONFIGMAPS, former)
    assert len(api.all(CONFIGMAPS.path())) == 1


@given(parent=st.text("abc-", min_size=1, max_size=80), part=st.text("xyz", min_size=1, max_size=40))
def test_child_names_fit_and_are_always_the_same(parent: str, part: str) -> None:
    name = apply.child_name(parent, part)
    assert len(name) <= 63 and name == apply.child_name(parent, part)
    if len(parent) + len(part) + 1 <= 63:
        assert name == f"{parent}-{part}"


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert apply.child_name("a" * 70, "x") != apply.child_name("a" * 70, "y")


def test_a_digest_does_not_see_the_order_of_keys() -> None:
    assert apply.digest({"a": 1, "b": [2]}) == apply.digest({"b": [2], "a": 1}) != apply.digest({"a": 1, "b": [3]})


async def test_a_conflict_over_the_very_object_is_not_taken_for_its_absence() -> None:
    api = MemoryApi()
    there = api.insert(CONFIGMAPS.path(), {"metadata": {"name": "x", "namespace": "default"}})
    api.fault = lambda write: errors.Conflict("others keep writing it")
    with pytest.raises(errors.Conflict, match="others keep writing"):
        await apply.delete_if_there(api.client(), CONFIGMAPS, there)
