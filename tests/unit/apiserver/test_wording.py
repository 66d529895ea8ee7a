"""What clients are told of what they may not do: kubectl words its own messages by these answers' details."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Caller

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"


async def test_an_invalid_object_is_named_by_its_kind_and_its_own_name(caller: Caller) -> None:
    code, said = await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "Bad"}})
    assert (code, said["reason"]) == (422, "Invalid")
    assert {key: said["details"].get(key) for key in ("name", "group", "kind")} == {
        "name": "Bad", "group": None, "kind": "ConfigMap"}
    assert said["details"]["causes"][0]["message"].startswith('Invalid value: "Bad": a lowercase RFC 1123 subdomain')
    _, said = await caller.json("POST", "/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "x"}})
    assert (said["details"]["name"], said["details"]["group"], said["details"]["kind"]) == ("x", "apps", "Deployment")


async def test_a_patch_that_fits_nothing_says_why_and_names_no_causes(caller: Caller) -> None:
    await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "c"}})
    code, said = await caller.json("PATCH", f"{CONFIG_MAPS}/c", [{"op": "test", "path": "/data/a", "value": "1"}],
                                   content_type="application/json-patch+json")
    assert (code, said["details"]) == (422, {}), "kubectl would show the details in place of the message"
    assert said["message"]


@pytest.mark.parametrize(("metadata", "why"), [
    ({"labels": {"a b": "c"}}, 'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric'),
    ({"labels": {"a": "c d"}}, 'metadata.labels: Invalid value: "c d": a valid label must be an empty string or'),
    ({"labels": {"a": "x" * 64}}, "must be no more than 63 bytes"),
    ({"labels": {"/a": "x"}}, "prefix part must be non-empty"),
    ({"annotations": {"a b": "c"}}, 'metadata.annotations: Invalid value: "a b": name part must consist of'),
    ({"name": "x" * 254}, "must be no more than 253 characters"),
])
async def test_what_is_wrong_with_names_and_labels(caller: Caller, metadata: dict[str, Any], why: str) -> None:
    code, said = await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "x"} | metadata})
    assert code == 422 and why in said["message"]


PODS = "/api/v1/namespaces/default/pods"
POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}}


async def test_faults_come_in_the_order_of_upstream(caller: Caller) -> None:
    container = {"name": "A", "image": "", "ports": [{"containerPort": 0}], "lifecycle": {"preStop": {}},
                 "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "nope"}}}]}
    spec = {"containers": [container], "restartPolicy": "Sometimes", "volumes": [{"name": "v"}, {"name": "v"}]}
    _, said = await caller.json("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert [cause["field"] for cause in said["details"]["causes"]] == [
        "spec.volumes[1].name", "spec.containers[0].name", "spec.containers[0].image",
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath", "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].lifecycle.preStop", "spec.restartPolicy"]


async def test_a_pod_is_replaced_by_the_manifest_that_made_it(caller: Caller) -> None:
    assert (await caller.json("POST", PODS, POD))[0] == 201
    assert (await caller.json("PUT", f"{PODS}/p", POD))[0] == 200
    other = {"metadata": {"name": "p"}, "spec": POD["spec"] | {"hostname": "h"}}
    code, said = await caller.json("PUT", f"{PODS}/p", other)
    assert (code, [cause["field"] for cause in said["details"]["causes"]]) == (422, ["spec"])
    assert said["message"].endswith("These would change: spec.hostname")


async def test_a_suspended_job_may_be_placed_anew_and_nothing_else(caller: Caller) -> None:
    url = "/apis/batch/v1/namespaces/default/jobs"
    spec = {"suspend": True, "template": {"spec": POD["spec"] | {"restartPolicy": "Never"}}}
    assert (await caller.json("POST", url, {"metadata": {"name": "j"}, "spec": spec}))[0] == 201
    merge = "application/merge-patch+json"
    placed = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    assert (await caller.json("PATCH", f"{url}/j", placed, content_type=merge))[0] == 200
    other = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}}
    code, said = await caller.json("PATCH", f"{url}/j", other, content_type=merge)
    assert (code, said["details"]["causes"][0]["field"]) == (422, "spec.template")


async def test_unknown_fields_are_warned_of_unless_the_client_ignores_them(caller: Caller) -> None:
    body = {"metadata": {"name": "c"}, "dat": {}}
    assert (await caller.send("POST", CONFIG_MAPS, body)).headers["warning"] == '299 - "unknown field \\"dat\\""'
    response = await caller.send("PUT", f"{CONFIG_MAPS}/c?fieldValidation=Ignore", body)
    assert (response.status, "warning" in response.headers) == (200, False)
    code, said = await caller.json("PUT", f"{CONFIG_MAPS}/c?fieldValidation=Strict", body)
    assert (code, said["message"]) == (400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict '
                                            'decoding error: unknown field "dat"')


async def test_health_tells_of_each_check_where_asked(caller: Caller) -> None:
    response = await caller.send("GET", "/readyz?verbose")
    assert isinstance(response.body, bytes)
    assert response.body.decode().splitlines()[-1] == "readyz check passed"


async def test_a_strategic_patch_puts_its_items_first(caller: Caller) -> None:
    url = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": n, "image": n} for n in "abc"]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    assert (await caller.json("POST", url, body))[0] == 201
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}, {"name": "b",
                                                                                           "image": "x"}]}}}}
    _, said = await caller.json("PATCH", f"{url}/d", patch, content_type="application/strategic-merge-patch+json")
    assert [c["name"] for c in said["spec"]["template"]["spec"]["containers"]] == ["side", "a", "b", "c"]


@pytest.mark.parametrize(("url", "why"), [
    ("/api/v1/namespaces/default", 'namespaces "default" is forbidden: this namespace may not be deleted'),
    ("/api/v1/namespaces/kubeflow?dryRun=All", "this namespace may not be deleted"),
    ("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical", "this is a system priority class"),
])
async def test_what_the_cluster_cannot_be_without_is_not_deleted(caller: Caller, url: str, why: str) -> None:
    code, said = await caller.json("DELETE", url)
    assert code == 403 and why in said["message"]


async def test_kinds_are_listed_by_name(caller: Caller) -> None:
    _, said = await caller.json("GET", "/apis/apps/v1")
    plurals = [r["name"] for r in said["resources"] if "/" not in r["name"]]
    assert plurals == sorted(plurals)


async def test_a_pod_is_not_made_with_ephemeral_containers(caller: Caller) -> None:
    code, said = await caller.json("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "q"}, "spec": {
        "containers": [{"name": "c", "image": "i"}], "ephemeralContainers": [{"name": "d", "image": "i"}]}})
    assert (code, said["message"]) == (
        422, 'Pod "q" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create')


async def test_a_namespace_that_goes_takes_nothing_new(caller: Caller) -> None:
    await caller.json("POST", "/api/v1/namespaces", {"metadata": {"name": "going", "finalizers": ["example.com/x"]}})
    await caller.json("DELETE", "/api/v1/namespaces/going")
    for metadata, shown in (({"name": "x"}, "x"), ({"generateName": "x-"}, "x-")):
        code, said = await caller.json("POST", "/api/v1/namespaces/going/configmaps", {"metadata": metadata})
        assert (code, said["reason"]) == (403, "Forbidden")
        assert said["message"] == (f'configmaps "{shown}" is forbidden: unable to create new content in namespace '
                                   "going because it is being terminated")
        assert said["details"]["causes"] == [{
            "reason": "NamespaceTerminating", "message": "namespace going is being terminated",
            "field": "metadata.namespace"}]
