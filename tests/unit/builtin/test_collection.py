"""Garbage collection, namespaces and lost Pods: all built-in controllers together, in one manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lightship import errors
from lightship.cluster import builtin
from lightship.cluster.builtin import garbage, names, namespace_deletion, pod_collection
from lightship.kube import objects, resources
from lightship.kube.objects import Key, Object
from lightship.kube.resources import (
    CONFIGMAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from lightship.lib import ids
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build


class Cluster:
    """A server in memory with all built-in controllers at work."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = MemoryApi(self.clock)
        self.client = self.api.client()
        self.manager = Manager(self.api.client, self.clock)
        for controller in builtin.controllers(builtin.Deps(
                manager=self.manager, resources=build.KINDS, ca_pem="CA", clock=self.clock,
                id_source=ids.SeededIds(2))):
            self.manager.add(controller)
        self._task: asyncio.Task[None] | None = None

    def has(self, resource: Resource, name: str, namespace: str = "default") -> bool:
        return self.api.find(resource.path(), Key(namespace if resource.namespaced else "", name)) is not None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.manager.run())
        await asyncio.wait_for(self.manager.synced.wait(), 5)
        await self.rest()

    async def rest(self) -> None:
        for _ in range(50):
            await settle()
            if self.manager.idle():
                await settle()
                if self.manager.idle():
                    return
        raise AssertionError("the controllers do not come to rest")

    async def stop(self) -> None:
        await self.manager.stop()
        if self._task is not None:
            await self._task


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    made.api.insert(NAMESPACES.path(), namespace("default"))
    yield made
    await made.stop()


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}}


def config_map(name: str, *owners: dict[str, object], namespace: str = "default", **metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": list(owners)} | metadata}


def reference(owner: Object, *, block: bool = True) -> dict[str, object]:
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": objects.name(owner),
            "uid": objects.uid(owner), "blockOwnerDeletion": block}


async def test_what_a_deleted_owner_owned_goes_too_and_what_that_owned(cluster: Cluster) -> None:
    await cluster.start()
    owner = await cluster.client.create(CONFIGMAPS, config_map("owner"))
    child = await cluster.client.create(CONFIGMAPS, config_map("child", reference(owner)))
    await cluster.client.create(CONFIGMAPS, config_map("grandchild", reference(child)))
    await cluster.rest()
    assert cluster.has(CONFIGMAPS, "grandchild")
    await cluster.client.delete(CONFIGMAPS, Key("default", "owner"))
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "child") and not cluster.has(CONFIGMAPS, "grandchild")


async def test_an_owner_that_went_while_nobody_watched(cluster: Cluster) -> None:
    gone = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone-uid"}
    cluster.api.insert(CONFIGMAPS.path(), config_map("orphan", gone))
    unknown = {"apiVersion": "example.com/v1", "kind": "Strange", "name": "x", "uid": "x-uid"}
    cluster.api.insert(CONFIGMAPS.path(), config_map("of-unknown-kind", unknown))
    await cluster.start()
    assert not cluster.has(CONFIGMAPS, "orphan")
    assert cluster.has(CONFIGMAPS, "of-unknown-kind"), "what we cannot judge we leave"


async def test_an_owner_of_the_same_name_made_anew_is_another(cluster: Cluster) -> None:
    owner = cluster.api.insert(CONFIGMAPS.path(), config_map("owner"))
    cluster.api.insert(CONFIGMAPS.path(), config_map("child", reference(owner) | {"uid": "former"}))
    await cluster.start()
    assert cluster.has(CONFIGMAPS, "owner") and not cluster.has(CONFIGMAPS, "child")


async def test_one_owner_left_is_enough(cluster: Cluster) -> None:
    await cluster.start()
    one = await cluster.client.create(CONFIGMAPS, config_map("one"))
    two = await cluster.client.create(CONFIGMAPS, config_map("two"))
    await cluster.client.create(CONFIGMAPS, config_map("child", reference(one), reference(two)))
    await cluster.client.delete(CONFIGMAPS, Key("default", "one"))
    await cluster.rest()
    child = await cluster.client.get(CONFIGMAPS, "child", "default")
    assert [ref["name"] for ref in garbage.references(child)] == ["two"]


async def test_foreground_deletion_waits_for_the_dependents(cluster: Cluster) -> None:
    await cluster.start()
    owner = await cluster.client.create(CONFIGMAPS, config_map("owner"))
    await cluster.client.create(CONFIGMAPS, config_map("held", reference(owner), finalizers=["test/hold"]))
    await cluster.rest()
    await cluster.client.delete(CONFIGMAPS, Key("default", "owner"), propagation="Foreground")
    await cluster.rest()
    assert cluster.has(CONFIGMAPS, "owner"), "its dependent is still held"
    assert objects.deleting(await cluster.client.get(CONFIGMAPS, "held", "default"))
    await cluster.client.patch(CONFIGMAPS, Key("default", "held"), {"metadata": {"finalizers": []}})
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "held") and not cluster.has(CONFIGMAPS, "owner")


