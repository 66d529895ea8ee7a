"""``python -m lightship.modelserver``: the process of a serving Pod.

A serving runtime's command line starts me. Exit codes: 0 drained after SIGTERM or SIGINT, 1 the model could not be
loaded or the port not bound (the reason is the last line of the log and the container's termination message).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from lightship import errors as trunk
from lightship.lib import logs
from lightship.modelserver.options import Options, parse
from lightship.modelserver.server import ModelServer

logger = logging.getLogger(__name__)

_TERMINATION_LOG = Path("/dev/termination-log")


def main() -> int:
    """Run until told to stop."""
    logs.to_stderr("info")
    options = parse(sys.argv[1:], os.environ)
    try:
        _run(_serve(options))
    except trunk.LightshipError as problem:
        _report(str(problem))
        return 1
    return 0


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = ModelServer(options)
    await server.listen()
    logger.info("listening on port %d", server.port)
    loading = asyncio.ensure_future(server.load())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        logger.info("ready")
        await stop.wait()
    stopping.cancel()
    logger.info("draining")
    await server.drain()
    # A thread that still loads or predicts would hold up the loop's end and the interpreter's; nobody waits for it now.
    logging.shutdown()
    os._exit(0)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed, which the environments that the node builds need not have."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


def _report(message: str) -> None:
    """Say why the server ends, where ``kubectl describe`` and the InferenceService's status will show it."""
    sys.stderr.write(f"{message}\n")
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(message)


if __name__ == "__main__":
    sys.exit(main())
