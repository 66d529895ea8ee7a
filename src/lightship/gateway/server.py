"""A whole gateway: listens, forwards, drains when told. ``__main__`` runs me; tests run me in their own loop."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from lightship import errors as trunk
from lightship.gateway.core import Connection, Core
from lightship.gateway.downstream import Downstream
from lightship.gateway.routes import Table

_log = logging.getLogger(__name__)


class Gateway:
    """One port over one ``Core``."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.port = 0
        self._clients: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._host = ""
        self._ports: dict[int, asyncio.Server] = {}
        self._opening: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> None:
        """Bind. Raises ``StateError`` with what to do."""
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Downstream(self.core, self._clients), host, port, backlog=1024)
        except OSError as problem:
            raise trunk.StateError(f"the gateway could not listen on {host}:{port}: {problem.strerror or problem}",
                                   remedy="End what uses the port, or choose another with --gateway-port"
                                   ) from problem
        self._host = host
        self.core.on_swap = self._swapped
        self.port = self._listener.sockets[0].getsockname()[1]

    def _swapped(self, table: Table) -> None:
        """Listen where services have ports of their own, and no more where they had."""
        wanted = table.ports()
        for port in [port for port in self._ports if port not in wanted]:
            self._ports.pop(port).close()
        if not wanted <= self._ports.keys() and (self._opening is None or self._opening.done()):
            self._opening = self.core.spawn(self._open_ports())

    async def _open_ports(self) -> None:
        refused: set[int] = set()
        while missing := sorted(self.core.table.ports() - self._ports.keys() - refused):
            port = missing[0]
            try:
                if port not in self.core.limits.grpc_ports:
                    raise PermissionError("it is outside of the gateway's range (--grpc-ports)")
                self._ports[port] = await asyncio.get_running_loop().create_server(
                    partial(Downstream, self.core, self._clients, port), self._host, port, backlog=1024)
            except OSError as problem:
                refused.add(port)
                _log.warning("a service's own port cannot be listened on", extra={
                    "port": port, "problem": problem.strerror or str(problem)})

    async def drain(self) -> None:
        """Stop listening, answer what is in flight, end; at the latest when the limit is over."""
        self.core.draining = True
        for listener in (self._listener, *self._ports.values()):
            if listener is not None:
                listener.close()
        for client in tuple(self._clients):
            client.drain()
        try:
            await asyncio.wait_for(self.core.empty.wait(), self.core.limits.drain_seconds)
        except TimeoutError:
            for client in tuple(self._clients):
                client.abort()
        await self.core.close()
