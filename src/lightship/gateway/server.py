"""A whole gateway: listens, forwards, drains when told. ``__main__`` runs me; tests run me in their own loop."""

from __future__ import annotations

import asyncio

from lightship import errors as trunk
from lightship.gateway.core import Connection, Core
from lightship.gateway.downstream import Downstream


class Gateway:
    """One port over one ``Core``."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.port = 0
        self._clients: set[Connection] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Bind. Raises ``StateError`` with what to do."""
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Downstream(self.core, self._clients), host, port, backlog=1024)
        except OSError as problem:
            raise trunk.StateError(f"the gateway could not listen on {host}:{port}: {problem.strerror or problem}",
                                   remedy="End what uses the port, or choose another with --gateway-port"
                                   ) from problem
        self.port = self._listener.sockets[0].getsockname()[1]

    async def drain(self) -> None:
        """Stop listening, answer what is in flight, end; at the latest when the limit is over."""
        self.core.draining = True
        if self._listener is not None:
            self._listener.close()
        for client in tuple(self._clients):
            client.drain()
        try:
            await asyncio.wait_for(self.core.empty.wait(), self.core.limits.drain_seconds)
        except TimeoutError:
            for client in tuple(self._clients):
                client.abort()
        await self.core.close()
