"""The Pods' network: addresses, ports, names, Services, the way out, and what is left of it all."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lightship.cluster.node.network import pod_network, relay
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, SERVICES
from lightship.testing.clock import FakeClock, settle
from lightship.testing.nodes import NodeUnderTest, node_under_test, pod, ready, running, terminated

SERVE = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["HOSTNAME"].encode())
    def log_message(self, *words): pass
HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
RENDEZVOUS = """
import os, socket, time
rank = os.environ["HOSTNAME"][-1]
if rank == "0":
    server = socket.create_server(("", 29500))
    peer, _ = server.accept()
    peer.sendall(b"hello from rank 0")
    peer.recv(1)
else:
    for _ in range(200):
        try:
            peer = socket.create_connection(("worker-0.workers", 29500))
            break
        except OSError:
            time.sleep(0.05)
    print(peer.recv(100).decode())
"""
HOLD = """
import socket
server = socket.create_server(("", 8080), backlog=1024)
held = []
while True:
    peer, _ = server.accept()
    peer.sendall(b"x")
    held.append(peer)
"""
FLOOD = """
import socket, sys, time
held, refused = [], 0
while refused < 20:
    peer = socket.socket()
    peer.settimeout(10)
    try:
        peer.connect((sys.argv[1], int(sys.argv[2])))
        if not peer.recv(1):
            raise ConnectionResetError
        held.append(peer)
    except ConnectionError:
        refused += 1
print(len(held), flush=True)
time.sleep(600)
"""
FLOOD_NAMES = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.96.0.10", 53))
query = bytes.fromhex("000701000001000000000000037765620000010001")
while True:
    try:
        s.send(query)
    except OSError:
        pass
"""
UNTIL_IT_SERVES = """
import socket, time
for _ in range(200):
    try:
        if socket.create_connection(("10.96.7.20", 80), 10).recv(1):
            break
    except OSError:
        time.sleep(0.05)
else:
    raise SystemExit("nobody serves")
"""


@pytest.fixture
async def network(node: NodeUnderTest) -> NodeUnderTest:
    capability = node.node.network.capability
    if not capability.available:
        pytest.skip(f"no network namespaces here: {capability.problem}")
    return node


@pytest.fixture
async def outside() -> AsyncIterator[int]:
    """A server of the host that answers on all its addresses; its port."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


def server(name: str, port: int = 8080, host: str = "0.0.0.0", **spec: Any) -> Object:
    container = {"name": "main", "image": "python:3", "command": ["python3", "-c", SERVE, host, str(port)],
                 "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}}
    return pod(name, container, **spec)


def python(name: str, program: str, **spec: Any) -> Object:
    return pod(name, {"name": "main", "image": "python:3", "command": ["python3", "-c", program]}, **spec)


async def output(node: NodeUnderTest, program: str, name: str = "client", **spec: Any) -> str:
    """What a Python program in a Pod prints."""
    found = await node.finish(python(name, program, **spec))
    log = await node.log(name)
    assert terminated(found)["exitCode"] == 0, log
    return log


async def serve(node: NodeUnderTest, name: str, *pods: Object, **spec: Any) -> None:
    """A Service with these Pods behind it, as the controllers would write it."""
    ports = spec.pop("ports", [{"port": 80, "targetPort": 8080, "protocol": "TCP"}])
    metadata = {"name": name, "namespace": "default"}
    await node.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                                        "spec": {"ports": ports, **spec}})
    endpoints = [{"addresses": [objects.status(each)["podIP"]], "conditions": {"ready": True},
                  **({"hostname": objects.name(each)} if objects.spec(each).get("subdomain") else {})}
                 for each in pods]
    await node.client.create(ENDPOINT_SLICES, {
        "apiVersion": ENDPOINT_SLICES.api_version, "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}}, "endpoints": endpoints,
        "ports": [{"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
                  for port in ports]})


def fetch(url: str, tries: int = 100) -> str:
    """A program that prints what is there; a Service that was just made may take a moment."""
    return f"""
import time, urllib.request
for _ in range({tries}):
    try:
        print(urllib.request.urlopen("{url}", timeout=5).read().decode())
        break
    except OSError as error:
        last = error
        time.sleep(0.05)
else:
    raise last
