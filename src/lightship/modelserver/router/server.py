"""The router as a server: one port, one graph. ``__main__`` runs me in a Pod, tests run me in their own loop."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from lightship import errors
from lightship.modelserver import http1
from lightship.modelserver.http1 import ClientGone, Request
from lightship.modelserver.options import Limits
from lightship.modelserver.replies import Response
from lightship.modelserver.router.calls import Calls, Reply
from lightship.modelserver.router.graph import Graph, Timeouts
from lightship.modelserver.router.routing import LIMIT_ANSWER_BYTES, NoRoute, Router

_log = logging.getLogger(__name__)
READY_PATH = "/readyz"
LIMIT_PATTERNS = 64
_FAILED = "Failed to process request"


@dataclass(frozen=True, kw_only=True)
class Options:
    """One router."""

    graph: Graph
    host: str = ""
    port: int = 8080
    propagate: str = ""
    """Patterns of header names, with commas between: upstream's PROPAGATE_HEADERS."""
    dice: Callable[[], int] = field(default_factory=lambda: lambda: random.SystemRandom().randrange(100))


class GraphServer:
    """Listens, routes, drains when told."""

    def __init__(self, options: Options) -> None:
        timeouts = options.graph.router_timeouts or Timeouts()
        self._options = options
        self._write_seconds = float(timeouts.server_write)
        self._calls = Calls(timeouts.service_client)
        self._router = Router(options.graph, self._calls.post, options.dice, patterns(options.propagate))
        self._http = http1.Server(self._handle, Limits(
            read_seconds=float(timeouts.server_read), idle_seconds=float(timeouts.server_idle)))
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Raises ``StateError``."""
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._http.protocol, self._options.host or None, self._options.port)
        except OSError as problem:
            raise errors.StateError(f"could not listen on port {self._options.port}: {problem}") from problem
        self.port = self._listener.sockets[0].getsockname()[1]

    async def drain(self) -> None:
        """Take no more, answer what is in flight, and end."""
        if self._listener is not None:
            self._listener.close()
        await self._http.drain()
        self._calls.close()

    def _handle(self, request: Request) -> None:
        if request.path == READY_PATH:
            status = 503 if self._http.draining else 200
            request.respond(Response(status, b"" if status == 200 else b"shutting down", b"text/plain"))
            return
        task = asyncio.ensure_future(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.on_gone(partial(_cancel, task))

    async def _answer(self, request: Request) -> None:
        try:
            reply = await self._router.answer(request.body, request.headers)
            if reply.streams:
                await self._stream(request, reply)
                return
            body = await reply.whole(LIMIT_ANSWER_BYTES)
            request.respond(Response(reply.status, body, reply.content_type or b"application/json"))
        except ClientGone:
            return
        except errors.LightshipError as problem:
            _fail(request, problem)
        except Exception as problem:
            _log.exception("a request failed unexpectedly")
            _fail(request, problem)

    async def _stream(self, request: Request, reply: Reply) -> None:
        stream = request.stream(reply.status, reply.content_type or b"application/octet-stream")
        try:
            async for piece in reply.pieces():
                await stream.write(piece)
        except BaseException as problem:
            reply.close()
            stream.abort()
            if isinstance(problem, errors.LightshipError):
                _log.warning("an answer broke off", extra={"reason": str(problem)})
                return
            raise
        stream.end()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def patterns(text: str) -> Sequence[re.Pattern[str]]:
    """The patterns that can be read; upstream goes on without the others, and says so."""
    found = []
    for one in [part.strip() for part in text.split(",") if part.strip()][:LIMIT_PATTERNS]:
        try:
            found.append(re.compile(one, re.IGNORECASE))
        except re.error as problem:
            _log.warning("a pattern of headers cannot be read", extra={"pattern": one, "reason": str(problem)})
    return found


def _fail(request: Request, problem: Exception) -> None:
    if request.answered:
        return
    status = 404 if isinstance(problem, NoRoute) else 504 if isinstance(problem, errors.DeadlineExceeded) else 500
    request.respond(Response(status, msgspec.json.encode({"error": _FAILED, "cause": str(problem)})))
