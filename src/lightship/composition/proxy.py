"""The gateway as a child process: started with a kubeconfig of its own, awaited, started again if it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from lightship import errors
from lightship.lib import clock as clocks
from lightship.lib.backoff import Backoff
from lightship.settings import Settings

START_LIMIT_SECONDS = 30
STOP_LIMIT_SECONDS = 30
RESTART = Backoff(initial_seconds=0.2, maximum_seconds=10, jitter=0.2)

_log = logging.getLogger(__name__)


class GatewayFailed(errors.Unavailable):
    """The gateway's process ended before it was ready."""


class Gateway:
    """``start`` launches the process, ``ready`` waits for its port, ``watch`` keeps it running."""

    def __init__(self, settings: Settings, kubeconfig: Path, port: int) -> None:
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.url = f"http://{settings.url_host}:{port}"

    async def start(self, stack: AsyncExitStack) -> None:
        self._process = await self._spawn()
        stack.push_async_callback(self.stop)

    async def ready(self) -> None:
        """Returns once the port is bound. Raises ``GatewayFailed`` with the end of its log."""
        assert self._process is not None and self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_LIMIT_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            log = self._log_file
            tail = log.read_bytes()[-1000:].decode(errors="replace").strip() if log.exists() else ""
            raise GatewayFailed(f"the gateway did not start: {tail or 'it said nothing'}", remedy=f"its log is {log}")

    async def watch(self) -> None:
        """Start it again whenever it ends unasked, until ``stop``."""
        failures = 0
        while True:
            assert self._process is not None
            began = clocks.SYSTEM.monotonic()
            code = await self._process.wait()
            if self._stopping:
                return
            lived = clocks.SYSTEM.monotonic() - began
            failures = 1 if lived > RESTART.maximum_seconds else failures + 1
            _log.error("the gateway ended and is started again", extra={"exit_code": code, "failures": failures})
            await clocks.SYSTEM.sleep(RESTART.delay_seconds(failures, random.random))
            self._process = await self._spawn()
            try:
                await self.ready()
            except GatewayFailed as error:
                _log.error("the gateway did not come back", extra={"error": str(error)})

    async def stop(self) -> None:
        """Its standard input closes, it drains and ends; a gateway that does not is killed."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _log_file(self) -> Path:
        return self._settings.log_dir / "gateway.log"

    async def _spawn(self) -> asyncio.subprocess.Process:
        words = ["-m", "lightship.gateway", "--kubeconfig", str(self._kubeconfig), "--host", self._settings.bind,
                 "--port", str(self._port), "--with-parent",
                 "--pod-sockets", str(self._settings.data_dir / "node" / "network.sock"),
                 "--payload-dir", str(self._settings.data_dir / "gateway" / "payloads")]
        log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                start_new_session=True)
        finally:
            os.close(log)
