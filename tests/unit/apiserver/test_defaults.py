"""What clients leave out and read back: upstream's defaults, no more and no less."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Caller

CONTAINERS = {"containers": [{"name": "c", "image": "busybox:1"}]}


async def made(caller: Caller, url: str, body: dict[str, Any]) -> Any:
    code, said = await caller.json("POST", url, body)
    assert code == 201, said
    return said


async def test_only_a_pod_itself_has_an_account_by_default_and_bears_that_its_node_is_away(caller: Caller) -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                                                                  "spec": CONTAINERS}}
    deployment = await made(caller, "/apis/apps/v1/namespaces/default/deployments",
                            {"metadata": {"name": "d"}, "spec": spec})
    template = deployment["spec"]["template"]["spec"]
    assert not template.keys() & {"serviceAccount", "serviceAccountName", "enableServiceLinks", "tolerations"}
    borne = [{"operator": "Exists", "key": "node.kubernetes.io/not-ready"}]
    pod = await made(caller, "/api/v1/namespaces/default/pods",
                     {"metadata": {"name": "p"}, "spec": CONTAINERS | {"tolerations": borne}})
    assert (pod["spec"]["serviceAccountName"], pod["spec"]["enableServiceLinks"]) == ("default", True)
    assert pod["spec"]["tolerations"] == [*borne, {
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]


async def test_a_job_bears_the_labels_of_its_pods(caller: Caller) -> None:
    body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": CONTAINERS | {"restartPolicy": "Never"}}}}
    job = await made(caller, "/apis/batch/v1/namespaces/default/jobs", body)
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert job["metadata"]["labels"]["job-name"] == "j"


async def test_what_clients_read_of_a_slice_is_there(caller: Caller) -> None:
    said = await made(caller, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
        "metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}],
        "ports": [{"port": 80}]})
    assert said["endpoints"] == [{"addresses": ["10.1.2.3"], "conditions": {}}]
    assert said["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    assert said["metadata"]["generation"] == 1


async def test_ports_of_a_policy_are_tcp(caller: Caller) -> None:
    said = await made(caller, "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", {
        "metadata": {"name": "n"}, "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}})
    assert said["spec"]["ingress"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(("url", "spec", "counted"), [
    ("services", {"spec": {"ports": [{"port": 80}]}}, False),
    ("resourcequotas", {"spec": {"hard": {"pods": "1"}}}, False),
    ("podtemplates", {"template": {"spec": CONTAINERS}}, True),
])
async def test_which_changes_are_counted(caller: Caller, url: str, spec: dict[str, Any], counted: bool) -> None:
    said = await made(caller, f"/api/v1/namespaces/default/{url}", {"metadata": {"name": "x"}} | spec)
    assert ("generation" in said["metadata"]) is counted


@pytest.mark.parametrize(("kind", "data", "missing"), [
    ("kubernetes.io/tls", {"tls.crt": "YQ=="}, "data[tls.key]: Required value"),
    ("kubernetes.io/basic-auth", {"a": "YQ=="}, "data[username]: Required value"),
    ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "YQ=="}, "data[.dockerconfigjson]: Invalid value"),
    ("kubernetes.io/service-account-token", {}, "metadata.annotations[kubernetes.io/service-account.name]"),
])
async def test_a_secret_holds_what_its_type_says(
        caller: Caller, kind: str, data: dict[str, str], missing: str) -> None:
    code, said = await caller.json("POST", "/api/v1/namespaces/default/secrets",
                                   {"metadata": {"name": "s"}, "type": kind, "data": data})
    assert code == 422 and missing in said["message"]


@pytest.mark.parametrize(("url", "body", "why"), [
    ("/apis/policy/v1/namespaces/default/poddisruptionbudgets", {"spec": {"maxUnavailable": "150%"}},
     'spec.maxUnavailable: Invalid value: "150%": must not be greater than 100%'),
    ("/apis/networking.k8s.io/v1/namespaces/default/ingresses", {"spec": {"rules": [{"host": "BAD_host"}]}},
     'spec.rules[0].host: Invalid value: "BAD_host": a lowercase RFC 1123 subdomain'),
    ("/api/v1/namespaces/default/services", {"spec": {"type": "ExternalName"}}, "spec.externalName: Required value"),
    *(("/api/v1/namespaces/default/pods", {"spec": {"containers": [{"name": "c", "image": "i"}], field: "../x/y"}},
       f'spec.{field}: Invalid value: "../x/y": a lowercase RFC 1123 subdomain')
      for field in ("serviceAccountName", "nodeName")),
])
async def test_what_was_let_pass(caller: Caller, url: str, body: dict[str, Any], why: str) -> None:
    code, said = await caller.json("POST", url, {"metadata": {"name": "x"}} | body)
    assert code == 422 and why in said["message"]


async def test_nobody_owns_what_admission_gave_a_pod(caller: Caller) -> None:
    pod = await made(caller, "/api/v1/namespaces/default/pods?fieldManager=me",
                     {"metadata": {"name": "p"}, "spec": CONTAINERS})
    owned = pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert "f:enableServiceLinks" in owned
    assert not owned.keys() & {"f:tolerations", "f:serviceAccount", "f:serviceAccountName", "f:priority"}


TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": CONTAINERS}
OWNER = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
ONCE = {"spec": CONTAINERS | {"restartPolicy": "Never"}}


@pytest.mark.parametrize(("url", "spec", "status"), [
    ("/apis/apps/v1/namespaces/default/deployments", OWNER, {}),
    ("/apis/apps/v1/namespaces/default/replicasets", OWNER, {"replicas": 0}),
    ("/apis/apps/v1/namespaces/default/statefulsets", OWNER | {"serviceName": "s"},
     {"replicas": 0, "availableReplicas": 0}),
    ("/apis/apps/v1/namespaces/default/daemonsets", OWNER, {
        "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}),
    ("/apis/batch/v1/namespaces/default/jobs", {"template": ONCE}, {}),
    ("/api/v1/namespaces/default/services", {"ports": [{"port": 80}]}, {"loadBalancer": {}}),
    ("/api/v1/namespaces/default/resourcequotas", {"hard": {"pods": "1"}}, {}),
    ("/apis/policy/v1/namespaces/default/poddisruptionbudgets",
     {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}},
     {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
])
async def test_a_status_that_nobody_wrote_yet_reads_as_upstreams(
        caller: Caller, url: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    said = await made(caller, url, {"metadata": {"name": "first"}, "spec": spec, "status": {"replicas": 9}})
    assert said["status"] == status


async def test_a_limit_of_no_type_is_named(caller: Caller) -> None:
    code, said = await caller.json("POST", "/api/v1/namespaces/default/limitranges",
                                   {"metadata": {"name": "l"}, "spec": {"limits": [{"max": {"cpu": "1"}}]}})
    assert (code, said["details"]["causes"][0]["field"]) == (422, "spec.limits[0].type")