async def test_nobody_holds_back_from_another_namespace(cluster: Cluster) -> None:
    cluster.api.insert(NAMESPACES.path(), namespace("red"))
    await cluster.start()
    owner = await cluster.client.create(CONFIGMAPS, config_map("owner"))
    await cluster.client.create(CONFIGMAPS, config_map("foreign", reference(owner), namespace="red",
                                                       finalizers=["test/hold"]))
    await cluster.rest()
    assert objects.deleting(await cluster.client.get(CONFIGMAPS, "foreign", "red")), "its owner is not in its namespace"
    await cluster.client.delete(CONFIGMAPS, Key("default", "owner"), propagation="Foreground")
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "owner") and cluster.has(CONFIGMAPS, "foreign", "red")


async def test_what_lies_in_no_namespace_outlives_an_owner_that_lies_in_one(cluster: Cluster) -> None:
    await cluster.start()
    gone = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone-uid"}
    await cluster.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "kept", "ownerReferences": [gone]}})
    await cluster.rest()
    assert not objects.deleting(await cluster.client.get(NAMESPACES, "kept"))


async def test_orphaning_frees_the_dependents(cluster: Cluster) -> None:
    await cluster.start()
    owner = await cluster.client.create(CONFIGMAPS, config_map("owner"))
    await cluster.client.create(CONFIGMAPS, config_map("child", reference(owner)))
    await cluster.rest()
    await cluster.client.delete(CONFIGMAPS, Key("default", "owner"), propagation="Orphan")
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "owner")
    assert garbage.references(await cluster.client.get(CONFIGMAPS, "child", "default")) == []


async def test_a_deployment_takes_everything_with_it(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.client.create(resources.DEPLOYMENTS, build.deployment(2))
    await cluster.rest()
    assert len(cluster.api.all(PODS.path())) == 2
    await cluster.client.delete(resources.DEPLOYMENTS, Key("default", "web"))
    await cluster.rest()
    assert cluster.api.all(REPLICA_SETS.path()) == [] and cluster.api.all(PODS.path()) == []


async def test_namespaces_are_furnished_and_kept_so(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.client.create(NAMESPACES, namespace("team"))
    await cluster.rest()
    for name in names.SERVICE_ACCOUNT_NAMES:
        assert cluster.has(SERVICE_ACCOUNTS, name, "team")
    await cluster.client.delete(CONFIGMAPS, Key("team", names.ROOT_CA_CONFIG_MAP))
    await cluster.rest()
    made = await cluster.client.get(CONFIGMAPS, names.ROOT_CA_CONFIG_MAP, "team")
    assert made["data"] == {"ca.crt": "CA"}


async def test_a_namespace_is_emptied_before_it_goes(cluster: Cluster) -> None:
    cluster.api.insert(NAMESPACES.path(), namespace("team"))
    await cluster.start()
    await cluster.client.create(CONFIGMAPS, config_map("a", namespace="team"))
    await cluster.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {
        "name": "held", "namespace": "team", "finalizers": ["test/hold"]}})
    await cluster.client.create(resources.EVENTS, {"apiVersion": "v1", "kind": "Event", "metadata": {
        "name": "e", "namespace": "team"}})
    await cluster.rest()
    await cluster.client.delete(NAMESPACES, Key("", "team"))
    await cluster.rest()
    assert cluster.has(NAMESPACES, "team"), "a finalizer in it is honoured"
    await cluster.clock.advance(namespace_deletion.BEHIND_SECONDS)
    await cluster.rest()
    waiting = await cluster.client.get(NAMESPACES, "team")
    said = {condition["type"]: (condition["status"], condition["message"])
            for condition in objects.status(waiting)["conditions"]}
    assert said == {
        "NamespaceContentRemaining": ("True", "Some resources are remaining: secrets"),
        "NamespaceFinalizersRemaining": (
            "True", "Some content in the namespace has finalizers remaining: test/hold")}
    assert not cluster.has(CONFIGMAPS, "a", "team")
    await cluster.client.patch(SECRETS, Key("team", "held"), {"metadata": {"finalizers": []}})
    await cluster.rest()
    await cluster.clock.advance(1)
    await cluster.rest()
    assert not cluster.has(NAMESPACES, "team") and not cluster.has(resources.EVENTS, "e", "team")
    with pytest.raises(errors.NotFound):
        await cluster.client.get(SERVICE_ACCOUNTS, "default", "team")


async def test_pods_of_a_node_that_is_no_more_are_cleared_away(cluster: Cluster) -> None:
    cluster.api.insert(resources.NODES.path(), build.node("here"))
    cluster.api.insert(PODS.path(), build.pod("lost", phase="Running", node="elsewhere"))
    cluster.api.insert(PODS.path(), build.pod("fine", phase="Running", node="here"))
    await cluster.start()
    assert not cluster.has(PODS, "lost") and cluster.has(PODS, "fine")


