"""The Pods' network as the node has it: who gets a namespace of its own, its address, and connections into it.

``agent`` makes me and asks ``probe`` when it starts; each Pod's supervisor calls ``attach`` and ``detach``; probes and
port-forwarding call ``dial``. The hub's process is started with the first Pod and ends when none was there for long.
I hold the namespaces' descriptors myself, so that a hub that dies is replaced in the same network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.cluster.node.addresses import Addresses, PodAddresses
from lightship.cluster.node.network import hub, resolution, tables
from lightship.cluster.node.network.channel import Channel, ChannelError, receive
from lightship.cluster.node.network.own_services import Begin, OwnServices
from lightship.cluster.node.processes import Zygote
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, SERVICES
from lightship.lib.clock import Clock
from lightship.lib.tasks import Tasks
from lightship.runtime.informer import Informer

HOST_IP = "127.0.0.1"
SPARE_NAMESPACES = 8
"""Namespaces that are kept ready, so that a Pod's start does not wait for one."""
IDLE_SECONDS = 300.0
"""The hub ends when no Pod was there for so long."""
PROBE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
RESTART_SECONDS = 0.5
SYNC_SECONDS = 2.0
"""How long the first Pod waits for the Services to be known."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """What this machine gives. ``problem`` says why Pods have no network of their own; empty where they have."""

    problem: str = ""
    egress_problem: str = ""
    net: int = -1
    user: int = -1
    """The user namespace that owns the network, for a normal user."""

    @property
    def available(self) -> bool:
        return not self.problem

    @property
    def namespaces(self) -> tuple[int, ...]:
        """What a fork server has to enter before it can enter a Pod's network: nothing, for root."""
        return (self.net, self.user) if self.user >= 0 else ()


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A Pod's place in the network. ``descriptor`` is its namespace; -1 where it shares the host's."""

    ip: str
    api: tuple[str, int]
    """Where it finds the API server."""
    descriptor: int = -1
    resolver: str = ""
    """Its resolv.conf; empty for the host's."""
    service_links: Mapping[str, str] = field(default_factory=dict)
    """Variables that tell of the namespace's Services."""


