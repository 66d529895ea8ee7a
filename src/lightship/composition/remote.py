"""``lightship controllers``: the domains' controllers against any cluster that a kubeconfig names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from lightship import errors
from lightship.client import kubeconfig
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.composition import choice, domains, leadership
from lightship.daemon import datadir
from lightship.domains import serving, training
from lightship.domains.serving.kinds import SCALED_OBJECTS
from lightship.domains.tuning import domain as tuning
from lightship.kube import objects
from lightship.kube.resources import LEASES, NAMESPACES
from lightship.lib import clock as clocks
from lightship.runtime import apply
from lightship.runtime.manager import Manager
from lightship.settings import Settings

_log = logging.getLogger(__name__)
_BOOTSTRAPS = {choice.SERVING: serving.bootstrap, choice.TRAIN_JOBS: training.bootstrap,
               choice.TUNING: tuning.bootstrap}


async def control(settings: Settings, kubeconfig_file: Path | None, context: str) -> None:
    """Run until SIGTERM or SIGINT, while we hold the cluster's Lease. Runs and artifacts lie in the data directory."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cluster = kubeconfig.load(kubeconfig_file, context)
    lock = datadir.lock(settings)
    try:
        async with AsyncExitStack() as stack:
            transport = Http(cluster)
            stack.push_async_callback(transport.close)
            client = Client(transport, field_manager="lightship-controllers")
            await _require_known(client, cluster.source)
            await apply.ensure(client, NAMESPACES, {
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": leadership.LEASE.namespace}},
                None)
            history = await domains.open_history(settings, stack)
            await leadership.claim(client, history.database)
            host = f"http://{settings.url_host}:{settings.gateway_port}"
            await _lead(client, history, settings, host, stop)
    finally:
        lock.release()


async def _require_known(client: Client, source: str) -> None:
    """Raise ``Unauthenticated``, with what to do, where we are unknown; an election would try for ever."""
    try:
        await client.raw("GET", "/apis")
    except errors.Unauthenticated as error:
        raise errors.Unauthenticated(
            f"the cluster refuses the user of {source}: {error.message}",
            remedy="mend its token or certificate; for a Lightship, 'lightship kubeconfig' prints a fresh file",
        ) from error


async def _say_who_leads(client: Client) -> None:
    """One line where another process holds the Lease, since we then wait and do nothing."""
    with contextlib.suppress(errors.LightshipError):
        lease = await client.get(LEASES, leadership.LEASE.name, leadership.LEASE.namespace)
        if holder := objects.spec(lease).get("holderIdentity"):
            _log.warning("another process (%s) runs the controllers; waiting to take over when it ends", holder)


async def _lead(client: Client, history: domains.History, settings: Settings, gateway_url: str,
                stop: asyncio.Event) -> None:
    async def work() -> None:
        # A manager is made for each reign: what an earlier one believed may be old.
        manager = Manager(lambda name: client, clocks.SYSTEM)
        parts, refusals = choice.choose(await choice.look(client))
        for refusal in refusals:
            _log.warning("%s", refusal)
        gateway = None
        if settings.launcher_image != "builtin":
            gateway = serving.ClusterGateway(image=settings.launcher_image)
        composed = domains.compose(manager, history, settings, domains.Ground(
            gateway_url=gateway_url if gateway is None else gateway.url, parts=parts,
            keda=await choice.serves(client, SCALED_OBJECTS)))
        for controller in composed.controllers:
            manager.add(controller)
        for name, bootstrap in _BOOTSTRAPS.items():
            if name in parts:
                await bootstrap(client)
        if gateway is not None and choice.SERVING in parts:
            await serving.bootstrap(client, gateway)
        _log.warning("the controllers are starting")
        running = asyncio.create_task(manager.run())
        try:
            synced = asyncio.create_task(manager.synced.wait())
            await asyncio.wait({running, synced}, return_when=asyncio.FIRST_COMPLETED)
            synced.cancel()
            _log.warning("the controllers are ready")
            await running
        finally:
            await manager.stop()
            running.cancel()
            await asyncio.wait({running})
            await composed.close()

    await _say_who_leads(client)
    leading = asyncio.create_task(leadership.lead(
        client, history.database, leadership.Candidate(identity=leadership.identity()), work))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if leading.done():
        leading.result()
        return
    leading.cancel()
    await asyncio.wait({leading})