def test_finished_pods_are_kept_up_to_a_limit_unless_somebody_holds_them() -> None:
    there = [build.pod(f"p{number}", phase="Succeeded", node="here") for number in range(5)]
    there[0]["metadata"]["finalizers"] = ["lightship.dev/outcome"]
    doomed = pod_collection.decide(there, frozenset({"here"}), limit=2)
    assert [objects.name(pod) for pod in doomed] == ["p1", "p2"]


async def test_finished_pods_go_once_they_are_over_the_limit_by_some(
        cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_collection, "LIMIT_FINISHED_PODS", 2)
    monkeypatch.setattr(pod_collection, "LEEWAY_FINISHED_PODS", 1)
    cluster.api.insert(resources.NODES.path(), build.node("here"))
    for number in range(3):
        cluster.api.insert(PODS.path(), build.pod(f"p{number}", phase="Succeeded", node="here"))
    await cluster.start()
    assert len(cluster.api.all(PODS.path())) == 3
    await cluster.client.create(PODS, build.pod("p3", phase="Succeeded", node="here"))
    await cluster.rest()
    assert len(cluster.api.all(PODS.path())) == 2


WIDGETS = Resource(group="example.com", version="v1", kind="Widget", plural="widgets")


def definition(established: bool = True) -> Object:
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
                     "versions": [{"name": "v1", "served": True, "storage": True}]},
            "status": {"conditions": [{"type": "Established", "status": str(established)}]}}


def widget(name: str, **metadata: object) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": name, "namespace": "default"} | metadata}


async def test_kinds_that_come_later_own_and_are_owned_until_they_go(cluster: Cluster) -> None:
    await cluster.start()
    cluster.api.insert(CUSTOM_RESOURCE_DEFINITIONS.path(), definition(established=False))
    await cluster.rest()
    cluster.api.insert(CUSTOM_RESOURCE_DEFINITIONS.path(), definition())
    await cluster.rest()
    owner = await cluster.client.create(WIDGETS, widget("owner"))
    await cluster.client.create(CONFIGMAPS, config_map("child", reference(owner)))
    await cluster.client.create(WIDGETS, widget("part", ownerReferences=[reference(owner)]))
    await cluster.rest()
    await cluster.client.delete(WIDGETS, Key("default", "owner"))
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "child") and not cluster.has(WIDGETS, "part")
    open_before = cluster.api.watches_open
    await cluster.client.delete(CUSTOM_RESOURCE_DEFINITIONS, Key("", "widgets.example.com"))
    await cluster.rest()
    assert cluster.api.watches_open == open_before - 1, "nobody watches a kind that is no more"


async def test_what_lost_its_owner_before_the_kind_was_known_goes_once_it_is(cluster: Cluster) -> None:
    lost = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "gone", "uid": "gone-uid"}
    cluster.api.insert(CONFIGMAPS.path(), config_map("child", lost))
    await cluster.start()
    assert cluster.has(CONFIGMAPS, "child"), "its owner's kind is not known"
    cluster.api.insert(CUSTOM_RESOURCE_DEFINITIONS.path(), definition())
    await cluster.rest()
    assert not cluster.has(CONFIGMAPS, "child")


async def test_a_namespace_goes_with_its_objects_of_custom_kinds(cluster: Cluster) -> None:
    cluster.api.insert(CUSTOM_RESOURCE_DEFINITIONS.path(), definition())
    cluster.api.insert(NAMESPACES.path(), namespace("team"))
    await cluster.start()
    await cluster.client.create(WIDGETS, widget("w", namespace="team"))
    await cluster.rest()
    await cluster.client.delete(NAMESPACES, Key("", "team"))
    await cluster.rest()
    assert not cluster.has(WIDGETS, "w", "team") and not cluster.has(NAMESPACES, "team")


async def test_at_rest_nothing_is_written_and_nobody_wakes(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.client.create(CONFIGMAPS, config_map("a"))
    await cluster.rest()
    cluster.api.writes.clear()
    await cluster.clock.advance(3600)
    assert cluster.api.writes == []
    assert cluster.clock.sleepers == 0


@pytest.mark.parametrize(("states", "has_dependents", "expected"), [
    ((), False, garbage.Keep()),
    (("present",), False, garbage.Keep()),
    (("absent",), True, garbage.Delete(propagation="Background")),
    (("waiting",), True, garbage.Delete(propagation="Foreground")),
    (("waiting",), False, garbage.Delete(propagation="Background")),
    (("absent", "waiting"), False, garbage.Delete(propagation="Background")),
    (("present", "absent"), False, garbage.Disown(references=({"uid": "0"},))),
])
def test_what_becomes_of_an_object(states: tuple[garbage.OwnerState, ...], has_dependents: bool,
                                   expected: object) -> None:
    owners = [({"uid": str(number)}, state) for number, state in enumerate(states)]
    assert garbage.decide(config_map("x"), owners, has_dependents) == expected