async def probe(zygote: Zygote, user_namespace: bool) -> Capability:
    """Makes the network's namespaces in a child of a fork server, and tries what Pods will need."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours.fileno(), readable.set)
    try:
        zygote.tell({"namespaces": user_namespace}, (theirs.fileno(),))
        theirs.close()
        async with asyncio.timeout(PROBE_SECONDS):
            await readable.wait()
        data, descriptors = receive(ours)
    except (OSError, errors.LightshipError) as error:
        return Capability(problem=str(error) or "no answer")
    finally:
        loop.remove_reader(ours.fileno())
        ours.close()
        theirs.close()
    told = json.loads(data) if data else {"problem": "the process that tried it ended", "tun": ""}
    if told["problem"]:
        return Capability(problem=told["problem"])
    net, user = descriptors[0], descriptors[1] if len(descriptors) > 1 else -1
    return Capability(egress_problem=told["tun"], net=net, user=user)


def listens(pod: Object) -> bool:
    """Whether a Pod says that others are to reach it."""
    spec = objects.spec(pod)
    every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return bool(spec.get("subdomain") or spec.get("hostname")) or any(
        container.get("ports") or container.get("readinessProbe") or container.get("livenessProbe")
        or container.get("startupProbe") for container in every)


def owns_network(pod: Object, capability: Capability) -> bool:
    """Every Pod has a network of its own, unless it asks for the host's; where there is no way out of such a network,
    only those that listen have one."""
    if not capability.available or objects.spec(pod).get("hostNetwork"):
        return False
    return not capability.egress_problem or listens(pod)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """``api`` is where the API server is on this host; Pods find the platform's ``loopback_ports`` on their own, and
    ``own`` at the Services of those names."""

    directory: Path
    api: tuple[str, int] = ("", 0)
    loopback_ports: tuple[int, ...] = ()
    own: Mapping[Key, Begin] = field(default_factory=dict)


class PodNetwork:
    """The network of one node."""

    def __init__(self, options: NetworkOptions, client: Client, clock: Clock) -> None:
        self._options = options
        self._client = client
        self._clock = clock
        self.capability = Capability(problem="not started")
        self._addresses = PodAddresses()
        self._fallback = Addresses(str(options.directory))
        self._attached: dict[str, Attachment] = {}
        self._shared: dict[str, tuple[str, str]] = {}
        """Those on the host's network, as ``tables`` wants them."""
        self._spare: deque[tuple[str, int]] = deque()
        self._hub: asyncio.Task[_Hub] | None = None
        self._hubs: set[_Hub] = set()
        """Those whose process may still be there."""
        self._filling = False
        self._watching_idleness = False
        self._idle_since = 0.0
        self._tasks = Tasks("Pods' network")
        self._own = OwnServices(options.own)
        self._stopped = False

    def begin(self, capability: Capability) -> None:
        """Keeps what ``probe`` found."""
        self.capability = capability

    async def stop(self) -> None:
        """Ends the hub; every namespace goes with its last process."""
        self._stopped = True
        await self._tasks.close()
        await self._own.close()
        await self._end_hub()
        for running in list(self._hubs):
            await running.stop()  # one whose end was begun, and given up with its task
        for descriptor in (self.capability.net, self.capability.user):
            if descriptor >= 0:
                os.close(descriptor)
        self.capability = Capability(problem="stopped")

    async def attach(self, pod: Object, *, shared: bool = False) -> Attachment:
        """The place of a Pod that starts; ``shared`` wants the host's network, at an
        address of its own. Raises ``ChannelError`` where the network cannot be had just now."""
        uid = objects.uid(pod)
        if objects.spec(pod).get("hostNetwork"):
            return self._share(pod, HOST_IP)
        if shared or not owns_network(pod, self.capability):
            return self._share(pod, self._fallback.take(uid))
        running = await self._running()
        ip, descriptor = self._spare.popleft() if self._spare else await self._make(running)
        self._fill(running)
        host = _host_resolv_conf()
        api = (tables.API_ADDRESS, tables.API_PORT) if self._options.api[0] else ("", 0)
        made = self._attached[uid] = Attachment(
            ip=ip, descriptor=descriptor, api=api, resolver=resolution.resolv_conf(pod, hub.NAME_SERVER, host),
            service_links=running.service_links(pod))
        return made

    def _share(self, pod: Object, ip: str) -> Attachment:
        self._shared[objects.uid(pod)] = (objects.namespace(pod), ip)
        return Attachment(ip=ip, api=self._options.api,
                          resolver=resolution.shared_resolv_conf(pod, _host_resolv_conf()))

    def detach(self, pod: Object) -> None:
        """The Pod has ended; its address is not given to another for long."""
        uid = objects.uid(pod)
        self._fallback.give_back(uid)
        if self._shared.pop(uid, None) is not None and (running := self._live_hub()) is not None:
            running.look_again()
        attachment = self._attached.pop(uid, None)
        if attachment is None:
            return
        os.close(attachment.descriptor)
        self._addresses.give_back(attachment.ip)
        if not self._stopped:
            self._tasks.spawn(self._release(attachment.ip), name="release")

    async def dial(self, ip: str, port: int) -> socket.socket:
        """A connected socket to a Pod's port, however its network is. Raises ``OSError`` (``TimeoutError`` is one)."""
        made = None
        if any(attachment.ip == ip for attachment in self._attached.values()):
            try:
                descriptor, = await (await self._running()).channel.ask({"sockets": 1})
            except ChannelError as error:
                raise ConnectionRefusedError(str(error)) from error
            made = socket.socket(fileno=descriptor)
        return await self._connect(made, ip, port)

    async def _connect(self, made: socket.socket | None, ip: str, port: int) -> socket.socket:
        if made is None:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(made, (ip, port))
        except BaseException:
            made.close()
            raise
        return made

    def has(self, pod: Object) -> bool:
        """Whether the Pod has a network of its own here."""
        return objects.uid(pod) in self._attached

    async def forward(self, pod: Object, port: int) -> socket.socket:
        """A connected socket to a port as the Pod's own programs reach it: on its loopback, or else at its address.
        Raises ``OSError``."""
        attachment = self._attached[objects.uid(pod)]
        try:
            descriptor, = await (await self._running()).channel.ask({"inside": True}, (attachment.descriptor,))
        except ChannelError as error:
            raise ConnectionRefusedError(str(error)) from error
        try:
            return await self._connect(socket.socket(fileno=descriptor), HOST_IP, port)
        except ConnectionRefusedError:
            return await self.dial(attachment.ip, port)

    async def _make(self, running: _Hub) -> tuple[str, int]:
        ip = self._addresses.take()
        try:
            descriptor, = await running.channel.ask({"pod": ip})
        except BaseException:
            self._addresses.give_back(ip)
            raise
        return ip, descriptor

    def _fill(self, running: _Hub) -> None:
        if not self._filling and not self._stopped and len(self._spare) < SPARE_NAMESPACES // 2:
            self._filling = True
            self._tasks.spawn(self._fill_up(running), name="spare namespaces")

    async def _fill_up(self, running: _Hub) -> None:
        try:
            while len(self._spare) < SPARE_NAMESPACES:
                self._spare.append(await self._make(running))
        except ChannelError as error:
            _log.warning("could not make a network namespace ahead", extra={"cause": str(error)})
        finally:
            self._filling = False

    async def _release(self, ip: str) -> None:
        running = self._live_hub()
        if running is not None:
            with contextlib.suppress(ChannelError):  # with the hub, its relays have ended too
                await running.channel.ask({"release": ip})
        if not self._attached:
            self._idle_since = self._clock.monotonic()
            if not self._watching_idleness:
                self._watching_idleness = True
                self._tasks.spawn(self._end_when_idle(), name="idleness")

    async def _end_when_idle(self) -> None:
        try:
            while not self._attached:
                left = self._idle_since + IDLE_SECONDS - self._clock.monotonic()
                if left <= 0:
                    await self._end_hub()
                    return
                await self._clock.sleep(left)
        finally:
            self._watching_idleness = False

    def _live_hub(self) -> _Hub | None:
        task = self._hub
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return None if task.result().channel.closed.done() else task.result()

    async def _running(self) -> _Hub:
        """The hub, started where it does not run; concurrent callers share its start."""
        if self._hub is None or (self._hub.done() and self._live_hub() is None):
            self._hub = self._tasks.spawn(self._start_hub(), name="start of the hub")
        return await asyncio.shield(self._hub)

    async def _start_hub(self) -> _Hub:
        running = await _Hub.start(self._options, self.capability, self._client, self._clock,
                                   (self._shared, self._own))
        self._hubs.add(running)
        self._tasks.spawn(self._replace_when_dead(running), name="watch of the hub")
        return running

    async def _replace_when_dead(self, running: _Hub) -> None:
        await asyncio.shield(running.channel.closed)
        died = not running.stopping
        await running.stop()
        self._hubs.discard(running)
        if self._attached and not self._stopped and died:
            _log.error("the process of the Pods' network ended and is started again")
            await self._clock.sleep(RESTART_SECONDS)
            with contextlib.suppress(errors.LightshipError):  # the next Pod or probe tries again, and tells
                await self._running()

    async def _end_hub(self) -> None:
        task, self._hub = self._hub, None
        for ip, descriptor in self._spare:
            os.close(descriptor)
            self._addresses.give_back(ip)
        self._spare.clear()
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            await task.result().stop()

    def hub_pid(self) -> int:
        """The hub's process, for measurements and tests; 0 while there is none."""
        running = self._live_hub()
        return running.pid if running is not None else 0

    def conditions(self) -> list[dict[str, Any]]:
        """What the Node says of its network."""
        return describe(self.capability)


