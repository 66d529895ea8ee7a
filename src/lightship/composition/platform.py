"""The server of ``lightship up``: everything in one process, but for the gateway.

The order matters: hold the data directory and the ports, answer on the Kubernetes API, start the gateway beside us
while the controllers come up, and answer REST last, when all is ready. Stopping goes the other way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from lightship import __version__
from lightship.client import kubeconfig
from lightship.cluster.node.agent import Node
from lightship.cluster.node.entrypoints import Entrypoint
from lightship.composition import cluster as embedded
from lightship.composition import domains, leadership, model_storage, rest
from lightship.composition.proxy import Gateway
from lightship.daemon import datadir, process
from lightship.daemon.commands import UpOptions
from lightship.domains import serving, training
from lightship.domains.pipelines import domain as pipelines
from lightship.domains.serving import account_secrets
from lightship.domains.tuning import domain as tuning
from lightship.lib import private
from lightship.runtime.manager import Manager
from lightship.settings import Settings
from lightship.web import server as web_server

LIMIT_OPEN_FILES = 65536
COLLECTOR_THRESHOLDS = (10_000, 20, 50)
"""Objects made, young and middle collections between two collections; Python's own are 700, 10 and 10."""

Ready = Callable[[process.ServerInfo], None]


async def serve(settings: Settings, options: UpOptions, ready: Ready) -> None:
    """Run the platform until SIGTERM or SIGINT; ``ready`` is told once. Raises ``errors.StateError`` and kin."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_files()
    datadir.prepare(settings)
    lock = datadir.lock(settings)
    try:
        async with AsyncExitStack() as stack:
            platform = await _Platform.open(settings, options, stack)
            await platform.run(ready, stop)
    finally:
        settings.server_file.unlink(missing_ok=True)
        lock.release()


class _Platform:
    """The pieces, opened in order; ``run`` sets them going."""

    def __init__(self, settings: Settings, options: UpOptions, stack: AsyncExitStack) -> None:
        self._settings, self._options, self._stack = settings, options, stack
        self._history: domains.History
        self._cluster: embedded.Cluster
        self._gateway: Gateway
        self._node: Node | None = None
        self._front: socket.socket

    @classmethod
    async def open(cls, settings: Settings, options: UpOptions, stack: AsyncExitStack) -> _Platform:
        """Take the ports, open the databases, answer on the Kubernetes API, launch the gateway."""
        platform = cls(settings, options, stack)
        platform._front = web_server.bind(settings.bind, settings.port, "--port")
        stack.callback(platform._front.close)
        kube = web_server.bind(settings.bind, settings.kube_port, "--kube-port")
        stack.callback(kube.close)
        gateway_port = _claim(settings)
        platform._history = await domains.open_history(settings, stack)
        token = datadir.token(settings)
        cluster = await embedded.start(settings, token, domains.KINDS, kube, stack)
        platform._cluster = cluster
        if options.controllers:
            await leadership.require_free(cluster.client_for("lightship"), cluster.clock)
            await leadership.claim(cluster.client_for("lightship"), platform._history.database)
        config = kubeconfig.render(cluster.url, cluster.pki.ca_pem, token)
        private.write(settings.kubeconfig_file, config.encode())
        platform._gateway = Gateway(settings, await _gateway_kubeconfig(settings, cluster), gateway_port)
        await platform._gateway.start(stack)
        return platform

    async def run(self, ready: Ready, stop: asyncio.Event) -> None:
        """Start controllers, node and REST; say so; work until ``stop``."""
        cluster, history = self._cluster, self._history
        manager = Manager(cluster.client_for, cluster.clock)
        composed = domains.compose(manager, history, self._settings, domains.Ground(
            gateway_url=self._gateway.url, images=self._image))
        self._stack.push_async_callback(composed.close)
        if self._options.controllers:
            for controller in composed.controllers:
                manager.add(controller)
        embedded.builtin_controllers(cluster, manager)
        await serving.bootstrap(cluster.client_for(domains.SERVING_CONTROLLER))
        await training.bootstrap(cluster.client_for(domains.TRAINING_CONTROLLER))
        await tuning.bootstrap(cluster.client_for(domains.TUNING_CONTROLLER))
        cluster.server.doors.append(training.Progress(cluster.client_for(domains.TRAINING_CONTROLLER)).answer)
        fetching = model_storage.fetching(self._settings, history, cluster.client_for(account_secrets.IDENTITY))
        entrypoints: dict[str, Entrypoint] = {
            pipelines.ENTRYPOINT_NAME: pipelines.launcher(history.artifacts),
            **serving.built_ins(fetching),
            **training.entrypoints(history.artifacts),
            tuning.ENTRYPOINT_NAME: tuning.metrics_collector,
        }
        async with asyncio.TaskGroup() as group:
            managing = group.create_task(self._manage(manager), name="manager")
            self._stack.push_async_callback(_stop_manager, manager, managing)
            offers = embedded.Offers(entrypoints=entrypoints, loopback_ports=self._loopback_ports(),
                                     services=composed.services)
            node = group.create_task(embedded.start_node(cluster, self._settings, offers, self._stack), name="node")
            await asyncio.sleep(0)  # It launches its look at the machine, and we use the time that this takes.
            http = rest.make(rest.Parts(cluster=cluster, history=history, manager=manager, routes=composed.routes),
                             self._front)
            self._node = await node
            await manager.synced.wait()
            await self._gateway.ready()
            watching = group.create_task(self._gateway.watch(), name="gateway")
            await http.start()
            self._stack.push_async_callback(http.stop)
            info = self._publish(http.port)
            if not stop.is_set():
                ready(info)
            _settle_memory()
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait({stopping, managing, watching}, return_when=asyncio.FIRST_COMPLETED)
            await self._stack.aclose()
            for task in (stopping, managing, watching):
                task.cancel()

    def _image(self, image: str) -> str:
        """What ``image`` means on the node; before there is one, its name."""
        return self._node.image_identity(image) if self._node is not None else image

    def _loopback_ports(self) -> tuple[int, ...]:
        """The ports in the URLs that users hand to Pods: REST, the Kubernetes API, the gateway."""
        urls = (self._cluster.url, self._gateway.url)
        return (self._front.getsockname()[1], *(int(url.rpartition(":")[2]) for url in urls))

    async def _manage(self, manager: Manager) -> None:
        if not self._options.controllers:
            await manager.run()
            return
        await leadership.lead(self._cluster.client_for("lightship"), self._history.database,
                              leadership.EMBEDDED_CANDIDATE, manager.run)

    def _publish(self, port: int) -> process.ServerInfo:
        settings = self._settings
        info = process.ServerInfo(
            url=f"http://{settings.url_host}:{port}", pid=os.getpid(), version=__version__,
            dataDir=str(settings.data_dir),
            kubeUrl=self._cluster.url, gatewayUrl=self._gateway.url, tokenFile=str(settings.token_file),
            kubeconfig=str(settings.kubeconfig_file), startedAt=datetime.now(UTC).isoformat(timespec="seconds"),
            processStart=process.start_time(os.getpid()))
        process.publish(settings, info)
        return info


def _allow_files() -> None:
    """As many open files as the machine lets us have, up to what our own limits on connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LIMIT_OPEN_FILES if hard == resource.RLIM_INFINITY else min(LIMIT_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settle_memory() -> None:
    """What a start made is there to stay: the collector need not walk it again, and what requests make is young."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _stop_manager(manager: Manager, managing: asyncio.Task[None]) -> None:
    """Passes end, then the Lease is given up, while there still is a server to say so to."""
    await manager.stop()
    await asyncio.wait({managing})


def _claim(settings: Settings) -> int:
    """The gateway's port: checked to be free, or chosen, before its process is started."""
    probe = web_server.bind(settings.bind, settings.gateway_port, "--gateway-port")
    port: int = probe.getsockname()[1]
    probe.close()
    return port


async def _gateway_kubeconfig(settings: Settings, cluster: embedded.Cluster) -> Path:
    path = settings.data_dir / "gateway" / "kubeconfig"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    token = await cluster.token_for("gateway")
    config = kubeconfig.render(cluster.url, cluster.pki.ca_pem, token, embedded.PLATFORM_NAMESPACE)
    private.write(path, config.encode())
    return path
