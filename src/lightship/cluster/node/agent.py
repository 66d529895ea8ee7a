"""The node agent: runs the Pods that are bound to this node as processes of this machine.

``app`` makes me and wires my ``logs`` to the API server; I watch Pods through ``client`` and give each a
``Supervisor``. I also keep the Node object and its Lease. Nothing of a former life is adopted: a Pod that had started
before is failed with ``NodeRestarted``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.cluster.node import (
    catalogue,
    cgroups,
    disk_watch,
    environments,
    isolation,
    layout,
    logs,
    memory_pressure,
    memory_watch,
    metrics,
    node_object,
    plan,
    pod_status,
    pressure,
    restarts,
    strays,
    streams,
    variables,
    volumes,
)
from lightship.cluster.node.announcer import Announcer
from lightship.cluster.node.engines import engine
from lightship.cluster.node.engines.engine import Engine
from lightship.cluster.node.entrypoints import Entrypoint
from lightship.cluster.node.environments import Environments
from lightship.cluster.node.errors import ZygoteError
from lightship.cluster.node.logs import LogQuery
from lightship.cluster.node.network import pod_network
from lightship.cluster.node.network.own_services import Begin
from lightship.cluster.node.processes import Zygote, Zygotes
from lightship.cluster.node.reclaim import Reclaimer
from lightship.cluster.node.references import References
from lightship.cluster.node.runner import Machinery, Started, bare_key
from lightship.cluster.node.status_writer import StatusWriter
from lightship.cluster.node.supervisor import Services, Supervisor, confirm_deletion
from lightship.cluster.node.tokens import ServiceAccountTokens
from lightship.cluster.node.trash import Trash
from lightship.kube import objects, quantities
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, LEASES, NAMESPACES, NODES, PODS
from lightship.lib import tasks
from lightship.lib.clock import Clock
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer

MAX_PODS = 110
STARTS_PER_CPU = 4

_OVER = ("Succeeded", "Failed")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """Where the node keeps its things and what it offers. ``api_host`` and ``api_port`` are what Pods are told."""

    directory: Path
    name: str = field(default_factory=lambda: socket.gethostname().lower())
    max_pods: int = MAX_PODS
    api_host: str = ""
    api_port: int = 0
    loopback_ports: tuple[int, ...] = ()
    """Ports of the platform on this host's loopback that Pods find on their own, since URLs say so."""
    own_services: Mapping[Key, Begin] = field(default_factory=dict)
    """Services that the platform answers itself in the Pods' network."""
    base_python: str = ""
    """The interpreter of plain ``python:`` images; the server's own base for the empty string."""
    containers: str = ""
    """podman or docker, for images that the catalogue does not map; empty for neither."""
    back_off: restarts.CrashBackOff = restarts.CrashBackOff()
    """How long containers that crash wait before they are started again."""
    isolate: bool = True
    """False gives up namespaces even where they can be had."""