def describe(capability: Capability) -> list[dict[str, Any]]:
    """The Node's conditions on its network. Pure."""
    policies = "NetworkPolicies are stored and not enforced"
    if not capability.available:
        why = f"Pods share the host's network, each with a loopback address of its own: {capability.problem}"
        return [conditions.make("NetworkIsolation", False, "NoNetworkNamespaces", f"{why}; {policies}"),
                conditions.make("Egress", True, "HostNetwork", "Pods use the host's network"),
                conditions.make("Names", False, "NoNetworkNamespaces",
                                "names of Services and Pods do not resolve inside Pods, which ask the host's "
                                "resolvers; a Service's EndpointSlices have the addresses")]
    how = "in a user namespace" if capability.user >= 0 else "as root"
    told = [conditions.make("NetworkIsolation", True, "NetworkNamespaces",
                            f"each Pod has a network namespace and an address of its own ({how}); {policies}")]
    if capability.egress_problem:
        told += [conditions.make("Egress", False, "NoTunnel", "Pods that listen cannot reach beyond the cluster, and "
                                 f"the others share the host's network: {capability.egress_problem}; make /dev/net/tun "
                                 "readable and writable for the server's user"),
                 conditions.make("Names", False, "NoTunnel", "names of Services and Pods resolve only in Pods that "
                                 "listen, since the others share the host's network")]
    else:
        told += [conditions.make("Egress", True, "Tunnel", "TCP and UDP leave through the host's sockets; ICMP and "
                                 "IPv6 do not"),
                 conditions.make("Names", True, "NameServer", f"the node's own name server, {hub.NAME_SERVER}, knows "
                                 "Services and Pods, and asks the host's resolvers for all else; Pods with hostNetwork "
                                 "ask the host's alone, whatever their dnsPolicy, since the Services' addresses are "
                                 "not on the host's network")]
    return told


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text(encoding="latin-1")
    except OSError:
        return ""


