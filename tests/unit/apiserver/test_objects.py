"""What the server does with objects, beyond what the API suite asks of any server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.client.transport import Request, Response
from lightship.cluster.store.broadcast import Key as StoreKey
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
)
from lightship.testing.api_suite import config_map, deployment, pod
from lightship.testing.embedded import EmbeddedApi
from tests.unit.apiserver.conftest import WIDGETS, Caller

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
POD = "/api/v1/namespaces/default/pods"


async def bind(client: Client, name: str, uid: str = "") -> None:
    target = {"metadata": {"name": name, "namespace": "default"} | ({"uid": uid} if uid else {}),
              "target": {"kind": "Node", "name": "node-1"}}
    await client.create(PODS, target, name=name, subresource="binding")


async def test_a_running_pod_ends_when_its_node_says_so(client: Client) -> None:
    key = Key("default", "p")
    made = await client.create(PODS, pod("p", "default", terminationGracePeriodSeconds=20))
    with pytest.raises(errors.Conflict):
        await bind(client, "p", uid="another")
    await bind(client, "p", uid=objects.uid(made))
    await client.patch(PODS, key, {"status": {"phase": "Running"}}, subresource="status")
    deleting = await client.delete(PODS, key)
    assert objects.deleting(deleting) and deleting["metadata"]["deletionGracePeriodSeconds"] == 20
    again = await client.delete(PODS, key, grace_seconds=60)
    assert again["metadata"]["deletionGracePeriodSeconds"] == 20, "grace only shrinks"
    assert objects.key(await client.get(PODS, "p", "default")) == key
    await client.delete(PODS, key, grace_seconds=0)
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "p", "default")


async def test_a_finalizer_holds_an_ended_pod(client: Client) -> None:
    key = Key("default", "p")
    held = pod("p", "default")
    held["metadata"]["finalizers"] = ["lightship.dev/outcome"]
    await client.create(PODS, held)
    await bind(client, "p")
    await client.delete(PODS, key)
    await client.delete(PODS, key, grace_seconds=0)
    waiting = await client.get(PODS, "p", "default")
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 0
    await client.patch(PODS, key, {"metadata": {"finalizers": []}})
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "p", "default")


async def test_taking_the_finalizer_off_a_pod_that_still_ends_does_not_remove_it(client: Client) -> None:
    key = Key("default", "p")
    held = pod("p", "default")
    held["metadata"]["finalizers"] = ["lightship.dev/outcome"]
    await client.create(PODS, held)
    await bind(client, "p")
    await client.delete(PODS, key)
    await client.patch(PODS, key, {"metadata": {"finalizers": []}})
    assert objects.deleting(await client.get(PODS, "p", "default"))


async def test_pod_defaults_and_immutability(client: Client) -> None:
    made = await client.create(PODS, pod("p", "default"))
    spec = objects.spec(made)
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["serviceAccountName"]) == (
        "Always", 30, "default")
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert objects.status(made) == {"phase": "Pending", "qosClass": "BestEffort"}
    with pytest.raises(errors.InvalidInput, match=r"spec\.nodeName"):
        await client.patch(PODS, Key("default", "p"), {"spec": {"nodeName": "n"}})
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "busybox:2"}]
    await client.patch(PODS, Key("default", "p"), image, type="json")
    command = [{"op": "replace", "path": "/spec/containers/0/command", "value": ["false"]}]
    with pytest.raises(errors.InvalidInput, match=r"spec\.containers"):
        await client.patch(PODS, Key("default", "p"), command, type="json")


@pytest.mark.parametrize(("spec", "says"), [
    ({"restartPolicy": "Sometimes"}, "restartPolicy"), ({"containers": [{"name": "A", "image": "x"}]}, "name"),
    ({"containers": [{"name": "a"}]}, "image"), ({"containers": [{"name": "a", "image": "x"}] * 2}, "Duplicate"),
    ({"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}, "Not found"),
    ({"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "lots"}}}]}, "quantities"),
    ({"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": 1}]}]},
     r"spec\.containers\[0\]\.env\[0\]\.value"),
    ({"containers": [{"name": "a", "image": "x", "command": "true"}]}, r"spec\.containers\[0\]\.command"),
])
async def test_a_broken_pod_is_refused(client: Client, spec: Any, says: str) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        await client.create(PODS, pod("p", "default", **spec))


async def test_custom_kinds_pass_their_domains_admission(client: Client) -> None:
    widget = {"metadata": {"name": "w", "namespace": "default"}}
    made = await client.create(WIDGETS, widget | {"status": {"x": 1}})
    assert (made["spec"], made.get("status"), objects.generation(made)) == ({"size": 1}, None, 1)
    with pytest.raises(errors.InvalidInput, match=r"spec\.size: Invalid value: too big"):
        await client.patch(WIDGETS, Key("default", "w"), {"spec": {"size": 10}})
    bigger = await client.patch(WIDGETS, Key("default", "w"), {"spec": {"size": 9}})
    assert objects.generation(bigger) == 2
    with pytest.raises(errors.LightshipError, match="unknown format"):
        await client.patch(WIDGETS, Key("default", "w"), {}, type="strategic")


async def test_namespaces_end_in_two_steps(client: Client) -> None:
    made = await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    assert objects.labels(made)["kubernetes.io/metadata.name"] == "team"
    await client.create(CONFIGMAPS, config_map("a", "team"))
    await client.delete(NAMESPACES, Key("", "team"))
    ending = await client.get(NAMESPACES, "team")
    assert objects.status(ending)["phase"] == "Terminating"
    with pytest.raises(errors.Forbidden, match="terminated"):
        await client.create(CONFIGMAPS, config_map("b", "team"))
    await client.update(NAMESPACES, ending | {"spec": {"finalizers": []}}, subresource="finalize")
    with pytest.raises(errors.NotFound):
        await client.get(NAMESPACES, "team")


@pytest.mark.parametrize(("propagation", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_propagation_leaves_a_finalizer_for_the_collector(client: Client, propagation: str,
                                                                finalizer: str) -> None:
    await client.create(DEPLOYMENTS, deployment("d", "default"))
    await client.delete(DEPLOYMENTS, Key("default", "d"), propagation=propagation)
    held = await client.get(DEPLOYMENTS, "d", "default")
    assert (objects.finalizers(held), objects.deleting(held)) == ([finalizer], True)
    await client.patch(DEPLOYMENTS, Key("default", "d"), {"metadata": {"finalizers": None}})
    with pytest.raises(errors.NotFound):
        await client.get(DEPLOYMENTS, "d", "default")


async def test_core_defaults(client: Client) -> None:
    secret = await client.create(SECRETS, {"metadata": {"name": "s", "namespace": "default"},
                                           "stringData": {"a": "b"}})
    assert (secret["data"], secret["type"], "stringData" in secret) == ({"a": "Yg=="}, "Opaque", False)
    service = await client.create(SERVICES, {"metadata": {"name": "s", "namespace": "default"},
                                             "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}})
    assert service["spec"]["ports"] == [{"protocol": "TCP", "targetPort": 80, "port": 80}]
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    job = await client.create(JOBS, {"metadata": {"name": "j", "namespace": "default"}, "spec": {"template": template}})
    selector = job["spec"]["selector"]["matchLabels"]
    assert selector == {"batch.kubernetes.io/controller-uid": objects.uid(job)}
    assert selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    claim = {"metadata": {"name": "c", "namespace": "default"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    assert objects.status(await client.create(PERSISTENT_VOLUME_CLAIMS, claim)) == {"phase": "Pending"}


async def test_an_immutable_config_map_stays(client: Client) -> None:
    await client.create(CONFIGMAPS, config_map("a", "default", k="v") | {"immutable": True})
    with pytest.raises(errors.InvalidInput, match="immutable"):
        await client.patch(CONFIGMAPS, Key("default", "a"), {"data": {"k": "w"}})


async def test_events_are_the_same_in_both_groups(client: Client, caller: Caller) -> None:
    event = {"metadata": {"name": "e", "namespace": "default"}, "reason": "Why", "message": "text", "type": "Normal",
             "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}}
    await client.create(EVENTS, event)
    _, shown = await caller.json("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert (shown["apiVersion"], shown["note"], shown["regarding"]["name"]) == ("events.k8s.io/v1", "text", "p")
    listed = await client.list(EVENTS, Selection(fields="involvedObject.name=p,involvedObject.kind=Pod"))
    assert [objects.name(e) for e in listed.items] == ["e"]
    code, _ = await caller.json("POST", "/apis/events.k8s.io/v1/namespaces/default/events", {
        "metadata": {"name": "f"}, "note": "n", "regarding": {"kind": "Pod", "name": "q"}})
    assert code == 201
    assert (await client.get(EVENTS, "f", "default"))["involvedObject"]["name"] == "q"


async def test_every_kind_has_a_table(api: EmbeddedApi, caller: Caller) -> None:
    samples = {"pods": pod("p", "default"), "deployments": deployment("d", "default"),
               "widgets": {"metadata": {"name": "w"}, "status": {}}}
    for plural, sample in samples.items():
        served = next(s for s in api.server.registry.served if s.resource.plural == plural)
        assert (await caller.send("POST", served.resource.path("default"), sample)).status == 201
    for served in api.server.registry.served:
        if not served.persistent or served.resource.group == "metrics.k8s.io":
            continue
        code, table = await caller.json("GET", served.resource.path(), accept=TABLE)
        assert (code, table["kind"]) == (200, "Table"), served.resource.plural
        headings = [column["name"] for column in table["columnDefinitions"]]
        assert headings and len(set(headings)) == len(headings)
        assert all(len(row["cells"]) == len(headings) for row in table["rows"]), served.resource.plural
        if served.resource.plural in samples:
            assert len(table["rows"]) == 1
    _, table = await caller.json("GET", f"{POD}/p?includeObject=Object", accept=TABLE)
    assert table["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert table["rows"][0]["object"]["spec"]["containers"]
    _, table = await caller.json("GET", WIDGETS.path(), accept=TABLE)
    assert table["rows"][0]["cells"] == ["w", 1, ""]


async def test_metadata_only(caller: Caller) -> None:
    await caller.json("POST", POD, pod("p", "default"))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    _, listed = await caller.json("GET", POD, accept=accept)
    assert listed["kind"] == "PartialObjectMetadataList"
    assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_unknown_fields_are_refused_where_the_client_asks(caller: Caller) -> None:
    wrong = pod("p", "default", restartpolicy="Never", containers=[{"name": "c", "image": "x", "cmd": ["x"]}])
    code, answer = await caller.json("POST", f"{POD}?fieldValidation=Strict", wrong)
    assert code == 400
    assert 'unknown field "spec.restartpolicy"' in answer["message"]
    assert 'unknown field "spec.containers[0].cmd"' in answer["message"]
    assert (await caller.json("POST", f"{POD}?fieldValidation=Perhaps", wrong))[0] == 400
    response = await caller.send("POST", f"{POD}?fieldValidation=Warn", wrong)
    assert (response.status, "spec.restartpolicy" in response.headers["warning"]) == (201, True)
    right = pod("q", "default", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], containers=[
        {"name": "c", "image": "x", "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
         "resources": {"limits": {"nvidia.com/gpu": 1}}, "env": [{"name": "A", "valueFrom": {"fieldRef": {
             "fieldPath": "status.podIP"}}}]}])
    assert (await caller.json("POST", f"{POD}?fieldValidation=Strict", right))[0] == 201
    patch = {"spec": {"nope": 1}}
    code, answer = await caller.json("PATCH", f"{POD}/q?fieldValidation=Strict", patch,
                                     content_type="application/merge-patch+json")
    assert (code, "spec.nope" in answer["message"]) == (400, True)


async def lines(response: Response, count: int) -> list[Object]:
    assert response.status == 200 and not isinstance(response.body, bytes)
    found: list[Object] = []
    async for chunk in response.body:
        found += [msgspec.json.decode(line) for line in chunk.splitlines()]
        if len(found) >= count:
            break
    await response.body.aclose()  # type: ignore[attr-defined]
    return found


async def test_a_watch_list_ends_its_first_part_with_a_bookmark(api: EmbeddedApi, caller: Caller) -> None:
    await caller.json("POST", POD, pod("p", "default"))
    response = await caller.send("GET", f"{POD}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true"
                                        "&resourceVersionMatch=NotOlderThan&resourceVersion=")
    seen = await asyncio.wait_for(lines(response, 2), 5)
    assert [e["type"] for e in seen] == ["ADDED", "BOOKMARK"]
    assert seen[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert seen[1]["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_a_watch_ends_at_its_timeout_with_a_bookmark(api: EmbeddedApi, caller: Caller) -> None:
    response = await caller.send("GET", f"{POD}?watch=True&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion="
                                        f"{api.store.revision}", accept=TABLE)
    seen = await asyncio.wait_for(lines(response, 99), 5)
    assert {e["type"] for e in seen} == {"BOOKMARK"}
    assert seen[0]["object"]["kind"] == "Table"


async def test_a_table_watch(api: EmbeddedApi, caller: Caller) -> None:
    response = await caller.send("GET", f"{POD}?watch=1&resourceVersion={api.store.revision}", accept=TABLE)
    await caller.json("POST", POD, pod("p", "default"))
    event = (await asyncio.wait_for(lines(response, 1), 5))[0]
    assert (event["type"], event["object"]["rows"][0]["cells"][0]) == ("ADDED", "p")


async def test_a_watch_from_a_forgotten_revision_is_gone(api: EmbeddedApi, client: Client,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightship.cluster.store.broadcast.LIMIT_HISTORY_EVENTS", 3)
    for number in range(6):
        await client.create(CONFIGMAPS, config_map(f"c{number}", "default"))
    with pytest.raises(errors.Gone):
        async for _ in client.watch(CONFIGMAPS, resource_version="1"):
            pytest.fail("it is gone")


async def test_an_unread_watch_lets_its_watcher_go(api: EmbeddedApi, caller: Caller) -> None:
    response = await caller.send("GET", f"{POD}?watch=1")
    assert api.store.watching("pods") == 1
    await response.body.aclose()  # type: ignore[union-attr]
    assert api.store.watching("pods") == 0


async def test_apply_conflicts_are_named_and_can_be_forced(caller: Caller) -> None:
    url = "/apis/apps/v1/namespaces/default/deployments/d"
    kind = {"content_type": "application/apply-patch+yaml"}
    applied = deployment("d", "default")
    assert (await caller.json("PATCH", f"{url}?fieldManager=one", applied, **kind))[0] == 201
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}}
    code, answer = await caller.json("PATCH", f"{url}?fieldManager=two", other, **kind)
    assert (code, ".spec.replicas" in answer["message"], '"one"' in answer["message"]) == (409, True, True)
    code, answer = await caller.json("PATCH", f"{url}?fieldManager=two&force=true", other, **kind)
    assert (code, answer["spec"]["replicas"]) == (200, 5)
    template = applied["spec"]["template"]
    sidecar = template | {"spec": {"containers": [*template["spec"]["containers"], {"name": "s", "image": "y"}]}}
    applied["spec"] = {"selector": applied["spec"]["selector"], "template": sidecar}
    code, answer = await caller.json("PATCH", f"{url}?fieldManager=one", applied, **kind)
    assert [c["name"] for c in answer["spec"]["template"]["spec"]["containers"]] == ["c", "s"]
    applied["spec"] = applied["spec"] | {"template": template}
    code, answer = await caller.json("PATCH", f"{url}?fieldManager=one", applied, **kind)
    assert [c["name"] for c in answer["spec"]["template"]["spec"]["containers"]] == ["c"]
    assert answer["spec"]["replicas"] == 5, "two owns it now"
    assert (await caller.json("PATCH", url, applied, **kind))[0] == 400


async def test_a_service_proxy_is_handed_the_rest_of_the_path(api: EmbeddedApi, caller: Caller) -> None:
    async def answer(request: Request) -> Response:
        assert request.user is not None
        text = f"{request.method} {request.path}?{request.query} {request.body.decode()}"
        return Response(status=200, headers={"content-type": "text/plain"}, body=text.encode())

    api.server.proxies[Key("kubeflow", "ml-pipeline")] = answer
    base = "/api/v1/namespaces/kubeflow/services"
    for name in ("ml-pipeline", "ml-pipeline:8888", "http:ml-pipeline:8888"):
        response = await caller.send("POST", f"{base}/{name}/proxy/apis/v2beta1/runs/?a=b", b"x")
        assert response.body == b"POST /apis/v2beta1/runs/?a=b x"
    assert (await caller.send("GET", f"{base}/ml-pipeline/proxy")).body == b"GET /? "
    assert (await caller.send("GET", f"{base}/other/proxy/x")).status == 404


async def test_discovery_in_three_shapes(caller: Caller) -> None:
    for version in ("v2", "v2beta1"):
        accept = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList,application/json"
        response = await caller.send("GET", "/apis", accept=accept)
        assert f"v={version}" in response.headers["content-type"]
        groups = msgspec.json.decode(response.body)["items"]  # type: ignore[arg-type]
        widgets = next(g for g in groups if g["metadata"]["name"] == "example.com")["versions"][0]["resources"][0]
        assert (widgets["resource"], widgets["scope"], widgets["shortNames"]) == ("widgets", "Namespaced", ["wd"])
        assert widgets["subresources"][0]["subresource"] == "status"
    _, legacy = await caller.json("GET", "/apis/example.com/v1/")
    assert [r["name"] for r in legacy["resources"]] == ["widgets", "widgets/status"]
    assert (await caller.json("GET", "/api/"))[1]["versions"] == ["v1"]
    assert (await caller.json("GET", "/apis/nope.example.com"))[0] == 404


async def test_openapi_has_a_document_for_each_group_version(caller: Caller) -> None:
    _, index = await caller.json("GET", "/openapi/v3")
    assert {"api/v1", "apis/apps/v1", "apis/example.com/v1"} <= set(index["paths"])
    for entry in index["paths"].values():
        url = entry["serverRelativeURL"].partition("?")[0]
        code, document = await caller.json("GET", url)
        assert (code, document["openapi"]) == (200, "3.0.0")
        references = set(_references(document))
        assert {reference.rpartition("/")[2] for reference in references} <= set(document["components"]["schemas"])
    stub = await caller.send("GET", "/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert stub.headers["content-type"].endswith("protobuf")


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


async def test_what_is_stored_is_what_is_answered(api: EmbeddedApi, caller: Caller) -> None:
    response = await caller.send("POST", POD, pod("p", "default"))
    entry = api.store.get(StoreKey("pods", "default", "p"))
    assert entry is not None and entry.value == response.body
    assert msgspec.json.decode(entry.value)["metadata"]["resourceVersion"] == str(entry.revision)


async def test_fields_given_twice_are_refused_or_warned_of(caller: Caller) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}'
    url = "/api/v1/namespaces/default/configmaps"
    code, answer = await caller.json("POST", f"{url}?fieldValidation=Strict", body)
    assert (code, answer["message"]) == (400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
                                              'strict decoding error: duplicate field "data.x"')
    warned = await caller.send("POST", f"{url}?fieldValidation=Warn", body)
    assert (warned.status, warned.headers["warning"]) == (201, '299 - "duplicate field \\"data.x\\""')


async def test_what_a_pod_leaves_out_is_filled_in(client: Client) -> None:
    container = {"name": "c", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                 "livenessProbe": {"httpGet": {"port": 80}},
                 "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}
    made = await client.create(PODS, pod("p", "default", containers=[container], volumes=[
        {"name": "a"}, {"name": "s", "secret": {"secretName": "s"}}]))
    shown = objects.spec(made)["containers"][0]
    assert shown["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert objects.status(made)["qosClass"] == "Guaranteed"
    assert shown["livenessProbe"] == {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                                      "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert shown["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert objects.spec(made)["volumes"][:2] == [{"name": "a", "emptyDir": {}},
                                                 {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}}]


async def test_a_stateful_set_mounts_its_claims(client: Client) -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {
        "requests": {"storage": "1Gi"}}}}
    with pytest.raises(errors.InvalidInput, match='Not found: "data"'):
        await client.create(STATEFUL_SETS, {"metadata": {"name": "s", "namespace": "default"}, "spec": spec})
    await client.create(STATEFUL_SETS, {"metadata": {"name": "s", "namespace": "default"},
                                        "spec": spec | {"volumeClaimTemplates": [claim]}})
    with pytest.raises(errors.InvalidInput, match="updates to statefulset spec for fields other than"):
        await client.patch(STATEFUL_SETS, Key("default", "s"), {"spec": {"serviceName": "other"}})


async def test_a_list_of_a_forgotten_state_can_go_on_with_what_is_there(
        client: Client, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "/api/v1/namespaces/default/configmaps"
    for number in range(4):
        await client.create(CONFIGMAPS, config_map(f"a{number}", "default"))
    _, first = await caller.json("GET", f"{url}?limit=2")
    monkeypatch.setattr("lightship.cluster.store.broadcast.LIMIT_HISTORY_EVENTS", 2)
    for number in range(4):
        await client.create(CONFIGMAPS, config_map(f"b{number}", "default"))
    code, gone = await caller.json("GET", f"{url}?limit=2&continue={first['metadata']['continue']}")
    assert (code, gone["reason"]) == (410, "Expired")
    code, rest = await caller.json("GET", f"{url}?limit=100&continue={gone['metadata']['continue']}")
    assert code == 200
    assert [objects.name(o) for o in rest["items"]] == ["a2", "a3", "b0", "b1", "b2", "b3"]
