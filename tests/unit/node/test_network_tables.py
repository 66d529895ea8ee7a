"""Services and EndpointSlices to ports and names, and names to DNS answers."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from lightship.cluster.node.network import dns, pod_network, resolution, tables
from lightship.kube.objects import Object

API = ("127.0.0.1", 6443)


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": spec}


def piece(name: str, *endpoints: dict[str, Any], port: int = 8080, port_name: str = "") -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": list(endpoints),
            "ports": [{"name": port_name, "port": port, "protocol": "TCP"}]}


def endpoint(ip: str, *, is_ready: bool = True, **more: Any) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": {"ready": is_ready}, **more}


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def code_and_count(answer: bytes | None) -> tuple[int, int]:
    assert answer is not None
    _, flags, _, count = struct.unpack_from("!HHHH", answer)
    return flags & 15, count


def test_the_api_server_is_there_without_any_service() -> None:
    made = tables.make([], [], API)
    assert made["services"] == [{"ip": "10.96.0.1", "port": 443, "protocol": "TCP", "endpoints": [["127.0.0.1", 6443]],
                                 "affinity": 0.0, "node_port": 0}]
    assert made["records"]["kubernetes.default.svc.cluster.local"] == {"a": ["10.96.0.1"]}


def test_a_service_has_its_ready_endpoints_by_the_ports_name() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}, {"name": "other", "port": 81}]
    made = tables.make(
        [service("web", clusterIP="10.96.1.1", ports=ports, sessionAffinity="ClientIP")],
        [piece("web", endpoint("10.244.0.3"), endpoint("10.244.0.2"), endpoint("10.244.0.4", is_ready=False),
               port_name="http")], API)
    http, other = made["services"][1:]
    assert http == {"ip": "10.96.1.1", "port": 80, "protocol": "TCP", "affinity": 10800.0, "node_port": 30080,
                    "endpoints": [["10.244.0.2", 8080], ["10.244.0.3", 8080]]}
    assert other["endpoints"] == []
    assert made["records"]["web.ns.svc.cluster.local"] == {"a": ["10.96.1.1"]}
    assert made["records"]["_http._tcp.web.ns.svc.cluster.local"] == {"srv": [[80, "web.ns.svc.cluster.local"]]}
    assert made["pointers"]["10.96.1.1"] == "web.ns.svc.cluster.local"


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.3.1.1", "127.1", "2130706433", "0x7f.0.0.1", "localhost", "0.0.0.0", "169.254.169.254",
    "169.254.200.1", "224.0.0.1", "255.255.255.255", "10.244.0.1", "10.96.1.1", "::1", ""])
def test_nobody_has_the_node_call_what_is_the_hosts_or_the_hubs_own(address: str) -> None:
    pieces = [piece("web", endpoint(address), endpoint("10.244.0.2"), endpoint("192.168.1.4"))]
    made = tables.make([service("web", clusterIP="10.96.1.1", ports=[{"port": 80}])], pieces, API)
    assert made["services"][1]["endpoints"] == [["10.244.0.2", 8080], ["192.168.1.4", 8080]]
    made = tables.make([service("web", clusterIP="None")], pieces, API)
    assert made["records"]["web.ns.svc.cluster.local"] == {"a": ["10.244.0.2", "192.168.1.4"]}


@pytest.mark.parametrize(("shared", "found"), [
    ({"u1": ("ns", "127.3.1.1")}, [["127.3.1.1", 8080]]), ({"u1": ("ns", "127.3.1.2")}, []),
    ({"u1": ("elsewhere", "127.3.1.1")}, []), ({"u2": ("ns", "127.3.1.1")}, []), ({}, [])])
def test_a_pod_on_the_hosts_network_has_its_own_address(shared: tables.Shared, found: list[Any]) -> None:
    pieces = [piece("web", endpoint("127.3.1.1", targetRef={"kind": "Pod", "uid": "u1"}))]
    made = tables.make([service("web", clusterIP="10.96.1.1", ports=[{"port": 80}])], pieces, API, shared)
    assert made["services"][1]["endpoints"] == found


def test_a_headless_service_has_its_pods_names() -> None:
    made = tables.make([service("db", clusterIP="None")],
                       [piece("db", endpoint("10.244.0.2", hostname="db-0"), endpoint("10.244.0.3"), port_name="sql")],
                       API)
    name = "db.ns.svc.cluster.local"
    assert made["records"][name] == {"a": ["10.244.0.2", "10.244.0.3"]}
    assert made["records"]["db-0." + name] == {"a": ["10.244.0.2"]}
    assert made["records"]["10-244-0-3." + name] == {"a": ["10.244.0.3"]}
    assert made["records"]["_sql._tcp." + name]["srv"] == [[8080, "db-0." + name], [8080, "10-244-0-3." + name]]
    assert len(made["services"]) == 1


def external(*pairs: tuple[str, str]) -> dns.Zone:
    made = tables.make([service(name, type="ExternalName", externalName=target) for name, target in pairs], [], API)
    return dns.Zone(records=made["records"])


def upstream(*records: bytes, flags: int = 0x8180) -> bytes:
    """Another server's answer, its names compressed."""
    asked = query("example.org")
    return asked[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + asked[12:] + b"".join(records)


def test_an_external_name_is_an_alias_and_its_addresses_come_with_it() -> None:
    zone, asked = external(("out", "Example.org.")), query("out.ns.svc.cluster.local")
    assert dns.answer(asked, zone) is None
    assert dns.outside(asked, zone) == "example.org"
    assert dns.parse(dns.query_for(asked, "example.org")).name == "example.org"
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 9, 4) + b"\1x\xc0\x0c"
    address = b"\1x\xc0\x0c" + struct.pack("!HHIH", 1, 1, 9, 4) + b"\1\2\3\4"
    answer = dns.answer_with(asked, zone, upstream(alias, address))
    assert code_and_count(answer) == (0, 2)
    assert b"\x07example\x03org\x00" in answer and answer.endswith(b"\1\2\3\4")
    assert code_and_count(dns.answer(query("out.ns.svc.cluster.local", 5), zone)) == (0, 1)