class _Hub:
    """The hub's process, and the informers that tell it of Services."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, api: tuple[str, int],
                 told: tuple[tables.Shared, OwnServices]) -> None:
        self.channel = channel
        self._shared, self._own = told
        self.stopping = False
        self._end: asyncio.Task[None] | None = None
        self._process = process
        self._api = api
        self._informers: list[Informer] = []
        self._changed = asyncio.Event()
        self._tasks = Tasks("hub of the Pods' network")

    @staticmethod
    async def start(options: NetworkOptions, capability: Capability, client: Client, clock: Clock,
                    told: tuple[tables.Shared, OwnServices]) -> _Hub:
        """Starts the process; returns when it serves. Raises ``ChannelError``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        configuration = {"channel": theirs.fileno(), "user": capability.user, "net": capability.net,
                         "egress": not capability.egress_problem, "loopback_ports": list(options.loopback_ports),
                         "directory": str(options.directory)}
        descriptors = [each for each in (theirs.fileno(), capability.user, capability.net) if each >= 0]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "lightship.cluster.node.network.hub", json.dumps(configuration),
                pass_fds=descriptors, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            ours.close()
            raise ChannelError(f"could not start the process of the Pods' network: {error}") from error
        finally:
            theirs.close()
        running = _Hub(process, Channel(ours), options.api, told)
        try:
            await running._learn(client, clock)
        except BaseException:
            await running.stop()  # nobody else knows of it yet
            raise
        return running

    async def _learn(self, client: Client, clock: Clock) -> None:
        """Tell the process of the Services there are, and go on to do so."""
        for resource in (SERVICES, ENDPOINT_SLICES):
            informer = Informer(client, resource, Selection(), clock)
            informer.subscribe(self._notice)
            await informer.start()
            self._informers.append(informer)
        with contextlib.suppress(TimeoutError):  # then they are served as soon as they are known
            async with asyncio.timeout(SYNC_SECONDS):
                for informer in self._informers:
                    await informer.synced.wait()
        await self._push()
        self._tasks.spawn(self._follow(), name="tables")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """Ends the process, and returns when it has ended; the end goes on where a caller gives up."""
        self.stopping = True
        if self._end is None:
            self._end = asyncio.create_task(self._stop())
        await asyncio.shield(self._end)

    async def _stop(self) -> None:
        self.channel.close()
        for informer in self._informers:
            await informer.stop()
        await self._tasks.close()
        await self._process.wait()

    def service_links(self, pod: Object) -> dict[str, str]:
        if objects.spec(pod).get("enableServiceLinks") is False:
            return {}
        return tables.service_links(self._informers[0].list(objects.namespace(pod)), objects.namespace(pod))

    def look_again(self) -> None:
        """The Pods that share the host's network are others now."""
        self._changed.set()

    def _notice(self, old: Object | None, new: Object | None) -> None:
        self._changed.set()

    async def _follow(self) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._push()
        except ChannelError as error:
            _log.debug("the hub has gone", extra={"cause": str(error)})

    async def _push(self) -> None:
        services, slices = self._informers
        table: Mapping[str, Any] = tables.make(services.list(), slices.list(), self._api, self._shared)
        body = os.memfd_create("lightship-network", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(body), "wb") as stream:
                stream.write(json.dumps(table).encode())
            await self.channel.ask({"tables": True}, (body,))
        finally:
            os.close(body)
        await self._own.follow(services.list(), self.channel)