"""


async def test_two_pods_bind_the_same_port_and_each_is_reached_at_its_address(network: NodeUnderTest) -> None:
    for name in ("a", "b"):
        await network.create(server(name, 80))
    found = [await network.wait(name, ready) for name in ("a", "b")]
    first, second = (objects.status(each)["podIP"] for each in found)
    assert first != second
    program = fetch(f"http://{first}") + fetch(f"http://{second}")
    assert await output(network, program) == "a\nb\n"


async def test_a_service_is_reached_by_every_form_of_its_name(network: NodeUnderTest) -> None:
    await network.create(server("a"))
    await serve(network, "web", await network.wait("a", ready), clusterIP="10.96.7.7")
    names = ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "10.96.7.7")
    program = "".join(fetch(f"http://{name}") for name in names)
    assert await output(network, program) == "a\n" * len(names)


async def test_a_service_without_endpoints_refuses_and_an_unknown_name_is_unknown(network: NodeUnderTest) -> None:
    await serve(network, "empty", clusterIP="10.96.7.8")
    program = """
import socket, time
for name in ("empty", "nobody", "nobody.default.svc.cluster.local"):
    for _ in range(100):
        try:
            socket.create_connection((name, 80), 5)
        except ConnectionRefusedError:
            print("refused")
        except socket.gaierror as error:
            if name == "empty":
                time.sleep(0.05)
                continue
            print("unknown")
        break
"""
    assert await output(network, program) == "refused\nunknown\nunknown\n"


async def test_a_service_goes_round_its_endpoints_unless_the_client_is_to_stay(network: NodeUnderTest) -> None:
    for name in ("a", "b"):
        await network.create(server(name))
    found = [await network.wait(name, ready) for name in ("a", "b")]
    await serve(network, "both", *found, clusterIP="10.96.7.9")
    await serve(network, "sticky", *found, clusterIP="10.96.7.10", sessionAffinity="ClientIP")
    said = (await output(network, fetch("http://both") * 4 + fetch("http://sticky") * 4)).split()
    assert set(said[:4]) == {"a", "b"}
    assert len(set(said[4:])) == 1


async def test_a_service_may_speak_udp(network: NodeUnderTest) -> None:
    echo = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353))\n"
            "while True: data, peer = s.recvfrom(100); s.sendto(data[::-1], peer)")
    await network.create(python("echo", echo))
    found = await network.wait("echo", running)
    await serve(network, "echo", found, clusterIP="10.96.7.11",
                ports=[{"port": 53, "targetPort": 5353, "protocol": "UDP"}])
    program = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.2)
for _ in range(100):
    try:
        s.sendto(b"abc", ("10.96.7.11", 53))
        print(s.recv(10).decode())
        break
    except OSError:
        pass  # the echo or its Service is not up yet
"""
    assert await output(network, program) == "cba\n"


async def test_two_workers_meet_by_a_headless_services_name(network: NodeUnderTest) -> None:
    workers = [python(f"worker-{rank}", RENDEZVOUS, hostname=f"worker-{rank}", subdomain="workers")
               for rank in range(2)]
    for worker in workers:
        await network.create(worker)
    found = [await network.wait(objects.name(worker), running) for worker in workers]
    await serve(network, "workers", *found, clusterIP="None",
                ports=[{"name": "rendezvous", "port": 29500, "targetPort": 29500, "protocol": "TCP"}])
    await network.wait("worker-1", lambda found: found is not None and objects.status(found)["phase"] == "Succeeded")
    assert await network.log("worker-1") == "hello from rank 0\n"


async def test_containers_of_a_pod_share_its_loopback(network: NodeUnderTest) -> None:
    serving = server("p", 80, "127.0.0.1")["spec"]["containers"][0]
    del serving["readinessProbe"]
    client = {"name": "main", "image": "python:3", "command": ["python3", "-c", fetch("http://localhost")]}
    await network.create(pod("p", client, serving | {"name": "server"}))
    ended = await network.wait("p", lambda found: found is not None and any(
        "terminated" in status["state"] for status in objects.status(found).get("containerStatuses") or ()))
    assert terminated(ended)["exitCode"] == 0
    assert await network.log("p", container="main") == "p\n"