@pytest.mark.parametrize(("found", "code"), [
    (upstream(flags=0x8183), 3), (upstream(flags=0x8182), 2), (b"", 2), (upstream(b"\xc0"), 2), (upstream()[:14], 2)])
def test_what_goes_wrong_elsewhere_goes_wrong_here(found: bytes, code: int) -> None:
    zone, asked = external(("out", "example.org")), query("out.ns.svc.cluster.local")
    assert code_and_count(dns.answer_with(asked, zone, found))[0] == code


def test_aliases_within_the_cluster_are_followed_and_do_not_go_round_for_ever() -> None:
    made = tables.make([service("web", clusterIP="10.96.1.1", ports=[]),
                        service("a", type="ExternalName", externalName="web.ns.svc.cluster.local"),
                        service("b", type="ExternalName", externalName="nobody.ns.svc.cluster.local")], [], API)
    zone = dns.Zone(records=made["records"])
    assert code_and_count(dns.answer(query("a.ns.svc.cluster.local"), zone)) == (0, 2)
    assert code_and_count(dns.answer(query("b.ns.svc.cluster.local"), zone)) == (3, 1)
    zone = external(("a", "b.ns.svc.cluster.local"), ("b", "a.ns.svc.cluster.local"), ("c", "c.ns.svc.cluster.local"))
    for name in ("a", "c"):
        asked = query(f"{name}.ns.svc.cluster.local")
        with pytest.raises(ValueError, match="go round"):
            dns.answer(asked, zone)
        assert code_and_count(dns.failure(asked))[0] == 2


@pytest.mark.parametrize("target", ["", ".", "a..b", "x" * 64 + ".org", "x" * 200, ".".join(["y" * 60] * 5)])
def test_a_name_that_no_message_holds_is_no_alias(target: str) -> None:
    assert code_and_count(dns.answer(query("out.ns.svc.cluster.local"), external(("out", target)))) == (0, 0)
    made = tables.make([service("db", clusterIP="None")],
                       [piece("db", endpoint("10.244.0.2", hostname=target), port_name="sql")], API)
    zone = dns.Zone(records=made["records"])
    assert code_and_count(dns.answer(query("_sql._tcp.db.ns.svc.cluster.local", 33), zone)) == (0, 1)


@pytest.mark.parametrize(("name", "kind", "expected"), [
    ("web.ns.svc.cluster.local", 1, (0, 1)), ("WEB.ns.svc.cluster.local", 1, (0, 1)),
    ("web.ns.svc.cluster.local", 28, (0, 0)), ("ns.svc.cluster.local", 1, (0, 0)),
    ("nobody.ns.svc.cluster.local", 1, (3, 0)), ("10-244-0-9.ns.pod.cluster.local", 1, (0, 1)),
    ("1.1.96.10.in-addr.arpa", 12, (0, 1)),
])
def test_answers(name: str, kind: int, expected: tuple[int, int]) -> None:
    made = tables.make([service("web", clusterIP="10.96.1.1", ports=[])], [], API)
    zone = dns.Zone(records=made["records"], pointers=made["pointers"])
    answer = dns.answer(query(name, kind), zone)
    assert code_and_count(answer) == expected
    assert (answer or b"")[:2] == b"\0\7"


def test_other_names_are_asked_elsewhere_and_nonsense_is_refused() -> None:
    assert dns.answer(query("example.org"), dns.Zone()) is None
    assert dns.answer(query("1.1.1.1.in-addr.arpa", 12), dns.Zone()) is None
    too_long = query(".".join(["x" * 63] * 4))
    for nonsense in (b"", b"\0" * 11, query("a.b")[:-3], too_long, b"\0\7\1\0\0\1\0\0\0\0\0\0\xff\xff\xff"):
        with pytest.raises(ValueError, match=r"name|query|question"):
            dns.answer(nonsense, dns.Zone())
        assert code_and_count(dns.failure(nonsense))[0] == 1


