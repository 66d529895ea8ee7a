"""Connections of HTTP/2 to model servers, shared by the calls of all clients. ``grpc_calls`` asks me for one."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from pathlib import Path

from lightship.gateway import pod_sockets
from lightship.gateway.h2_link import Link
from lightship.gateway.options import Limits
from lightship.gateway.routes import Endpoint
from lightship.lib.deadline import Deadline


class Links:
    """Open connections by endpoint."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.pod_sockets: Path | None = None
        self._open: dict[Endpoint, list[_UpLink]] = {}
        self._making: dict[Endpoint, asyncio.Task[None]] = {}

    async def take(self, endpoint: Endpoint) -> Link:
        """A connection with room for one more call. Raises ``OSError``."""
        while True:
            for link in self._open.get(endpoint, ()):
                if link.has_room:
                    link.idle.clear()
                    return link
            making = self._making.get(endpoint)
            if making is None:
                making = self._making[endpoint] = asyncio.ensure_future(self._connect(endpoint))
                making.add_done_callback(lambda _: self._making.pop(endpoint, None))
            await asyncio.shield(making)

    def keep(self, endpoints: Set[Endpoint]) -> None:
        """Take no more calls to all other endpoints; those under way end where they began."""
        for endpoint in [endpoint for endpoint in self._open if endpoint not in endpoints]:
            for link in self._open.pop(endpoint):
                link.go_away()

    def close(self) -> None:
        """Give up all of them."""
        links, self._open = self._open, {}
        for link in [link for each in links.values() for link in each]:
            link.abort()

    async def _connect(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        link = _UpLink(self._limits.idle_upstream_seconds, loop)
        async with asyncio.timeout(self._limits.connect_seconds):
            made = await pod_sockets.connect(self.pod_sockets, endpoint.host, endpoint.port)
            if made is None:
                await loop.create_connection(lambda: link, endpoint.host, endpoint.port)
            else:
                await loop.create_connection(lambda: link, sock=made)
        self._open[endpoint] = [*(one for one in self._open.get(endpoint, ()) if not one.lost), link]


class _UpLink(Link):
    """A connection that ends when it has been idle for long."""

    def __init__(self, idle_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, self._gone)
        self._idle_seconds = idle_seconds
        self.idle = Deadline(loop, self.go_away)

    def _rest(self) -> None:
        super()._rest()
        if not len(self) and not self.lost:
            self.idle.set(self._idle_seconds)

    def _gone(self) -> None:
        self.idle.close()
