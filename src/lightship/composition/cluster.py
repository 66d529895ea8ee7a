"""The embedded cluster: store, API server, its listener, the node. All that a real Kubernetes replaces."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from lightship.client.client import Client
from lightship.client.inprocess import InProcess
from lightship.cluster import builtin
from lightship.cluster.apiserver import bootstrap, listener, metrics, pki, subresources, tokens
from lightship.cluster.apiserver.server import ApiServer, ApiServerOptions
from lightship.cluster.builtin import claim_plan
from lightship.cluster.node import logs
from lightship.cluster.node.agent import Node, NodeOptions
from lightship.cluster.node.entrypoints import Entrypoint
from lightship.cluster.node.network.own_services import Begin
from lightship.cluster.node.restarts import CrashBackOff
from lightship.cluster.store.store import Store
from lightship.domains.furniture import Kind
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import EVENTS, SERVICE_ACCOUNTS, STORAGE_CLASSES
from lightship.lib import clock as clocks
from lightship.runtime.manager import Manager
from lightship.settings import Settings

PLATFORM_NAMESPACE = "kubeflow"
CHILD_TOKEN_SECONDS = 365 * 24 * 3600
"""How long the token of a child process is good; the child lives no longer than the server, which makes a new one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running API server. ``client_for`` gives in-process clients, each as a ServiceAccount of the platform."""

    server: ApiServer
    url: str
    pki: pki.Pki
    authority: tokens.TokenAuthority
    clock: clocks.Clock

    def client_for(self, name: str) -> Client:
        user = tokens.service_account(PLATFORM_NAMESPACE, name)
        return Client(InProcess(self.server.handle, user), field_manager=name)

    async def token_for(self, name: str) -> str:
        """A token for another process that acts as the platform's ServiceAccount ``name``, made where missing."""
        client = self.client_for("lightship")
        account = {"apiVersion": "v1", "kind": "ServiceAccount",
                   "metadata": {"name": name, "namespace": PLATFORM_NAMESPACE}}
        await bootstrap.ensure_object(client, SERVICE_ACCOUNTS, account)
        uid = objects.uid(await client.get(SERVICE_ACCOUNTS, name, PLATFORM_NAMESPACE))
        return self.authority.issue(tokens.Claims(
            namespace=PLATFORM_NAMESPACE, name=name, uid=uid, audiences=(tokens.DEFAULT_AUDIENCE,),
            expiry=tokens.expiry_after(self.clock, CHILD_TOKEN_SECONDS)), internal=True)


async def start(settings: Settings, admin_token: str, kinds: tuple[Kind, ...], listening: socket.socket,
                stack: AsyncExitStack) -> Cluster:
    """Open the store and answer on ``listening``; ``stack`` closes what was opened, last first."""
    clock = clocks.SYSTEM
    store = await Store.open(settings.data_dir / "cluster.db")
    stack.push_async_callback(store.close)
    files = pki.ensure(settings.data_dir / "pki", clock)
    authority = tokens.TokenAuthority(files.service_account_key, clock, files.service_account_signing)
    server = ApiServer(ApiServerOptions(
        store=store, kinds=kinds, tokens=authority, clock=clock,
        authenticator=tokens.TokenAuthenticator(admin_token, authority, clock)))
    port = listening.getsockname()[1]
    cluster = Cluster(server=server, url=f"https://{settings.url_host}:{port}", pki=files, authority=authority,
                      clock=clock)
    writer = Client(InProcess(server.handle, bootstrap.IDENTITY))
    await bootstrap.ensure(writer)
    await server.definitions.ensure()
    await bootstrap.ensure_object(writer, STORAGE_CLASSES, claim_plan.STANDARD)
    context = listener.tls(files.server_certificate, files.server_key, files.ca_certificate)
    front = listener.Listener(server.handle, listener.Address(bound=listening), context)
    await front.start()
    stack.push_async_callback(front.stop)
    return cluster


def builtin_controllers(cluster: Cluster, manager: Manager) -> None:
    """Add what Kubernetes' own controller manager and scheduler would do. Call it after the domains' controllers."""
    owned = [served.resource for served in cluster.server.registry.served
             if served.persistent and served.resource.kind != EVENTS.kind and served.resource.group != metrics.GROUP]
    deps = builtin.Deps(manager=manager, resources=owned, ca_pem=cluster.pki.ca_pem, clock=cluster.clock)
    for controller in builtin.controllers(deps):
        manager.add(controller)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offers:
    """What Pods find here: entrypoints as images, ports of the platform on their loopback, Services of ours."""

    entrypoints: Mapping[str, Entrypoint]
    loopback_ports: tuple[int, ...] = ()
    services: Mapping[Key, Begin] = dataclasses.field(default_factory=dict)


async def start_node(cluster: Cluster, settings: Settings, offers: Offers, stack: AsyncExitStack) -> Node:
    """Begin to run Pods here, and answer for their logs."""
    host, _, port = cluster.url.removeprefix("https://").rpartition(":")
    node = Node(NodeOptions(directory=settings.data_dir / "node", max_pods=settings.max_pods, api_host=host.strip("[]"),
                            api_port=int(port), loopback_ports=offers.loopback_ports, own_services=offers.services,
                            containers="" if settings.containers == "none" else settings.containers,
                            back_off=CrashBackOff(first_seconds=settings.crash_back_off_seconds)),
                cluster.client_for("node"), offers.entrypoints, cluster.clock)
    stack.push_async_callback(node.stop)
    await node.start()
    cluster.server.logs = _Logs(node)
    cluster.server.sessions.streams = node.streams
    cluster.server.metrics = node.metrics
    return node


@dataclasses.dataclass(frozen=True)
class _Logs:
    """The node's logs as the API server asks for them; the two rooms do not know each other's types."""

    node: Node

    async def logs(self, key: Key, query: subresources.LogQuery) -> AsyncIterator[bytes]:
        return await self.node.logs(key, logs.LogQuery(**dataclasses.asdict(query)))
