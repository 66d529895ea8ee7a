"""``python -m lightship.modelserver.router --graph-json JSON``: the process of an InferenceGraph's Pod.

Exit codes: 0 drained after SIGTERM or SIGINT, 1 the graph cannot be read or the port not bound.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from lightship import errors
from lightship.lib import logs
from lightship.modelserver.router import graph
from lightship.modelserver.router.server import GraphServer, Options

_log = logging.getLogger(__name__)


def main() -> int:
    """Run until told to stop."""
    logs.to_stderr("info")
    parser = argparse.ArgumentParser(prog="lightship.modelserver.router", allow_abbrev=False,
                                     description="Route requests through an InferenceGraph.")
    parser.add_argument("--graph-json", required=True, help="the graph's spec")
    parser.add_argument("--port", default=8080, type=int, help="port to listen on; 0 takes any free one")
    arguments = parser.parse_args()
    address = os.environ.get("POD_IP", "")
    try:
        options = Options(graph=graph.parse(arguments.graph_json), port=arguments.port,
                          # Where Pods have loopback addresses, each must bind its own; see the model server's options.
                          host=address if address.startswith("127.") else "",
                          propagate=os.environ.get("PROPAGATE_HEADERS", ""))
        asyncio.run(_serve(options))
    except errors.LightshipError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = GraphServer(options)
    await server.listen()
    _log.info("listening on port %d", server.port)
    await stop.wait()
    _log.info("draining")
    await server.drain()


if __name__ == "__main__":
    sys.exit(main())
