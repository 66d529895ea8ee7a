"""Clients that have come and not yet said who they are, and who gives way when all places are taken.

``listener`` makes a ``Door``. Connections are accepted and their handshakes done here rather than by the loop's own
server, which keeps no account of them: one that never ends is counted, and can give way like any other connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Protocol

from lightship.lib import tasks

HANDSHAKE_SECONDS = 10.0
BACKLOG = 1024
PAUSE_SECONDS = 0.5
"""How long nobody is accepted after the system had nothing left to accept with, as the loop's own server does."""
SHED_SHARE = 16
"""One in so many of all places is freed at once, so that not each arrival looks at all others."""

_log = logging.getLogger(__name__)


class Held(Protocol):
    """A connection that takes up a place."""

    @property
    def proven(self) -> bool:
        """Whether its client has shown who it is."""
        ...

    @property
    def waiting_since(self) -> float:
        """When it began to wait for its client; 0 while it is busy."""
        ...

    def abort(self) -> None: ...


def giving_way(held: Iterable[Held], limit: int) -> list[Held]:
    """Which connections end so that others find a place: idle ones, of strangers first, the oldest first."""
    idle = sorted((one for one in held if one.waiting_since), key=lambda one: (one.proven, one.waiting_since))
    strangers = sum(not one.proven for one in idle)
    share = max(limit // SHED_SHARE, 1)
    return idle[:min(share, strangers) or share]


class Arrival:
    """A client whose handshake is under way."""

    proven = False

    def __init__(self, now: float) -> None:
        self.waiting_since = now
        self.task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Door:
    """Accepts clients while ``has_room`` (which may make some) and gives each a connection of ``make``."""

    def __init__(self, context: ssl.SSLContext | None, make: Callable[[], asyncio.Protocol],
                 has_room: Callable[[], bool]) -> None:
        self.arriving: set[Arrival] = set()
        self._context, self._make, self._has_room = context, make, has_room
        self._listening: socket.socket | None = None
        self._tasks = tasks.Tasks("arriving clients")

    def open(self, host: str, port: int, bound: socket.socket | None) -> int:
        """Listen; the port. Raises ``OSError`` where that cannot be had."""
        if bound is None:
            bound = socket.create_server((host, port), backlog=BACKLOG,
                                         family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        else:
            bound.listen(BACKLOG)
        bound.setblocking(False)
        self._listening = bound
        self._tasks.spawn(self._accept(bound))
        return int(bound.getsockname()[1])

    async def close(self) -> None:
        """Take no more clients, and let go of those whose handshake is under way."""
        await self._tasks.close()
        if self._listening is not None:
            self._listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("no connection could be accepted", extra={"cause": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not self._has_room():
                client.close()
                continue
            arrival = Arrival(loop.time())
            self.arriving.add(arrival)
            arrival.task = self._tasks.spawn(self._welcome(arrival, client))

    async def _welcome(self, arrival: Arrival, client: socket.socket) -> None:
        """The handshake; at its end the connection is told of its transport, and is counted itself."""
        loop = asyncio.get_running_loop()
        limit = HANDSHAKE_SECONDS if self._context is not None else None
        try:
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(self._make, client, ssl=self._context, ssl_handshake_timeout=limit)
        except (OSError, ssl.SSLError) as error:
            _log.debug("a client came to nothing", extra={"cause": str(error)})  # it spoke no TLS, or has left
        finally:
            self.arriving.discard(arrival)
