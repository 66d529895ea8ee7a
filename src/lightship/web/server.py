"""Serves an application on a port until it is told to stop. ``app`` calls me; I call uvicorn, imported late.

The socket is bound before anything else, so that a port in use is one clear error and port 0 is known at once.
Requests are parsed by h11: it is slower than httptools, and it alone bounds the headers of who has not said who he is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightship import errors

STOP_LIMIT_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
CONNECTIONS_LIMIT = 1000
HEADERS_LIMIT_BYTES = 64 * 1024


def bind(host: str, port: int, setting: str = "--port") -> socket.socket:
    """A listening socket. Raises ``errors.StateError`` naming the port and the setting that changes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio sends small writes at once (TCP_NODELAY) only on sockets that say so, and an answer that is
    # written in two pieces else waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        why = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise errors.StateError(f"port {port} of {host} {why}",
                                remedy=f"Stop what uses it, or choose another with {setting} (0 takes any free one)"
                                ) from error
    listener.setblocking(False)
    return listener


class Server:
    """One HTTP server on one socket: ``await start()``, then ``await stop()``."""

    def __init__(self, app: ASGIApp, listener: socket.socket, *, closing: Callable[[], None] = lambda: None) -> None:
        """``closing`` is called when a stop begins: it ends what would go on for ever, such as event streams."""
        self._closing = closing
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self._started, self._ending = asyncio.Event(), asyncio.Event()
        self._server = _uvicorn(_dated(app), self._started, self._ending)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="rest-server")
        waiting = asyncio.create_task(self._started.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            waiting.cancel()
            await self._task

    async def stop(self) -> None:
        """Takes no more requests, lets the running ones end within a limit, and closes the socket."""
        if self._task is not None:
            self._closing()
            self._ending.set()
            await self._task
        self._listener.close()


def _uvicorn(app: ASGIApp, started: asyncio.Event, ending: asyncio.Event) -> Any:
    import uvicorn

    class Quiet(uvicorn.Server):
        """uvicorn without its own signal handlers (the process belongs to ``app``), and without its ten looks a
        second at the time and at whether it is to end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            started.set()

        async def main_loop(self) -> None:
            await ending.wait()
            self.should_exit = True

    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_LIMIT_SECONDS, limit_concurrency=CONNECTIONS_LIMIT,
        h11_max_incomplete_event_size=HEADERS_LIMIT_BYTES)
    config.load()  # now, while there may be something to wait for, and not when it is to answer
    return Quiet(config)


def _dated(app: ASGIApp) -> ASGIApp:
    """``app``, whose answers say when they were made; uvicorn would keep a clock for it."""

    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                now = formatdate(usegmt=True).encode()
                message["headers"] = [(b"date", now), *message.get("headers", ())]
            await send(message)

        await app(scope, receive, stamped)

    return dated