class Node:
    """One node. ``start`` returns when it can run Pods."""

    def __init__(self, options: NodeOptions, client: Client, entrypoints: Mapping[str, Entrypoint],
                 clock: Clock) -> None:
        self._options = options
        self._client = client
        self._entrypoints = entrypoints
        self._clock = clock
        self._supervisors: dict[str, Supervisor] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks = tasks.Tasks(f"node {options.name}")
        self._zygotes = Zygotes(clock)
        self._environments = Environments(options.directory / "environments", options.base_python)
        self._pods = Informer(client, PODS, Selection(fields=f"spec.nodeName={options.name}"), clock)
        self._catalogue = Informer(client, CONFIGMAPS, Selection(
            namespace=catalogue.CONFIG_MAP_NAMESPACE, fields=f"metadata.name={catalogue.CONFIG_MAP_NAME}"), clock)
        self._reclaimer = Reclaimer(client, options.name, options.directory / "volumes", clock)
        self.metrics = metrics.NodeMetrics(options.name, self._roots, clock)
        self._memory_watch = memory_watch.MemoryWatch(self._roots, self._running_container, clock)
        """What Pods and the machine use, for the API server."""
        self.disk = disk_watch.DiskWatch(options.directory, self._supervisors.values, self._tell_of_change, clock)
        """Whether there is room for Pods' files."""
        self.memory = memory_pressure.MemoryPressure(self._roots, self._supervisors.values, self._tell_of_change, clock)
        """Whether there is memory for them."""
        self._groups: cgroups.Groups | None = None
        self._engine = Engine(options.containers, options.directory, clock, self._told_of_engine) \
            if options.containers else None
        self._services: Services | None = None
        self._references = References(client, clock)
        self._trash = Trash(options.directory / "trash", clock)
        self.streams = streams.NodeStreams(self._supervisor_of, self.dial)
        """Exec, attach and the Pods' ports, for the API server."""
        self._stopped = False
        self.network = pod_network.PodNetwork(pod_network.NetworkOptions(
            directory=options.directory, api=(options.api_host, options.api_port),
            loopback_ports=options.loopback_ports, own=options.own_services), client, clock)
        self.isolation = isolation.Isolation(available=False, reason="not started")

    @property
    def name(self) -> str:
        return self._options.name

    async def start(self) -> None:
        """Looks at the machine, registers the Node, and begins to run its Pods."""
        directory = self._options.directory
        for part in ("pods", "environments", "volumes", "root"):
            (directory / part).mkdir(parents=True, exist_ok=True)
            (directory / part).chmod(0o700)
        self._environments.sweep()
        self._trash.start()
        survey = layout.survey()
        self.isolation = await self._probe(survey)
        self._groups = cgroups.Groups(hashlib.sha256(str(directory).encode()).hexdigest()[:12])
        self._groups.sweep()
        self._groups.sweep_strangers()
        if not self.isolation.available:
            strays.sweep(directory / "pods")
        found = node_object.machine(directory)
        resources = node_object.capacity(found, self._options.max_pods)
        self._services = self._make_services(survey, self._groups, found.cpus, resources)
        if self._engine is not None:
            self._engine.begin()
        else:
            self._tasks.spawn(engine.sweep_former(directory, self._clock), name="containers of a former life")
        self.disk.observe()
        self.memory.observe()
        await self._register(found, resources)
        await self._catalogue.start()
        await self._pods.start()
        await self._catalogue.synced.wait()
        await self._pods.synced.wait()
        self._sweep_directories()
        await self._reclaimer.start()
        self._pods.subscribe(self._changed)
        self._tasks.spawn(self._heartbeat(found, resources), name="lease")
        self._tasks.spawn(self._environments.collect(), name="environments")
        self._tasks.spawn(self._trash.run(), name="trash")
        self._tasks.spawn(self._services.announcer.run(), name="events")
        self._tasks.spawn(pressure.run([self.disk, self.memory], self._clock), name="pressure")
        if "memory" not in self._groups.controllers:
            self._tasks.spawn(self._memory_watch.run(), name="memory")

    async def stop(self) -> None:
        """Ends every Pod's processes and everything that I started. The next start fails what ran."""
        self._stopped = True
        await self._pods.stop()
        await self._catalogue.stop()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._reclaimer.stop()
        await self._tasks.close()
        await self._references.close()
        await self._environments.close()
        await self._zygotes.stop()
        if self._engine is not None:
            await self._engine.close()
        await self.network.stop()
        if self._groups is not None:
            await self._groups.close()

    async def logs(self, key: Key, query: LogQuery | Mapping[str, str]) -> AsyncIterator[bytes]:
        """A container's log, as ``pods/log`` answers it. Raises ``errors.NotFound``, ``errors.BadRequest`` at once, so
        that the answer's status can still tell."""
        if not isinstance(query, LogQuery):
            query = logs.parse_query(query, self._clock.now())
        pod = self._pods.get(key)
        if pod is None:
            raise errors.NotFound(f'pods "{key.name}" not found')
        container = _container_name(pod, query.container)
        supervisor = self._supervisors.get(objects.uid(pod))
        live = supervisor.live_log(container) if supervisor is not None and not query.previous else None
        directory = self._pod_directory(pod) / "logs" / container
        paths = sorted(directory.glob("*.log"), key=lambda path: int(path.stem))
        wanted = 2 if query.previous else 1
        if len(paths) < wanted:
            if query.previous:
                raise errors.BadRequest(f'previous terminated container "{container}" in pod "{key.name}" not found')
            reason = supervisor.waiting_reason(container) if supervisor is not None else "it never ran"
            raise errors.BadRequest(f'container "{container}" in pod "{key.name}" is waiting to start: {reason}')
        return logs.read(paths[-wanted], live, query)

    async def dial(self, key: Key, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what listens on ``port`` in a Pod. Raises ``errors.NotFound``, ``OSError``."""
        pod, supervisor = self._pods.get(key), self._supervisor_of(key)
        if pod is None or supervisor is None:
            raise errors.NotFound(f'pods "{key.name}" does not run on this node')
        if not self.network.has(pod):
            return await streams.connect(supervisor.address, port)
        return await asyncio.open_connection(sock=await self.network.forward(pod, port))

    def _supervisor_of(self, key: Key) -> Supervisor | None:
        pod = self._pods.get(key)
        return self._supervisors.get(objects.uid(pod)) if pod is not None else None

    async def _roots(self) -> list[metrics.Root]:
        """The first process of every container that is one, for the measurements."""
        pids = await self._zygotes.containers() | (self._engine.pids if self._engine is not None else {})
        found = []
        for pod in self._pods.list():
            supervisor = self._supervisors.get(objects.uid(pod))
            if supervisor is None:
                continue
            for container in [*plan.containers(pod), *plan.init_containers(pod)]:
                started = supervisor.running(container["name"])
                pid = pids.get(started.process.name) if started is not None and started.process is not None else None
                if pid is not None:
                    found.append(metrics.Root(pod=objects.key(pod), labels=objects.labels(pod),
                                              container=container["name"], pid=pid))
        return found

    def _running_container(self, key: Key, container: str) -> Started | None:
        supervisor = self._supervisor_of(key)
        return supervisor.running(container) if supervisor is not None else None

    def zygote_pids(self) -> list[int]:
        """For measurements and tests."""
        return self._zygotes.pids()

    def _pod_directory(self, pod: Object) -> Path:
        return self._options.directory / "pods" / objects.uid(pod)

    async def _probe(self, survey: layout.Survey) -> isolation.Isolation:
        if not self._options.isolate:
            return isolation.Isolation(available=False, reason="switched off by an option")
        if not sys.platform.startswith("linux"):
            return isolation.Isolation(available=False, reason=f"there are no namespaces on {sys.platform}")
        host = self._environments.host
        try:
            zygote = await Zygote.start(bare_key(host))  # not one of those that are kept: idle, we are one process
        except ZygoteError as error:
            return isolation.Isolation(available=False, reason=str(error))
        try:
            found = await isolation.probe(zygote, survey, host.directories[0])
            if found.available:
                self.network.begin(await pod_network.probe(zygote, found.user_namespace))
                self._zygotes.namespaces = self.network.capability.namespaces
            return found
        finally:
            await zygote.stop()

    def _make_services(self, survey: layout.Survey, groups: cgroups.Groups, cpus: int,
                       resources: dict[str, str]) -> Services:
        directory = self._options.directory
        memory = quantities.whole(resources["memory"])
        machinery = Machinery(
            clock=self._clock, zygotes=self._zygotes, environments=self._environments, isolation=self.isolation,
            survey=survey, groups=groups, entrypoints=self._entrypoints, pods_directory=directory / "pods",
            root_mountpoint=directory / "root", trash=self._trash, memory_bytes=memory, engine=self._engine,
            starts=asyncio.Semaphore(STARTS_PER_CPU * cpus))
        tokens = ServiceAccountTokens(self._client, self._clock)
        source = volumes.VolumeSource(
            client=self._client, pods_directory=directory / "pods", claims_directory=directory / "volumes",
            token=tokens.get, memory_bytes=memory)
        recorder = Recorder(self._client, "lightship-node", self._clock)
        return Services(
            client=self._client, machinery=machinery, volume_source=source, network=self.network,
            references=self._references, surroundings=self._surroundings,
            recorder=recorder, announcer=Announcer(recorder, self._clock), allocatable=resources,
            back_off=self._options.back_off)

    def _surroundings(self, sources: variables.Sources) -> plan.Surroundings:
        key = Key(catalogue.CONFIG_MAP_NAMESPACE, catalogue.CONFIG_MAP_NAME)
        return plan.Surroundings(sources=sources, image_catalogue=self._catalogue.get(key),
                                 engine=self._engine is not None,
                                 api_host=self._options.api_host, api_port=self._options.api_port)

    def image_identity(self, image: str) -> str:
        """What ``image`` stands for here: another text once the catalogue or the interpreter says something else."""
        key = Key(catalogue.CONFIG_MAP_NAMESPACE, catalogue.CONFIG_MAP_NAME)
        return environments.identity_of(image, self._catalogue.get(key), engine=self._engine is not None)

    async def _register(self, found: node_object.Machine, resources: Mapping[str, str]) -> None:
        assert self._groups is not None
        try:
            node = await self._client.create(NODES, node_object.make(self.name))
        except errors.AlreadyExists:
            node = await self._client.get(NODES, self.name)
        status = node_object.status(found, resources, self.isolation, self._groups.controllers, self._clock.now())
        stamp = {name: status["conditions"][0][name] for name in ("lastHeartbeatTime", "lastTransitionTime")}
        more = [self.memory.condition(), self.disk.condition(), *self.network.conditions(),
                *([self._engine.condition()] if self._engine is not None else [])]
        status["conditions"] += [entry | stamp for entry in more]
        status["conditions"] = node_object.since_when(status["conditions"], node)
        await self._client.patch(NODES, Key("", self.name), {"status": status}, subresource="status")

    def _told_of_engine(self) -> None:
        """The engine has been tried: the Node says how that went."""
        if self._services is not None and not self._stopped:
            self._tasks.spawn(self._tell_of_change(), name="container engine")

    async def _tell_of_change(self) -> None:
        """Has the Node tell its conditions anew."""
        assert self._services is not None
        try:
            await self._register(node_object.machine(self._options.directory), self._services.allocatable)
        except errors.LightshipError as error:
            _log.warning("could not tell of a change of the node", extra={"node": self.name, "error": str(error)})

    async def _heartbeat(self, found: node_object.Machine, resources: Mapping[str, str]) -> None:
        told = renewed = self._clock.monotonic()
        while True:
            try:
                await self._renew()
                now = self._clock.monotonic()
                if now - renewed >= node_object.LEASE_SECONDS or now - told >= node_object.STATUS_SECONDS:
                    await self._register(found, resources)
                    told = now
                renewed = now
            except errors.LightshipError as error:
                _log.warning("could not renew the node's lease", extra={"node": self.name, "error": str(error)})
            await self._clock.sleep(node_object.RENEW_SECONDS)

    async def _renew(self) -> None:
        lease = node_object.lease(self.name, self._clock.now())
        try:
            await self._client.patch(LEASES, objects.key(lease), {"spec": lease["spec"]})
            return
        except errors.NotFound:
            _log.debug("the node's lease is made anew", extra={"node": self.name})
        try:
            await self._client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace",
                                                   "metadata": {"name": node_object.LEASE_NAMESPACE}})
        except errors.AlreadyExists:
            _log.debug("the namespace of leases is there")
        await self._client.create(LEASES, lease)

    def _sweep_directories(self) -> None:
        """Removes the directories of Pods that the API no longer has."""
        known = {objects.uid(pod) for pod in self._pods.list()}
        for path in (self._options.directory / "pods").iterdir():
            if path.name not in known:
                self._trash.put(path)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """A Pod of mine has come, changed or gone."""
        if self._stopped:
            return
        if new is None:
            assert old is not None
            self._gone(old)
            return
        uid = objects.uid(new)
        if uid in self._supervisors:
            self._supervisors[uid].observe(new)
            return
        if uid in self._running:
            return  # it has ended and is being put away; its deletion is looked at after that
        over = objects.status(new).get("phase") in _OVER
        if over and (not objects.deleting(new) or _is_confirmed(new)):
            return
        self._running[uid] = self._tasks.spawn(self._run(new, over), name=str(objects.key(new)))

    def _gone(self, pod: Object) -> None:
        uid = objects.uid(pod)
        if uid in self._supervisors:
            self._supervisors[uid].vanish()
        elif uid not in self._running:
            self._trash.put(self._pod_directory(pod))

    async def _run(self, pod: Object, over: bool) -> None:
        """One Pod to its end, and what its end asks for."""
        uid = objects.uid(pod)
        try:
            if not over and (self._pod_directory(pod) / "logs").exists():
                await self._give_up(pod)
            elif not over:
                assert self._services is not None
                supervisor = self._supervisors[uid] = Supervisor(pod, self._services)
                self._memory_watch.add(pod)
                try:
                    await supervisor.run()
                finally:
                    self._memory_watch.remove(pod)
                    del self._supervisors[uid]
            current = self._current(pod)
            if current is not None and objects.deleting(current):
                await confirm_deletion(self._client, current)
        finally:
            del self._running[uid]
        self._look_again(pod)

    def _look_again(self, pod: Object) -> None:
        """What came while the Pod was being put away: its deletion, or its end in the API."""
        current = self._current(pod)
        if current is None:
            self._gone(pod)
        elif objects.deleting(current) and not objects.deleting(pod) and not objects.finalizers(current):
            self._changed(None, current)

    def _current(self, pod: Object) -> Object | None:
        """The newest version of this very Pod, if it is still there."""
        current = self._pods.get(objects.key(pod))
        return current if current is not None and objects.uid(current) == objects.uid(pod) else None

    async def _give_up(self, pod: Object) -> None:
        """A Pod whose processes died with the former life of this node."""
        def render() -> dict[str, Any]:
            return pod_status.failed(pod, pod_status.NODE_RESTARTED,
                                     "The node's process was restarted, and the Pod's processes ended with it",
                                     self._clock.now())

        writer = StatusWriter(self._client, self._clock, pod, render)
        writer.mark(urgent=True)
        task = asyncio.create_task(writer.run())
        try:
            await writer.flush()
        finally:
            await tasks.cancel(task)


def _is_confirmed(pod: Object) -> bool:
    """Whether a deletion has been confirmed and only finalizers hold the Pod."""
    return objects.meta(pod).get("deletionGracePeriodSeconds") == 0 and bool(objects.finalizers(pod))


def _container_name(pod: Object, asked: str) -> str:
    names = [container["name"] for container in plan.containers(pod)]
    every = [*names, *(container["name"] for container in plan.init_containers(pod))]
    default = (objects.meta(pod).get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    name = asked or default or (names[0] if len(names) == 1 else "")
    if not name:
        raise errors.BadRequest(f"a container name must be specified for pod {objects.name(pod)}, choose one of: "
                                f"[{' '.join(names)}]")
    if name not in every:
        raise errors.BadRequest(f"container {name} is not valid for pod {objects.name(pod)}")
    return str(name)


