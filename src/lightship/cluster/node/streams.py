"""What the node offers of its Pods to clients: exec, attach, and connections to their ports.

``agent`` makes me and ``composition`` hands me to the API server; I find the container that is meant, and ``execution``
or its ``output`` do the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from typing import Protocol

from lightship import errors
from lightship.client.sessions import STDOUT, End, Session, Wanted
from lightship.cluster.node import execution
from lightship.cluster.node.output import Tap
from lightship.cluster.node.runner import Started
from lightship.kube.objects import Key

DIAL_SECONDS = 10.0


class Pod(Protocol):
    """A Pod that runs here: its supervisor."""

    def running(self, container: str) -> Started | None: ...

    def waiting_reason(self, container: str) -> str: ...

    def stdin_once(self, container: str) -> bool: ...

    @property
    def address(self) -> str: ...


class NodeStreams:
    """The ``client.sessions.Streams`` of one node. ``find`` gives the running Pod of a key."""

    def __init__(self, find: Callable[[Key], Pod | None], dial: Callable[[Key, int],
                 Awaitable[tuple[StreamReader, StreamWriter]]]) -> None:
        self._find = find
        self._dial = dial

    def target(self, pod: Key, container: str) -> _Container:
        found = self._find(pod)
        if found is None:
            raise errors.BadRequest(f"pod {pod.name} does not run on this node",
                                    remedy=f"See `kubectl describe pod {pod.name}` for what became of it")
        started = found.running(container)
        if started is None:
            raise errors.BadRequest(f'container not found ("{container}"): it does not run '
                                    f"({found.waiting_reason(container)})")
        return _Container(started, found.stdin_once(container))

    async def dial(self, pod: Key, port: int) -> tuple[StreamReader, StreamWriter]:
        return await self._dial(pod, port)


class _Container:
    def __init__(self, started: Started, stdin_once: bool) -> None:
        self._started = started
        self._stdin_once = stdin_once

    async def execute(self, command: tuple[str, ...], wanted: Wanted) -> Session:
        if self._started.process is None:
            raise errors.BadRequest("commands cannot be run in a container that is built into the node")
        return await execution.start(self._started.process, command, wanted, self._started.owner)

    async def attach(self, wanted: Wanted) -> Session:
        return _Attached(self._started, wanted, self._stdin_once and wanted.stdin)


class _Attached:
    """The main process of a container with its streams; detaching leaves it alone."""

    def __init__(self, started: Started, wanted: Wanted, closes_stdin: bool) -> None:
        self._started = started
        self._wanted = wanted
        self._closes_stdin = closes_stdin
        self._tap: Tap | None = started.output.tap() if started.output is not None and wanted.stdout else None

    async def read(self, stream: int) -> bytes:
        return await self._tap.read() if self._tap is not None and stream == STDOUT else b""

    async def write(self, data: bytes) -> None:
        if self._wanted.stdin and self._started.given is not None:
            with contextlib.suppress(BrokenPipeError):  # it reads no more: the rest is dropped
                await self._started.given.write(data)

    def close_stdin(self) -> None:
        if self._closes_stdin and self._started.given is not None and not self._has_terminal:
            self._started.given.close()

    @property
    def _has_terminal(self) -> bool:
        return self._started.process is not None and self._started.process.terminal >= 0

    def resize(self, columns: int, rows: int) -> None:
        if self._started.given is not None and self._has_terminal:
            self._started.given.resize(columns, rows)

    async def wait(self) -> End:
        await self._started.handle.wait()
        lagged = self._tap is not None and self._tap.lagged
        return End(error="the client took the output too slowly" if lagged else "")

    async def close(self) -> None:
        if self._tap is not None:
            self._tap.close()
        if self._closes_stdin:
            self.close_stdin()


async def connect(address: str, port: int) -> tuple[StreamReader, StreamWriter]:
    """To a Pod's own address, then to this machine's: programs bind either. Raises ``OSError``."""
    last: OSError = ConnectionRefusedError(f"nothing listens on port {port}")
    for host in dict.fromkeys((address, "127.0.0.1")):
        if not host:
            continue
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await asyncio.open_connection(host, port)
        except OSError as error:
            last = error
    raise last
