"""EndpointSlices: whose address, which port, ready or not."""

from __future__ import annotations

from typing import Any

from lightship.cluster.builtin import endpoint_slices, endpoints, names
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, ENDPOINTS
from tests.unit.builtin import build

WEB = Key("default", "web")
TABLE = build.table(endpoints.controller)


def service(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default", "uid": "svc"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]} | spec}


def member(name: str, ip: str, *, ready: bool = True, port: int = 8080) -> Object:
    pod = build.pod(name, phase="Running", node="laptop", labels={"app": "web"}, ready=ready, podIP=ip)
    pod["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": port}]
    return pod


async def test_ready_pods_are_behind_the_service() -> None:
    outcome = await TABLE.run(WEB, service(), member("a", "127.1.0.1"), member("b", "127.1.0.2", ready=False),
                              build.pod("other", phase="Running", labels={"app": "x"}, podIP="127.1.0.3"))
    made = outcome.all(ENDPOINT_SLICES)
    assert len(made) == 1
    assert objects.labels(made[0])[names.SERVICE_NAME] == "web"
    assert made[0]["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert [(e["addresses"], e["conditions"]["ready"]) for e in made[0]["endpoints"]] == [
        (["127.1.0.1"], True), (["127.1.0.2"], False)]
    assert made[0]["endpoints"][0]["targetRef"]["name"] == "a"
    assert made[0]["endpoints"][0]["nodeName"] == "laptop"


async def test_a_named_port_is_looked_up_in_each_pod() -> None:
    named = service(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    outcome = await TABLE.run(WEB, named, member("a", "127.1.0.1", port=8080), member("b", "127.1.0.2", port=9090))
    found = {made["ports"][0]["port"]: made["endpoints"][0]["addresses"] for made in outcome.all(ENDPOINT_SLICES)}
    assert found == {8080: ["127.1.0.1"], 9090: ["127.1.0.2"]}


async def test_a_pod_that_leaves_drops_out_and_its_fields_with_it() -> None:
    first = await TABLE.run(WEB, service(), member("a", "127.1.0.1"), member("b", "127.1.0.2"))
    there = first.all(ENDPOINT_SLICES)[0]
    outcome = await TABLE.run(WEB, service(), there, member("b", "127.1.0.2"))
    assert outcome.words == ["create endpoints default/web", f"patch endpointslices default/{objects.name(there)}"]
    assert [e["targetRef"]["name"] for e in outcome.all(ENDPOINT_SLICES)[0]["endpoints"]] == ["b"]


async def test_nobody_is_behind_it_yet() -> None:
    outcome = await TABLE.run(WEB, service(), build.pod("a", labels={"app": "web"}))
    assert [made["endpoints"] for made in outcome.all(ENDPOINT_SLICES)] == [[]]


async def test_a_terminating_pod_is_not_ready_and_unready_ones_may_be_published() -> None:
    leaving = member("a", "127.1.0.1")
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}
    outcome = await TABLE.run(WEB, service(), leaving)
    assert outcome.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"] == {
        "ready": False, "serving": True, "terminating": True}
    eager = await TABLE.run(WEB, service(publishNotReadyAddresses=True), member("a", "127.1.0.1", ready=False))
    assert eager.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"]["ready"] is True


async def test_a_service_without_a_selector_is_its_owners_business() -> None:
    outcome = await TABLE.run(WEB, service(selector=None), member("a", "127.1.0.1"))
    assert outcome.words == []


async def test_finished_pods_and_those_without_address_are_left_out() -> None:
    done = member("done", "127.1.0.1")
    done["status"]["phase"] = "Succeeded"
    homeless = member("homeless", "")
    outcome = await TABLE.run(WEB, service(), done, homeless)
    assert [made["endpoints"] for made in outcome.all(ENDPOINT_SLICES)] == [[]]


async def test_older_clients_find_the_same_addresses() -> None:
    outcome = await TABLE.run(WEB, service(), member("a", "127.1.0.1"), member("b", "127.1.0.2", ready=False))
    subset, = outcome.object(ENDPOINTS, "web")["subsets"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert [address["ip"] for address in subset["addresses"]] == ["127.1.0.1"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["127.1.0.2"]


async def test_a_leaving_pod_still_serves_but_is_not_ready() -> None:
    leaving = member("a", "127.1.0.1")
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
    outcome = await TABLE.run(WEB, service(), leaving)
    endpoint, = outcome.all(ENDPOINT_SLICES)[0]["endpoints"]
    assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert outcome.object(ENDPOINTS, "web")["subsets"] == []


async def test_headless_services_name_their_pods_before_they_are_ready() -> None:
    peer = member("a-0", "127.1.0.1", ready=False)
    peer["spec"] |= {"hostname": "a-0", "subdomain": "web"}
    headless = service(clusterIP="None", ports=[], publishNotReadyAddresses=True)
    headless["metadata"]["labels"] = {"team": "x"}
    outcome = await TABLE.run(WEB, headless, peer)
    made, = outcome.all(ENDPOINT_SLICES)
    assert made["endpoints"][0]["hostname"] == "a-0" and made["endpoints"][0]["conditions"]["ready"] is True
    assert objects.labels(made)[endpoint_slices.HEADLESS] == "" and objects.labels(made)["team"] == "x"
    assert outcome.object(ENDPOINTS, "web")["subsets"][0]["addresses"][0]["hostname"] == "a-0"


def test_an_endpoint_stays_in_its_slice() -> None:
    members = [member(f"p{number:03}", f"127.1.{number // 250}.{number % 250 + 1}") for number in range(150)]
    for number, pod in enumerate(members):
        pod["metadata"]["uid"] = f"uid-{number}"
    first = endpoint_slices.make_slices(service(), members)
    assert [len(one["endpoints"]) for one in first] == [100, 50]
    without = endpoint_slices.make_slices(service(), members[1:], first)
    assert [len(one["endpoints"]) for one in without] == [99, 50], "only one slice changed"
    assert without[1] == first[1]
    assert [len(one["endpoints"]) for one in endpoint_slices.make_slices(service(), members, without)] == [100, 50]


async def test_endpoints_that_a_person_wrote_are_shown_as_slices() -> None:
    mine = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "default"},
            "subsets": [{"addresses": [{"ip": "10.9.8.7"}], "ports": [{"port": 5432}]}]}
    outcome = await TABLE.run(WEB, service(selector=None), mine)
    made, = outcome.all(ENDPOINT_SLICES)
    assert made["endpoints"] == [{"addresses": ["10.9.8.7"], "conditions": {"ready": True}}]
    assert made["ports"] == [{"name": "", "port": 5432, "protocol": "TCP"}]
    assert objects.labels(made)[names.SLICE_MANAGED_BY] == names.MIRROR_MANAGER


async def test_an_external_name_has_no_endpoints() -> None:
    outcome = await TABLE.run(WEB, service(type="ExternalName"), member("a", "127.1.0.1"))
    assert outcome.words == []
