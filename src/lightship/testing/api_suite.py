"""What any Kubernetes API must do, as tests: one suite for every transport, and for a real cluster.

Subclass ``ApiSuite`` in a test file and give it the fixtures ``client`` and ``namespace`` (which may be deleted
afterwards). I use core kinds only and assume nothing about who else is there, but that nobody runs the Pods' node.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client, Selection, WatchEvent
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS, SERVICE_ACCOUNTS

WAIT_SECONDS = 10.0


def config_map(name: str, namespace: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def pod(name: str, namespace: str, **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": [{"name": "c", "image": "busybox:1", "command": ["true"]}]} | spec}


def deployment(name: str, namespace: str) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}}


def changed(obj: Object, **fields: Any) -> Object:
    return obj | fields


class ApiSuite:
    """The tests. Each makes what it needs under names of its own."""

    async def test_create_then_get(self, client: Client, namespace: str) -> None:
        made = await client.create(CONFIGMAPS, config_map("a", namespace, k="v"))
        metadata = made["metadata"]
        assert metadata["uid"] and metadata["creationTimestamp"] and metadata["resourceVersion"]
        assert await client.get(CONFIGMAPS, "a", namespace) == made
        with pytest.raises(errors.AlreadyExists):
            await client.create(CONFIGMAPS, config_map("a", namespace))

    async def test_what_is_not_there(self, client: Client, namespace: str) -> None:
        with pytest.raises(errors.NotFound, match='"nope" not found'):
            await client.get(CONFIGMAPS, "nope", namespace)
        with pytest.raises(errors.NotFound):
            await client.delete(CONFIGMAPS, Key(namespace, "nope"))
        with pytest.raises(errors.NotFound):
            await client.patch(CONFIGMAPS, Key(namespace, "nope"), {"data": {}})
        with pytest.raises(errors.NotFound, match="namespace"):
            await client.create(CONFIGMAPS, config_map("a", f"{namespace}-nope"))
        with pytest.raises(errors.NotFound):
            await client.raw("GET", "/apis/nope.example.com/v1/things")

    async def test_generate_name(self, client: Client, namespace: str) -> None:
        template = config_map("", namespace)
        template["metadata"] = {"generateName": "gen-", "namespace": namespace}
        names = {objects.name(await client.create(CONFIGMAPS, template)) for _ in range(5)}
        assert len(names) == 5
        assert all(name.startswith("gen-") and len(name) == 9 for name in names)

    async def test_update_needs_the_current_revision(self, client: Client, namespace: str) -> None:
        first = await client.create(CONFIGMAPS, config_map("u", namespace, k="1"))
        second = await client.update(CONFIGMAPS, changed(first, data={"k": "2"}))
        assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
        with pytest.raises(errors.Conflict):
            await client.update(CONFIGMAPS, changed(first, data={"k": "3"}))
        unconditional = config_map("u", namespace, k="4")
        third = await client.update(CONFIGMAPS, unconditional)
        assert third["data"] == {"k": "4"}
        assert objects.uid(third) == objects.uid(first)

    async def test_an_update_that_changes_nothing_writes_nothing(self, client: Client, namespace: str) -> None:
        first = await client.create(CONFIGMAPS, config_map("same", namespace, k="1"))
        assert await client.update(CONFIGMAPS, first) == first
        assert await client.patch(CONFIGMAPS, Key(namespace, "same"), {"data": {"k": "1"}}) == first

    async def test_patches(self, client: Client, namespace: str) -> None:
        key = Key(namespace, "p")
        await client.create(DEPLOYMENTS, deployment("p", namespace))
        merged = await client.patch(DEPLOYMENTS, key, {"metadata": {"labels": {"x": "1"}}})
        assert objects.labels(merged) == {"x": "1"}
        await client.patch(DEPLOYMENTS, key, [{"op": "add", "path": "/metadata/labels/y", "value": "2"}], type="json")
        strategic = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "alpine:3"}]}}}}
        result = await client.patch(DEPLOYMENTS, key, strategic, type="strategic")
        assert objects.labels(result) == {"x": "1", "y": "2"}
        assert {c["name"] for c in result["spec"]["template"]["spec"]["containers"]} == {"c", "d"}
        with pytest.raises(errors.InvalidInput):
            await client.patch(DEPLOYMENTS, key, [{"op": "test", "path": "/kind", "value": "x"}], type="json")

    async def test_a_patch_with_a_stale_revision_conflicts(self, client: Client, namespace: str) -> None:
        first = await client.create(CONFIGMAPS, config_map("stale", namespace))
        key = Key(namespace, "stale")
        await client.patch(CONFIGMAPS, key, {"data": {"k": "1"}})
        stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "2"}}
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIGMAPS, key, stale)

    async def test_concurrent_patches_all_land(self, client: Client, namespace: str) -> None:
        await client.create(CONFIGMAPS, config_map("many", namespace))
        await asyncio.gather(*(client.patch(CONFIGMAPS, Key(namespace, "many"), {"data": {f"k{n}": str(n)}})
                               for n in range(10)))
        assert len((await client.get(CONFIGMAPS, "many", namespace))["data"]) == 10

    async def test_apply_creates_merges_and_prunes(self, client: Client, namespace: str) -> None:
        key = Key(namespace, "applied")
        made = await client.patch(CONFIGMAPS, key, config_map("applied", namespace, a="1", b="1"), type="apply")
        await client.patch(CONFIGMAPS, key, {"data": {"other": "x"}})
        again = await client.patch(CONFIGMAPS, key, config_map("applied", namespace, a="2"), type="apply")
        assert objects.uid(again) == objects.uid(made)
        assert again["data"] == {"a": "2", "other": "x"}
        same = await client.patch(CONFIGMAPS, key, config_map("applied", namespace, a="2"), type="apply")
        assert same["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]

    async def test_status_is_a_world_of_its_own(self, client: Client, namespace: str) -> None:
        made = await client.create(DEPLOYMENTS, deployment("s", namespace) | {"status": {"replicas": 7}})
        assert "replicas" not in objects.status(made)
        assert objects.generation(made) == 1
        status = {"status": {"observedGeneration": 1, "replicas": 2}, "spec": {"replicas": 9}}
        after = await client.patch(DEPLOYMENTS, Key(namespace, "s"), status, subresource="status")
        assert objects.status(after)["replicas"] == 2
        assert objects.spec(after)["replicas"] == 0
        assert objects.generation(after) == 1
        both = {"spec": {"paused": True}, "status": {"replicas": 5}}
        spec = await client.patch(DEPLOYMENTS, Key(namespace, "s"), both)
        assert objects.status(spec)["replicas"] == 2
        assert objects.generation(spec) == 2

    async def test_scale(self, client: Client, namespace: str) -> None:
        await client.create(DEPLOYMENTS, deployment("sc", namespace))
        await client.patch(DEPLOYMENTS, Key(namespace, "sc"), {"spec": {"paused": True}})
        scale = await client.patch(DEPLOYMENTS, Key(namespace, "sc"), {"spec": {"replicas": 3}}, subresource="scale")
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 3)
        assert objects.spec(await client.get(DEPLOYMENTS, "sc", namespace))["replicas"] == 3

    async def test_delete_with_preconditions(self, client: Client, namespace: str) -> None:
        made = await client.create(CONFIGMAPS, config_map("d", namespace))
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIGMAPS, Key(namespace, "d"), uid="another")
        await client.delete(CONFIGMAPS, Key(namespace, "d"), uid=objects.uid(made))
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, "d", namespace)

    async def test_finalizers_hold_an_object(self, client: Client, namespace: str) -> None:
        held = config_map("f", namespace)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(CONFIGMAPS, held)
        await client.delete(CONFIGMAPS, Key(namespace, "f"))
        waiting = await client.get(CONFIGMAPS, "f", namespace)
        assert objects.deleting(waiting)
        with pytest.raises(errors.InvalidInput, match="finalizers"):
            await client.patch(CONFIGMAPS, Key(namespace, "f"),
                               {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})
        await client.patch(CONFIGMAPS, Key(namespace, "f"), {"metadata": {"finalizers": None}})
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, "f", namespace)

    async def test_an_unbound_pod_goes_at_once(self, client: Client, namespace: str) -> None:
        gated = {"schedulingGates": [{"name": "example.com/wait"}]}
        made = await client.create(PODS, pod("gone", namespace, **gated))
        assert objects.status(made)["phase"] == "Pending"
        await client.delete(PODS, Key(namespace, "gone"))
        with pytest.raises(errors.NotFound):
            await client.get(PODS, "gone", namespace)

    async def test_list_by_labels_and_fields(self, client: Client, namespace: str) -> None:
        for name, labels in (("l1", {"a": "1"}), ("l2", {"a": "2"}), ("l3", {"a": "1", "b": ""})):
            obj = config_map(name, namespace)
            obj["metadata"]["labels"] = labels
            await client.create(CONFIGMAPS, obj)

        async def names(**selection: str) -> list[str]:
            listed = await client.list(CONFIGMAPS, Selection(namespace=namespace, **selection))
            return [objects.name(obj) for obj in listed.items]

        assert await names(labels="a=1") == ["l1", "l3"]
        assert await names(labels="a in (1,2),!b") == ["l1", "l2"]
        assert await names(fields="metadata.name=l2") == ["l2"]
        assert await names(fields="metadata.name!=l2", labels="a") == ["l1", "l3"]
        with pytest.raises(errors.InvalidInput):
            await names(labels="a in")
        with pytest.raises(errors.InvalidInput):
            await names(fields="data.k=v")

    async def test_pages_are_of_one_moment(self, client: Client, namespace: str) -> None:
        for number in range(5):
            await client.create(CONFIGMAPS, config_map(f"page{number}", namespace))
        selection = Selection(namespace=namespace, labels="")
        page = await client.list(CONFIGMAPS, selection, limit=2)
        first, seen = page.resource_version, [objects.name(o) for o in page.items]
        await client.create(CONFIGMAPS, config_map("page9", namespace))
        await client.delete(CONFIGMAPS, Key(namespace, "page4"))
        while page.continue_token:
            page = await client.list(CONFIGMAPS, selection, limit=2, continue_token=page.continue_token)
            assert page.resource_version == first
            seen += [objects.name(o) for o in page.items]
        assert [name for name in seen if name.startswith("page")] == [f"page{n}" for n in range(5)]

    async def test_delete_collection(self, client: Client, namespace: str) -> None:
        for name, label in (("x1", "go"), ("x2", "go"), ("x3", "stay")):
            obj = config_map(name, namespace)
            obj["metadata"]["labels"] = {"dc": label}
            await client.create(CONFIGMAPS, obj)
        await client.raw("DELETE", CONFIGMAPS.path(namespace), query={"labelSelector": "dc=go"})
        left = await client.list(CONFIGMAPS, Selection(namespace=namespace, labels="dc"))
        assert [objects.name(o) for o in left.items] == ["x3"]

    async def test_dry_run_writes_nothing(self, client: Client, namespace: str) -> None:
        path, query = CONFIGMAPS.path(namespace), {"dryRun": "All"}
        made = await client.raw("POST", path, query=query, body=config_map("dry", namespace))
        assert objects.uid(made)
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, "dry", namespace)
        kept = await client.create(CONFIGMAPS, config_map("dry", namespace, k="1"))
        await client.raw("DELETE", f"{path}/dry", query=query)
        await client.raw("PUT", f"{path}/dry", query=query, body=config_map("dry", namespace, k="2"))
        assert await client.get(CONFIGMAPS, "dry", namespace) == kept

    async def test_watch_from_a_list(self, client: Client, namespace: str) -> None:
        listed = await client.list(CONFIGMAPS, Selection(namespace=namespace))
        events = _collect(client, namespace, listed.resource_version, 3)
        await client.create(CONFIGMAPS, config_map("w", namespace))
        await client.patch(CONFIGMAPS, Key(namespace, "w"), {"data": {"k": "1"}})
        await client.delete(CONFIGMAPS, Key(namespace, "w"))
        seen = await events
        assert [e.type for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
        versions = [int(e.object["metadata"]["resourceVersion"]) for e in seen]
        assert versions == sorted(set(versions))

    async def test_watch_with_a_selector_sees_objects_come_and_go(self, client: Client, namespace: str) -> None:
        listed = await client.list(CONFIGMAPS, Selection(namespace=namespace))
        events = _collect(client, namespace, listed.resource_version, 2, labels="in=yes")
        await client.create(CONFIGMAPS, config_map("sel", namespace))
        await client.patch(CONFIGMAPS, Key(namespace, "sel"), {"metadata": {"labels": {"in": "yes"}}})
        await client.patch(CONFIGMAPS, Key(namespace, "sel"), {"metadata": {"labels": {"in": "no"}}})
        assert [e.type for e in await events] == ["ADDED", "DELETED"]

    async def test_bad_objects_are_refused_with_their_place(self, client: Client, namespace: str) -> None:
        with pytest.raises(errors.InvalidInput, match=r"metadata\.name"):
            await client.create(CONFIGMAPS, config_map("Not_A_Name", namespace))
        wrong = config_map("wrong", namespace)
        wrong["data"] = {"k": 1}
        with pytest.raises(errors.InvalidInput, match="data"):
            await client.create(CONFIGMAPS, wrong)
        with pytest.raises(errors.InvalidInput, match=r"spec\.containers"):
            await client.create(PODS, pod("wrong", namespace, containers=[]))
        nameless = deployment("wrong", namespace)
        nameless["spec"]["selector"] = {"matchLabels": {"app": "another"}}
        with pytest.raises(errors.InvalidInput, match="selector"):
            await client.create(DEPLOYMENTS, nameless)

    async def test_a_service_account_token_is_an_identity(self, client: Client, namespace: str) -> None:
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": namespace}})
        request = {"metadata": {"namespace": namespace}, "spec": {"expirationSeconds": 3600}}
        issued = await client.create(SERVICE_ACCOUNTS, request, name="robot", subresource="token")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                  "spec": {"token": issued["status"]["token"]}}
        answer = await client.raw("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review)
        assert answer["status"]["authenticated"]
        assert answer["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:robot"

    async def test_access_reviews(self, client: Client, namespace: str) -> None:
        spec = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": namespace}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        assert (await client.raw("POST", path, body={"spec": spec}))["status"]["allowed"]
        stranger = {"spec": spec | {"user": "stranger"}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        assert not (await client.raw("POST", path, body=stranger))["status"]["allowed"]

    async def test_version_and_health(self, client: Client) -> None:
        assert int((await client.raw("GET", "/version"))["major"]) >= 1
        groups = await client.raw("GET", "/apis")
        assert "apps" in {group["name"] for group in groups["groups"]}


def _collect(client: Client, namespace: str, resource_version: str, count: int, *,
             labels: str = "") -> asyncio.Task[list[WatchEvent]]:
    """Start to watch; the task gives the first ``count`` events that are no bookmarks."""

    async def collect() -> list[WatchEvent]:
        seen: list[WatchEvent] = []
        stream = client.watch(CONFIGMAPS, Selection(namespace=namespace, labels=labels),
                              resource_version=resource_version)
        async for event in stream:
            if event.type != "BOOKMARK":
                seen.append(event)
            if len(seen) == count:
                break
        return seen

    return asyncio.create_task(asyncio.wait_for(collect(), WAIT_SECONDS))
