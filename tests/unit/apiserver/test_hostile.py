"""Valid objects of every kind with any JSON anywhere: each gets a defined answer, and what was taken can be used."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightship.cluster.apiserver.registry import Served
from lightship.testing.api_suite import deployment, pod
from lightship.testing.embedded import EmbeddedApi
from tests.unit.apiserver.conftest import Caller

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
EXAMPLES = int(os.environ.get("LIGHTSHIP_FUZZ_EXAMPLES", "5000"))
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
_ONCE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
_SELECTED = {"selector": {"matchLabels": {"a": "b"}}, "template": _TEMPLATE}
SAMPLES: dict[str, dict[str, Any]] = {
    "Pod": pod("x", "default"), "Deployment": deployment("x", "default"),
    "ReplicaSet": {"spec": _SELECTED},
    "StatefulSet": {"spec": _SELECTED | {"serviceName": "s", "volumeClaimTemplates": [
        {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {
            "storage": "1Gi"}}}}]}},
    "DaemonSet": {"spec": _SELECTED}, "Job": {"spec": {"template": _ONCE}},
    "ReplicationController": {"spec": {"template": _TEMPLATE}}, "PodTemplate": {"template": _TEMPLATE},
    "CronJob": {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": _ONCE}}}},
    "JobSet": {"spec": {"replicatedJobs": [{"name": "w", "template": {"spec": {"template": _ONCE}}}]}},
    "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}},
    "PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    "PersistentVolume": {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                                  "hostPath": {"path": "/x"}}},
    "PersistentVolumeClaim": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {
        "storage": "1Gi"}}}},
    "StorageClass": {"provisioner": "x.io/y"}, "Service": {"spec": {"ports": [{"port": 80}]}},
    "Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]},
    "Ingress": {"spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
        "service": {"name": "s", "port": {"number": 80}}}}]}}]}},
    "NetworkPolicy": {"spec": {"podSelector": {}}}, "ControllerRevision": {"data": {"a": 1}, "revision": 1},
    "Event": {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "r"},
    "Secret": {"data": {"a": "YQ=="}}, "ConfigMap": {"data": {"a": "b"}},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from(["", "0", "-1", "1Gi", "100%", "a" * 300, "\x00", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2), max_leaves=4)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
            value, list) else ():
        found += places(inner, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def persistent(api: EmbeddedApi) -> list[Served]:
    return [s for s in api.server.registry.served if {"create", "list"} <= set(s.verbs)]


async def one_object(caller: Caller, served: Served, data: Any, value: Any, choose: int) -> None:
    """Mutate the sample, and the object as stored, at a place; look at whatever was accepted in every way."""
    resource = served.resource
    sample = SAMPLES.get(resource.kind, {}) | {"metadata": {"name": "x", "labels": {"a": "b"}}}
    stored = data or sample
    where = places(stored)
    body = put(stored, where[choose % len(where)], value)
    url = resource.path("default")
    response = await caller.send("POST", url, body)
    assert response.status in (201, 400, 403, 409, 413, 422), (resource.kind, body, response.body)
    if response.status != 201:
        return
    assert isinstance(response.body, bytes)
    made = msgspec.json.decode(response.body)
    name = f"{url}/{made['metadata']['name']}"
    assert (await caller.send("GET", name)).status in (200, 400), body  # a name may need escapes that we do not make
    for accept in (TABLE, "application/json"):
        assert (await caller.send("GET", url, accept=accept)).status == 200, (resource.kind, body)
    for kind, patch in (("merge-patch+json", {"metadata": {"labels": {"c": "d"}}}),
                        ("apply-patch+yaml", {"apiVersion": resource.api_version, "kind": resource.kind,
                                              "metadata": {"annotations": {"e": "f"}}})):
        answer = await caller.send("PATCH", f"{name}?fieldManager=f&force=true", patch,
                                   content_type=f"application/{kind}")
        assert answer.status in (200, 400, 404, 422), (resource.kind, body, answer.body)
    if "status" in resource.subresources:
        answer = await caller.send("PUT", f"{name}/status", made | {"status": value})
        assert answer.status in (200, 400, 404, 409, 422), (resource.kind, value, answer.body)
    assert (await caller.send("GET", url, accept=TABLE)).status == 200, (resource.kind, value)
    assert (await caller.send("DELETE", f"{name}?gracePeriodSeconds=0")).status in (200, 400, 404), body
    await caller.send("PATCH", name, {"metadata": {"finalizers": None}, "spec": {"finalizers": None}},
                      content_type="application/merge-patch+json")


async def test_samples_are_accepted(api: EmbeddedApi, caller: Caller) -> None:
    for served in persistent(api):
        if served.resource.kind in SAMPLES and not served.to_wire:
            body = SAMPLES[served.resource.kind] | {"metadata": {"name": "x"}}
            response = await caller.send("POST", f"{served.resource.path('default')}?dryRun=All", body)
            assert response.status == 201, response.body


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), value=json_values, choose=st.integers(0, 10**6))
async def test_any_json_anywhere_gets_a_defined_answer(api: EmbeddedApi, caller: Caller, number: int, value: Any,
                                                       choose: int) -> None:
    kinds = persistent(api)
    await one_object(caller, kinds[number % len(kinds)], None, value, choose)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), value=json_values, choose=st.integers(0, 10**6))
async def test_any_json_anywhere_for_long(api: EmbeddedApi, caller: Caller, number: int, value: Any,
                                          choose: int) -> None:
    """Starts from the object as the server shows it, so that every default and system field is struck too."""
    kinds = persistent(api)
    served = kinds[number % len(kinds)]
    sample = SAMPLES.get(served.resource.kind, {}) | {"metadata": {"name": "x", "labels": {"a": "b"}}}
    _, shown = await caller.json("POST", f"{served.resource.path('default')}?dryRun=All", sample)
    await one_object(caller, served, shown if "metadata" in shown else None, value, choose)


async def test_big_and_odd_bodies(caller: Caller) -> None:
    url = "/api/v1/namespaces/default/configmaps"
    big = {"metadata": {"name": "big"}, "data": {"a": "x" * (1024 * 1024 - 1000)}}
    assert (await caller.send("POST", url, big)).status == 201
    assert (await caller.send("GET", f"{url}/big")).status == 200
    assert (await caller.send("POST", url, {"metadata": {"name": "huge"}, "data": {"a": "x" * 2**21}})).status == 413
    for body in (b'{"metadata":{"name":"\xff"}}', b'{"metadata":{"name":"a"},"data":{"k":NaN}}', b"[" * 100_000,
                 b'{"metadata":{"name":"a","generation":1' + b"0" * 5000 + b"}}", b'{"metadata":{"name":"\\ud800"}}',
                 b'{"metadata":' * 5000):
        assert (await caller.send("POST", url, body)).status in (400, 422), body[:80]


def message(fields: list[tuple[int, Any]]) -> bytes:
    """Protobuf of (number, bytes or int or nested fields)."""
    out = b""
    for number, value in fields:
        body = message(value) if isinstance(value, list) else value
        if isinstance(body, int):
            out += varint(number << 3) + varint(body % 2**64)
        else:
            out += varint(number << 3 | 2) + varint(len(body)) + body
    return out


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes((value & 127 | 128,)), value >> 7
    return out + bytes((value,))


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300])
async def test_json_inside_protobuf_is_judged_too(caller: Caller, data: bytes) -> None:
    revision = message([(1, [(1, b"x")]), (2, [(1, data)]), (3, 1)])
    envelope = b"k8s\x00" + message([(1, [(1, b"apps/v1"), (2, b"ControllerRevision")]), (2, revision)])
    response = await caller.send("POST", "/apis/apps/v1/namespaces/default/controllerrevisions", envelope,
                                 content_type="application/vnd.kubernetes.protobuf")
    assert response.status == 400, response.body


wire = st.recursive(st.integers(0, 2**64) | st.binary(max_size=12) | st.sampled_from([b"default", b"{", b"1Gi"]),
                    lambda inner: st.lists(st.tuples(st.integers(1, 24), inner), max_size=4), max_leaves=10)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), fields=st.lists(st.tuples(st.integers(1, 12), wire), max_size=5))
async def test_any_protobuf_of_any_kind_gets_a_defined_answer(api: EmbeddedApi, caller: Caller, number: int,
                                                              fields: list[tuple[int, Any]]) -> None:
    kinds = [s for s in api.server.registry.served if "create" in s.verbs]
    resource = kinds[number % len(kinds)].resource
    body = message([(1, [(1, b"x")]), *fields])
    envelope = b"k8s\x00" + message([(1, [(1, resource.api_version.encode()), (2, resource.kind.encode())]), (2, body)])
    response = await caller.send("POST", f"{resource.path('default')}?dryRun=All", envelope,
                                 content_type="application/vnd.kubernetes.protobuf")
    assert response.status in (201, 400, 403, 404, 409, 413, 415, 422), (resource.kind, response.body)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), patch=json_values, kind=st.sampled_from(
    ["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"]), field=st.sampled_from(
    ["spec", "status", "metadata", "data", "subsets", "roleRef", "rules", "template", "$patch", "$retainKeys",
     "$setElementOrder/x", "$deleteFromPrimitiveList/finalizers"]))
async def test_any_patch_of_any_kind_gets_a_defined_answer(api: EmbeddedApi, caller: Caller, number: int, patch: Any,
                                                           kind: str, field: str) -> None:
    kinds = [s for s in persistent(api) if s.resource.kind in SAMPLES]
    resource = kinds[number % len(kinds)].resource
    await caller.send("POST", resource.path("default"), SAMPLES[resource.kind] | {"metadata": {"name": "x"}})
    body = [{"op": "add", "path": f"/{field}", "value": patch}] if kind == "json-patch+json" else {field: patch}
    for part in ("", "/status", "/scale"):
        response = await caller.send("PATCH", f"{resource.path('default')}/x{part}?fieldManager=f&dryRun=All", body,
                                     content_type=f"application/{kind}")
        assert response.status in (200, 400, 404, 405, 409, 415, 422), (resource.kind, body, response.body)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), name=st.sampled_from(
    ["limit", "continue", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "dryRun",
     "fieldManager", "fieldValidation", "force", "gracePeriodSeconds", "propagationPolicy", "orphanDependents",
     "includeObject", "timeoutSeconds", "pretty"]), value=st.text(max_size=12) | st.sampled_from(
    ["-1", "0", "9" * 30, "a in (b", "a=b,c", "%", "true", "Exact", "All", "metadata.name=x", "!", "=="]))
async def test_any_query_gets_a_defined_answer(api: EmbeddedApi, caller: Caller, number: int, name: str,
                                               value: str) -> None:
    from urllib.parse import quote

    kinds = persistent(api)
    resource = kinds[number % len(kinds)].resource
    query = f"{name}={quote(value)}"
    for method, path in (("GET", resource.path("default")), ("GET", resource.path("default", "x")),
                         ("POST", resource.path("default")), ("DELETE", resource.path("default", "x")),
                         ("PATCH", resource.path("default", "x"))):
        body = b"" if method in ("GET", "DELETE") else {"metadata": {"name": "y"}}
        accept = TABLE if number % 2 else "application/json"
        content = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        response = await caller.send(method, f"{path}?{query}", body, accept=accept, content_type=content)
        assert response.status < 500 or response.status == 504, (method, path, query, response.body)