async def test_the_node_reaches_a_port_that_is_bound_to_the_pods_loopback(network: NodeUnderTest) -> None:
    found = server("a", 8080, "127.0.0.1")
    del found["spec"]["containers"][0]["readinessProbe"]
    await network.create(found)
    await network.wait("a", running)
    async with asyncio.timeout(20):
        while True:
            try:
                reader, writer = await network.node.dial(Key("default", "a"), 8080)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)  # its program is still starting
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"a")
    writer.close()


async def test_the_way_out(network: NodeUnderTest, outside: int) -> None:
    """The host's own address stands for the world: it is not the Pods' network."""
    if network.node.network.capability.egress_problem:
        pytest.skip(network.node.network.capability.egress_problem)
    address = _own_address()
    closed = socket.create_server((address, 0))
    port = closed.getsockname()[1]
    closed.close()
    program = f"""
import socket
s = socket.create_connection(("{address}", {outside}), 5)
s.sendall(b"ping")
s.shutdown(socket.SHUT_WR)
data = b""
while piece := s.recv(65536):
    data += piece
print(data[:4].decode(), len(data))
try:
    socket.create_connection(("{address}", {port}), 5)
except ConnectionRefusedError:
    print("refused")
try:
    socket.create_connection(("127.0.0.1", {outside}), 5)
except ConnectionRefusedError:
    print("not the host's loopback")
"""
    assert await output(network, program) == "ping 3000004\nrefused\nnot the host's loopback\n"


async def test_a_pod_on_the_hosts_network_is_there(network: NodeUnderTest, outside: int) -> None:
    program = f"import socket; print(socket.create_connection(('127.0.0.1', {outside}), 5).getpeername()[0])"
    assert await output(network, program, hostNetwork=True) == "127.0.0.1\n"


async def test_resolver_files_are_the_pods_own(network: NodeUnderTest) -> None:
    program = "print(open('/etc/resolv.conf').read() + open('/etc/hosts').read())"
    log = await output(network, program, hostname="h", subdomain="s",
                       dnsConfig={"options": [{"name": "ndots", "value": "2"}], "searches": ["example.org"]},
                       hostAliases=[{"ip": "10.1.2.3", "hostnames": ["alias"]}])
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in log
    assert "example.org\nnameserver 10.96.0.10\noptions ndots:2\n" in log
    assert "\th.s.default.svc.cluster.local h.s h\n10.1.2.3\talias\n" in log


async def test_a_pods_hostname_is_its_full_name_where_it_asks_for_that(network: NodeUnderTest) -> None:
    program = "import os, socket; print(socket.gethostname(), os.environ['HOSTNAME'], open('/etc/hostname').read())"
    asked: dict[str, Any] = {"subdomain": "s", "setHostnameAsFQDN": True}
    full = "h.s.default.svc.cluster.local"
    assert await output(network, program, hostname="h", **asked) == f"{full} {full} {full}\n\n"
    assert await output(network, program, "short", hostname="h", setHostnameAsFQDN=True) == "h h h\n\n"
    await network.create(python("long", program, hostname="h" * 40, **asked))
    found = await network.wait("long", lambda pod: pod is not None and any(
        "waiting" in status["state"] and status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        for status in objects.status(pod).get("containerStatuses") or ()))
    assert "is too long" in objects.status(found)["containerStatuses"][0]["state"]["waiting"]["message"]


async def test_a_pod_on_the_hosts_network_has_the_resolvers_it_asks_for(network: NodeUnderTest) -> None:
    program = "print(open('/etc/resolv.conf').read())"
    assert await output(network, program, hostNetwork=True, dnsPolicy="None", dnsConfig={
        "nameservers": ["192.0.2.1"], "searches": ["example.org"]}) == "search example.org\nnameserver 192.0.2.1\n\n"


async def test_a_pod_may_listen_on_any_port_whoever_it_runs_as(network: NodeUnderTest) -> None:
    program = "import os, socket; socket.create_server(('', 80)); print(os.getuid())"
    assert await output(network, program, securityContext={"runAsUser": 1234}) == "1234\n"


async def test_a_hub_that_is_killed_is_replaced_and_the_pods_keep_their_network(network: NodeUnderTest) -> None:
    await network.create(server("a"))
    found = await network.wait("a", ready)
    hub = network.node.network.hub_pid()
    assert hub
    os.kill(hub, signal.SIGKILL)
    async with asyncio.timeout(20):
        while network.node.network.hub_pid() in (0, hub):  # noqa: ASYNC110 - the replacement is no event of ours
            await asyncio.sleep(0.05)
    assert await output(network, fetch(f"http://{objects.status(found)['podIP']}:8080")) == "a\n"


