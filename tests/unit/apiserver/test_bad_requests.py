"""Whatever is sent, the answer is one clear Status, and never a 500."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.apiserver.conftest import Caller

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def good(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} | more


@pytest.mark.parametrize(("body", "status", "says"), [
    (b"", 400, "must be a ConfigMap"), (b"nope", 400, "not JSON"), (b"[]", 400, "must be a ConfigMap"),
    (b"\xff\xfe", 400, "not JSON"), (b'{"metadata": {"name": "\xff"}}', 400, "not JSON"),
    (b'{"metadata": {"name": "\\ud800"}}', 400, "not JSON"), (b"[" * 100_000, 400, "deep"),
    (b'{"a":' * 500 + b"1" + b"}" * 500, 400, "deep"), (b'{"data": {"a": 1e999}}', 400, "JSON"),
    (good(apiVersion="v2"), 400, "apiVersion"), (good(kind="Pod"), 400, "kind"), (good(data=[]), 400, "data"),
    (good(data={"k": None}), 400, "data"), (good(metadata=[]), 400, "metadata"), (good(metadata={}), 422, "name"),
    (good(metadata={"name": 1}), 400, "metadata.name"), (good("../../etc"), 422, "metadata.name"),
    (good("a" * 300), 422, "metadata.name"), (good("é"), 422, "metadata.name"), (good("a\n"), 422, "metadata.name"),
    (good(metadata={"name": "a", "labels": {"x": 1}}), 400, "metadata.labels"),
    (good(metadata={"name": "a", "labels": {"-": "x"}}), 422, "metadata.labels"),
    (good(metadata={"name": "a", "labels": {"x": "a" * 64}}), 422, "metadata.labels"),
    (good(metadata={"name": "a", "annotations": {"x": "a" * 300_000}}), 422, "metadata.annotations"),
    (good(metadata={"name": "a", "finalizers": ["no slash/ ok/"]}), 422, "metadata.finalizers"),
    (good(metadata={"name": "a", "namespace": "other"}), 400, "namespace"),
    (good(metadata={"name": "a", "resourceVersion": "1"}), 400, "resourceVersion"),
    (good(metadata={"name": "a", "ownerReferences": [{"name": "x"}]}), 400, "ownerReferences"),
    (good(data={"a/b": "x"}), 422, "data[a/b]"), (good(data={"k": "x" * 1_600_000}), 413, "limit"),
    (b" " * (3 * 1024 * 1024 + 1), 413, "limit"),
])
async def test_a_bad_body_is_refused_with_its_reason(caller: Caller, body: Any, status: int, says: str) -> None:
    code, answer = await caller.json("POST", CONFIGMAPS, body)
    assert (code, answer["kind"], answer["status"], answer["code"]) == (status, "Status", "Failure", status)
    assert says in answer["message"]


@pytest.mark.parametrize(("method", "url", "status"), [
    ("GET", f"{CONFIGMAPS}?labelSelector=a%20in%20(", 400), ("GET", f"{CONFIGMAPS}?fieldSelector=x", 400),
    ("GET", f"{CONFIGMAPS}?fieldSelector=data.x%3D1", 400), ("GET", f"{CONFIGMAPS}?limit=-1", 400),
    ("GET", f"{CONFIGMAPS}?limit=%C2%B2", 400), ("GET", f"{CONFIGMAPS}?continue=nope", 400),
    ("GET", f"{CONFIGMAPS}?continue=e30", 400), ("GET", f"{CONFIGMAPS}?watch=perhaps", 400),
    ("GET", f"{CONFIGMAPS}?resourceVersion=x", 400), ("GET", f"{CONFIGMAPS}?resourceVersion=999999", 504),
    ("GET", f"{CONFIGMAPS}?resourceVersionMatch=Exact", 400), ("GET", f"{CONFIGMAPS}?labelSelector=%FF", 400),
    ("GET", f"{CONFIGMAPS}?watch=1&resourceVersion=999999", 410),
    ("GET", f"{CONFIGMAPS}?watch=1&sendInitialEvents=true", 400), ("GET", f"{CONFIGMAPS}?{'a=b&' * 200}", 400),
    ("GET", f"{CONFIGMAPS}/a%2Fb", 400), ("GET", f"{CONFIGMAPS}/%00", 400), ("GET", f"{CONFIGMAPS}/%FF%FE", 404),
    ("GET", f"{CONFIGMAPS}/" + "a" * 5000, 400), ("GET", f"{CONFIGMAPS}/a/b/c/d", 404),
    ("GET", f"{CONFIGMAPS}/a/status", 404), ("GET", "/api/v1/namespaces//configmaps", 404),
    ("GET", "/api/v1/configmaps/a", 404), ("GET", "/api/v2/configmaps", 404), ("GET", "/apis/apps/v1/nopes", 404),
    ("GET", "/api/v1/namespaces/default/nodes", 404), ("POST", "/api/v1/configmaps", 405),
    ("POST", f"{CONFIGMAPS}/a", 405), ("BREW", CONFIGMAPS, 405), ("PUT", CONFIGMAPS, 405),
    ("DELETE", "/api/v1/namespaces", 405), ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405),
    ("POST", "/version", 405), ("POST", f"{CONFIGMAPS}?dryRun=Some", 400),
    ("GET", "/api/v1/namespaces/default/services/nope/proxy/", 404),
    ("POST", "/api/v1/namespaces/default/pods/p/exec", 404),
])
async def test_a_bad_request_line_is_refused(caller: Caller, method: str, url: str, status: int) -> None:
    body = good() if method in ("POST", "PUT") else b""
    code, answer = await caller.json(method, url, body)
    assert (code, answer["kind"]) == (status, "Status"), answer
    assert answer["message"]


async def test_formats_that_are_not_read_or_written(caller: Caller) -> None:
    assert (await caller.json("POST", CONFIGMAPS, good(), content_type="text/html"))[0] == 415
    protobuf = "application/vnd.kubernetes.protobuf"
    assert (await caller.json("POST", CONFIGMAPS, b"k8s\x00\xff\xff", content_type=protobuf))[0] == 400
    assert (await caller.json("GET", CONFIGMAPS, accept="application/vnd.kubernetes.protobuf"))[0] == 406
    accept = "application/vnd.kubernetes.protobuf, application/json"
    assert (await caller.json("GET", CONFIGMAPS, accept=accept))[0] == 200
    await caller.json("POST", CONFIGMAPS, good())
    assert (await caller.json("PATCH", f"{CONFIGMAPS}/a", b"{}", content_type="application/json"))[0] == 415
    response = await caller.send("GET", f"{CONFIGMAPS}/nope")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [
    b"a: &x [1]\nb: *x", b"a: !!python/object:os.system x", b"a: !!binary aGk=", b"\t:", b"- 1", b"a: [" * 3000,
])
async def test_hostile_yaml(caller: Caller, body: bytes) -> None:
    code, answer = await caller.json("POST", CONFIGMAPS, body, content_type="application/yaml")
    assert (code, answer["kind"]) == (400, "Status")


async def test_yaml_is_read_as_kubernetes_does(caller: Caller) -> None:
    body = b"metadata:\n  name: y\n  annotations: {when: 2026-01-02}\ndata:\n  on: 'yes'\n"
    code, answer = await caller.json("POST", CONFIGMAPS, body, content_type="application/yaml")
    assert code == 201
    assert answer["metadata"]["annotations"] == {"when": "2026-01-02"}  # a time stays text
    assert answer["data"] == {"true": "yes"}  # and `on` is a boolean of YAML 1.1, whose key is text again


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                               st.sampled_from(["metadata", "name", "labels", "spec", "containers", "data", "status",
                                                "template", "selector", "finalizers", "replicas", "x", "ports", "env"]),
                               inner, max_size=4), max_leaves=12)
KINDS = ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services", "/api/v1/namespaces",
         "/apis/apps/v1/namespaces/default/deployments", "/apis/batch/v1/namespaces/default/jobs",
         "/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/persistentvolumeclaims", "/api/v1/nodes",
         "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "/api/v1/namespaces/default/events",
         "/apis/events.k8s.io/v1/namespaces/default/events", "/apis/authorization.k8s.io/v1/subjectaccessreviews",
         "/apis/authentication.k8s.io/v1/tokenreviews", "/apis/example.com/v1/namespaces/default/widgets")
patches = st.sampled_from(["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=json_values, kind=st.sampled_from(KINDS), spec=json_values)
async def test_any_json_gets_an_answer(caller: Caller, body: Any, kind: str, spec: Any) -> None:
    for data in (body, {"metadata": {"generateName": "fuzz-"}, "spec": spec, "involvedObject": body, "data": body}):
        response = await caller.send("POST", f"{kind}?dryRun=All", data)
        assert response.status in (201, 400, 413, 422, 404), (response.status, response.body)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=json_values, patch=patches, kind=st.sampled_from([
    "/apis/apps/v1/namespaces/default/deployments/d", "/apis/apps/v1/namespaces/default/deployments/d/scale",
    "/apis/apps/v1/namespaces/default/deployments/d/status"]))
async def test_any_patch_gets_an_answer(caller: Caller, body: Any, patch: str, kind: str) -> None:
    made = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}
    await caller.send("POST", "/apis/apps/v1/namespaces/default/deployments", made)
    url = f"{kind}?dryRun=All&fieldManager=f"
    response = await caller.send("PATCH", url, body, content_type=f"application/{patch}")
    assert response.status in (200, 400, 409, 415, 422), (response.status, response.body)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60))
async def test_any_protobuf_gets_an_answer(caller: Caller, body: bytes) -> None:
    envelope = b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12" + bytes([len(body)]) + body
    response = await caller.send("POST", f"{CONFIGMAPS}?dryRun=All", envelope,
                                 content_type="application/vnd.kubernetes.protobuf")
    assert response.status in (201, 400, 422), response.body


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=40), path=st.text(max_size=20))
async def test_any_request_line_gets_an_answer(caller: Caller, query: str, path: str) -> None:
    response = await caller.send("GET", f"{CONFIGMAPS}?labelSelector={query}".replace("watch", ""))
    assert response.status in (200, 400)
    assert (await caller.send("GET", f"/api/v1/namespaces/{path.replace('?', '')}")).status in (200, 400, 404)


async def test_yaml_is_bounded_and_read_by_the_fast_reader(caller: Caller) -> None:
    """Slow to read, it is held to a size; aliases and depth are refused before anything is made of them."""
    maps = "/api/v1/namespaces/default/configmaps"
    good = "kind: ConfigMap\nmetadata: {name: y}\ndata:\n  a: 'x'\n"
    for body, status in ((good, 201), (good + "  # " + "x" * 300_000, 413), ("a: &x [1]\nb: *x\n", 400),
                         ("data: " + "[" * 5000 + "]" * 5000, 400), ("data: {a: !!binary eA==}", 400)):
        answer = await caller.send("POST", maps, body.encode(), content_type="application/yaml")
        assert answer.status == status, body[:100]
