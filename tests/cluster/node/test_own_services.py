"""A Service that the platform answers itself: Pods reach it by its name, and who answers sees whose call it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import SERVICES
from lightship.testing import nodes
from lightship.testing.nodes import NodeUnderTest, pod, shell

HELLO, SILENT = Key("kubeflow", "hello"), Key("kubeflow", "silent")
ASK = "python3 -c 'import socket; print(socket.create_connection((\"hello.kubeflow\", 7)).recv(99).decode())'"


class Hello(asyncio.Protocol):
    """Tells each caller its address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"you are {transport.get_extra_info('peername')[0]}".encode())
        transport.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderTest]:
    async with nodes.node_under_test(tmp_path / "data" / "node", own_services={
            HELLO: lambda: Hello, SILENT: lambda: asyncio.Protocol}) as running:
        if not running.node.network.capability.available:
            pytest.skip(f"no network namespaces here: {running.node.network.capability.problem}")
        yield running


async def test_a_pod_is_known_by_its_address_and_a_new_hub_finds_the_service_served(node: NodeUnderTest) -> None:
    await node.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": HELLO.name, "namespace": HELLO.namespace}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 7}]}})
    await ask(node, "one")
    await ask(node, "two")
    await node.create(pod("stays", shell("sleep 600"), terminationGracePeriodSeconds=0))
    await node.wait("stays", nodes.running)
    hub = node.node.network.hub_pid()
    os.kill(hub, signal.SIGKILL)
    async with asyncio.timeout(30):
        while node.node.network.hub_pid() in (0, hub):  # noqa: ASYNC110 - the replacement is no event of ours
            await asyncio.sleep(0.05)
    await ask(node, "three")


async def ask(node: NodeUnderTest, name: str) -> None:
    await node.create(pod(name, shell(ASK)))
    ended = await node.wait(name, nodes.over)
    assert await node.log(name) == f"you are {objects.status(ended)['podIP']}\n"


async def test_no_pod_takes_all_connections(node: NodeUnderTest) -> None:
    await node.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": SILENT.name, "namespace": SILENT.namespace},
        "spec": {"clusterIP": "10.96.7.8", "ports": [{"port": 7}]}})
    script = ("import socket\nheld = [socket.create_connection((\"silent.kubeflow\", 7)) for _ in range(70)]\n"
              "held[-1].settimeout(20)\nprint(held[-1].recv(9))")
    await node.create(pod("greedy", shell(f"python3 -c '{script}'")))
    await node.wait("greedy", nodes.over)
    assert await node.log("greedy") == "b''\n"