def test_an_answer_that_is_too_long_for_udp_says_so() -> None:
    many = {"a": [f"10.244.1.{number}" for number in range(200)]}
    zone = dns.Zone(records={"db.ns.svc.cluster.local": many})
    short, whole = (dns.answer(query("db.ns.svc.cluster.local"), zone, limit) for limit in (1232, 65535))
    assert short is not None and short[2] & 2
    assert code_and_count(whole) == (0, 200)
    assert socket.inet_aton("10.244.1.199") in (whole or b"")


@pytest.mark.parametrize(("spec", "expected"), [
    ({}, "search ns.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.96.0.10\noptions ndots:5\n"),
    ({"dnsPolicy": "Default"}, "search lan\nnameserver 10.96.0.10\noptions edns0\n"),
    ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["x.y"],
                                         "options": [{"name": "ndots", "value": "1"}, {"name": "rotate"}]}},
     "search x.y\nnameserver 9.9.9.9\noptions ndots:1 rotate\n"),
])
def test_resolv_conf(spec: dict[str, Any], expected: str) -> None:
    pod = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    host = "# made by hand\nnameserver 127.0.0.53\nsearch lan\noptions edns0\n"
    assert resolution.resolv_conf(pod, "10.96.0.10", host) == expected


@pytest.mark.parametrize(("spec", "expected"), [
    ({"dnsPolicy": "ClusterFirstWithHostNet"}, ""), ({}, ""),
    ({"dnsConfig": {"searches": ["x.y"], "options": [{"name": "ndots", "value": "1"}]}},
     "search lan x.y\nnameserver 127.0.0.53\noptions edns0 ndots:1\n"),
    ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}, "nameserver 9.9.9.9\n"),
])
def test_resolv_conf_on_the_hosts_network(spec: dict[str, Any], expected: str) -> None:
    pod = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    host = "# made by hand\nnameserver 127.0.0.53\nsearch lan\noptions edns0\n"
    assert resolution.shared_resolv_conf(pod, host) == expected


def test_no_more_is_searched_than_resolvers_take() -> None:
    searches = [f"{'x' * 60}.{'y' * 60}.{number}" for number in range(40)]
    pod = {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"dnsConfig": {"searches": searches}}}
    line = resolution.resolv_conf(pod, "10.96.0.10", "").splitlines()[0]
    assert len(line) <= len("search ") + 2048 and line.count(" ") <= 32


@pytest.mark.parametrize(("spec", "full", "without_egress", "none"), [
    ({"containers": [{}]}, True, False, False),
    ({"containers": [{"ports": [{"containerPort": 1}]}]}, True, True, False),
    ({"containers": [{}], "subdomain": "s"}, True, True, False),
    ({"containers": [{"ports": [{"containerPort": 1}]}], "hostNetwork": True}, False, False, False),
])
def test_who_has_a_network_of_its_own(spec: dict[str, Any], full: bool, without_egress: bool, none: bool) -> None:
    capabilities = (pod_network.Capability(), pod_network.Capability(egress_problem="no"),
                    pod_network.Capability(problem="no"))
    assert [pod_network.owns_network({"spec": spec}, each) for each in capabilities] == [full, without_egress, none]


def test_conditions_say_what_there_is() -> None:
    def told(capability: pod_network.Capability) -> list[tuple[str, str]]:
        return [(each["type"], each["status"]) for each in pod_network.describe(capability)]

    assert told(pod_network.Capability()) == [("NetworkIsolation", "True"), ("Egress", "True"), ("Names", "True")]
    assert told(pod_network.Capability(egress_problem="no")) == [
        ("NetworkIsolation", "True"), ("Egress", "False"), ("Names", "False")]
    assert told(pod_network.Capability(problem="no")) == [
        ("NetworkIsolation", "False"), ("Egress", "True"), ("Names", "False")]


def test_service_links_are_those_of_the_pods_namespace() -> None:
    services = [service("my-db", clusterIP="10.96.1.2", ports=[{"name": "sql", "port": 5432}]),
                service("headless", clusterIP="None", ports=[{"port": 1}]),
                {"metadata": {"name": "other", "namespace": "elsewhere"},
                 "spec": {"clusterIP": "10.96.1.3", "ports": [{"port": 1}]}}]
    assert tables.service_links(services, "ns") == {
        "MY_DB_SERVICE_HOST": "10.96.1.2", "MY_DB_SERVICE_PORT": "5432", "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.96.1.2:5432", "MY_DB_PORT_5432_TCP": "tcp://10.96.1.2:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp", "MY_DB_PORT_5432_TCP_PORT": "5432", "MY_DB_PORT_5432_TCP_ADDR": "10.96.1.2"}