async def test_a_pod_that_opens_all_it_can_leaves_room_for_others(network: NodeUnderTest) -> None:
    await network.create(python("hold", HOLD))
    await serve(network, "hold", await network.wait("hold", running), clusterIP="10.96.7.20")
    await output(network, UNTIL_IT_SERVES, "waits")
    flood = {"name": "main", "image": "python:3", "command": ["python3", "-c", FLOOD, "10.96.7.20", "80"]}
    await network.create(pod("flood", flood))
    await network.wait("flood", running)
    async with asyncio.timeout(60):
        while not (told := await network.log("flood")):  # noqa: ASYNC110 - a log is no event of ours
            await asyncio.sleep(0.05)
    assert int(told) == relay.LIMIT_CONNECTIONS_PER_POD
    assert await output(network, UNTIL_IT_SERVES + "print('served')") == "served\n"


async def test_a_pod_that_floods_the_name_server_leaves_names_to_others(network: NodeUnderTest) -> None:
    await network.create(server("a"))
    await serve(network, "web", await network.wait("a", ready), clusterIP="10.96.7.42")
    await output(network, fetch("http://web"), "waits")
    await network.create(python("flood", FLOOD_NAMES))
    await network.wait("flood", running)
    program = "import socket\nfor _ in range(20): print(socket.gethostbyname('web'))"
    assert await output(network, program) == "10.96.7.42\n" * 20
    assert (await network.wait("flood", running))["status"]["phase"] == "Running"


async def test_no_slice_has_a_service_lead_to_the_hosts_loopback(network: NodeUnderTest, outside: int) -> None:
    """The API server refuses such a slice; this one was there before, say, and the node looks for itself."""
    ports = [{"port": 80, "targetPort": outside, "protocol": "TCP"}]
    for number, address in enumerate(("127.0.0.1", "127.1", "0.0.0.0", "localhost")):
        fake = {"metadata": {"name": "fake", "uid": "u"}, "spec": {}, "status": {"podIP": address}}
        await serve(network, f"s{number}", fake, clusterIP=f"10.96.7.{30 + number}", ports=ports)
    await network.create(server("a"))
    await serve(network, "web", await network.wait("a", ready), clusterIP="10.96.7.40")
    program = fetch("http://web") + """
import socket
for number in range(4):
    try:
        socket.create_connection((f"s{number}", 80), 5)
    except ConnectionRefusedError:
        print("refused")
"""
    assert await output(network, program) == "a\n" + "refused\n" * 4


async def test_an_external_name_is_reached_by_its_alias(network: NodeUnderTest) -> None:
    await network.create(server("a"))
    await serve(network, "web", await network.wait("a", ready), clusterIP="10.96.7.41")
    await network.client.create(SERVICES, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}})
    assert await output(network, fetch("http://alias")) == "a\n"


async def test_the_hub_ends_when_no_pod_was_there_for_long_and_starts_again(tmp_path: Path) -> None:
    clock = FakeClock()
    async with node_under_test(tmp_path / "node", clock=clock) as node:
        if not node.node.network.capability.available:
            pytest.skip(node.node.network.capability.problem)
        assert node.node.network.hub_pid() == 0
        for name in ("one", "two"):
            await node.finish(python(name, "print(1)"))
            assert node.node.network.hub_pid()
            async with asyncio.timeout(20):
                while node.node.network.hub_pid():  # the Pod is still being put away when it is first seen as over
                    await clock.advance(pod_network.IDLE_SECONDS + 1)
                    await settle()


async def test_the_fallback_says_what_there_is_not(tmp_path: Path) -> None:
    async with node_under_test(tmp_path / "node", isolate=False) as node:
        told = {c["type"]: c for c in node.api.all("/api/v1/nodes")[0]["status"]["conditions"]}
        assert [told[name]["status"] for name in ("NetworkIsolation", "Egress", "Names")] == ["False", "True", "False"]
        found = await node.finish(python("p", "print(1)"))
        assert objects.status(found)["podIP"].startswith("127.")


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return str(probe.getsockname()[0])
