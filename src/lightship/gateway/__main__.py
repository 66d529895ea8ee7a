"""``python -m lightship.gateway``: the front proxy's process.

``app`` starts me as its child with ``--with-parent`` and reads one line of JSON from my standard output once the port
is bound; a Deployment starts me on a cluster. Exit codes: 0 drained after SIGTERM, SIGINT or the parent's end, 1 the
port or the kubeconfig cannot be used (the reason is on standard error).
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time

import uvloop

from lightship import errors as trunk
from lightship.client import kubeconfig
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.gateway.cloudevents import CloudEvents, Places
from lightship.gateway.core import Core
from lightship.gateway.feed import Feed
from lightship.gateway.gatekeeper import Reviews
from lightship.gateway.options import Options, parse
from lightship.gateway.payload_files import Files
from lightship.gateway.payloads import Payloads, Sink
from lightship.gateway.routes import PayloadLog
from lightship.gateway.server import Gateway
from lightship.lib import clock as clocks
from lightship.lib import logs
from lightship.lib.ids import RandomIds

logger = logging.getLogger(__name__)


def main() -> int:
    """Run until told to stop."""
    logs.to_stderr("info")
    options = parse(sys.argv[1:])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except trunk.LightshipError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _serve(options: Options) -> None:
    stop = _stop_signals(with_parent=options.with_parent)
    client = Client(Http(kubeconfig.load(options.kubeconfig, options.context)), field_manager="lightship-gateway")
    try:
        core = Core(gatekeeper=Reviews(client, options.limits, time.monotonic), limits=options.limits,
                    id=RandomIds().uid())
        core.payloads = _payloads(core, client, options)
        core.pool.pod_sockets = core.links.pod_sockets = options.pod_sockets
        gateway = Gateway(core)
        await gateway.listen(options.host, options.port)
        sys.stdout.write(json.dumps({"ready": True, "port": gateway.port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        # What lives now lives on: the collector need not look at it again for every few thousand requests.
        gc.collect()
        gc.freeze()
        feeding = asyncio.ensure_future(Feed(core, client).run())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((feeding, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        logger.info("draining")
        await gateway.drain()
        feeding.cancel()
        await asyncio.wait((feeding,))
        if not feeding.cancelled():
            feeding.result()
    finally:
        await client.close()


def _payloads(core: Core, client: Client, options: Options) -> Payloads:
    """The payload log: events to URLs, files below the directory for them."""
    places = Places(client, options.pod_sockets)
    def sink_of(log: PayloadLog) -> Sink:
        if log.url:
            return CloudEvents(log.url, places, options.limits)
        return Files(options.payload_dir, log.format, options.limits)

    return Payloads(sink_of, core.metrics, options.limits, clocks.SYSTEM, RandomIds())


def _stop_signals(*, with_parent: bool) -> asyncio.Event:
    """An event that is set by SIGTERM, SIGINT, and (as the child of a server) by the parent's end.

    The parent holds the other end of standard input: the kernel closes it however the parent ends. A parent-death
    signal would come when the *thread* that started us ends, which is not the same.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        descriptor = sys.stdin.fileno()
        os.set_blocking(descriptor, False)

        def readable() -> None:
            try:
                data = os.read(descriptor, 4096)
            except BlockingIOError:
                return
            if not data:
                loop.remove_reader(descriptor)
                stop.set()

        loop.add_reader(descriptor, readable)
    return stop


if __name__ == "__main__":
    sys.exit(main())
