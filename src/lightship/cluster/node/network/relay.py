"""Bytes from one connection to another, both ways, with back-pressure and half-closing; and what opens the far side.

``services``, ``egress`` and ``hub`` use me in the hub's process. A ``Dialer`` opens connections: into the Pods' network
by sockets that the maker made there, to anywhere else by the host's own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from lightship import errors
from lightship.cluster.node.network import shares
from lightship.cluster.node.network.channel import Channel

LIMIT_CONNECTIONS = 4096
"""Relayed connections of one node; beyond it a new one is reset."""
LIMIT_CONNECTIONS_PER_POD = 1024
"""Those that one Pod opened, through Services, to the platform and to the world; beyond it a new one is reset."""
CONNECT_SECONDS = 10.0
SOCKETS_AHEAD = 16
"""Sockets of the Pods' network that are kept ready."""
BUFFER_BYTES = 1024 * 1024

POD_PREFIX = "10.244."

_log = logging.getLogger(__name__)

Open = Callable[[tuple[str, int]], Awaitable[socket.socket]]
"""Opens the far side for a client of this address and port; raises ``OSError``."""
Source = Callable[[tuple[str, int]], str]
"""Whose connection one from this address and port is, as ``shares`` counts."""
_RESET = struct.pack("ii", 1, 0)


class Dialer:
    """Opens connections on behalf of Pods and of the node."""

    def __init__(self, maker: Channel) -> None:
        self._maker = maker
        self._ready: deque[int] = deque()
        self._loop = asyncio.get_running_loop()

    async def connect(self, ip: str, port: int) -> socket.socket:
        """A connected, non-blocking socket. Raises ``OSError`` (``TimeoutError`` is one)."""
        if ip.startswith(POD_PREFIX):
            made = socket.socket(fileno=await self.pod_socket())
        else:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.sock_connect(made, (ip, port))
        except BaseException:
            made.close()
            raise
        return made

    async def pod_socket(self) -> int:
        """An unconnected TCP socket of the Pods' network, the caller's to close."""
        if not self._ready:
            self._ready.extend(await self._maker.ask({"sockets": "tcp", "count": SOCKETS_AHEAD}))
        return self._ready.popleft()

    async def datagram_socket(self) -> socket.socket:
        """An unconnected UDP socket of the Pods' network."""
        return socket.socket(fileno=(await self._maker.ask({"sockets": "udp", "count": 1}))[0])


def by_address(client: tuple[str, int]) -> str:
    """A Pod's connections bear its address."""
    return shares.HOST if client[0].startswith("127.") else client[0]


class _Side(asyncio.Protocol):
    """One side of a relayed connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.held: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self.held.append(data)  # reading is paused until the far side is there; this is what came before that
        else:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.write_eof()
            if self.other._ended:
                self.other.transport.close()
                assert self.transport is not None
                self.transport.close()
        return True

    def pair(self, other: _Side) -> None:
        """Both sides are there: what was held flows on."""
        self.other, other.other = other, self
        assert other.transport is not None
        for data in self.held:
            other.transport.write(data)
        self.held.clear()
        if self._ended:
            other.transport.write_eof()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other = self.other, None
        if other is None or other.transport is None:
            return
        if exc is None:
            other.transport.close()
        else:
            other.transport.abort()


class _Near(_Side):
    """The side that called."""

    def __init__(self, relay: Relay, open_far: Open, source: Source) -> None:
        super().__init__()
        self._relay = relay
        self._open_far = open_far
        self._source = source

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.begin(self, self._open_far, self._source(transport.get_extra_info("peername")))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._relay.end(self)


class Relay:
    """All relayed connections of a hub."""

    def __init__(self, refusals: shares.Refusals) -> None:
        self._near: dict[_Near, asyncio.Task[None] | None] = {}
        self._sources: dict[_Near, str] = {}
        self._share = shares.Share("connections", LIMIT_CONNECTIONS_PER_POD, refusals)
        self._clients: set[tuple[str, int]] = set()
        self._loop = asyncio.get_running_loop()

    async def serve(self, listener: socket.socket, open_far: Open, source: Source = by_address) -> asyncio.Server:
        """Relays what connects to ``listener``, which is the server's from now on."""
        return await self._loop.create_server(lambda: _Near(self, open_far, source), sock=listener, backlog=512)

    def has_client(self, address: tuple[str, int]) -> bool:
        """Whether a connection from there is being relayed."""
        return address in self._clients

    def begin(self, near: _Near, open_far: Open, source: str) -> None:
        assert near.transport is not None
        if len(self._near) >= LIMIT_CONNECTIONS or not self._share.take(source):
            _reset(near.transport)
            return
        self._sources[near] = source
        near.transport.pause_reading()
        self._clients.add(near.transport.get_extra_info("peername"))
        self._near[near] = self._loop.create_task(self._connect(near, open_far), name="relay")

    def end(self, near: _Near) -> None:
        assert near.transport is not None
        self._clients.discard(near.transport.get_extra_info("peername"))
        task = self._near.pop(near, None)
        source = self._sources.pop(near, None)
        if source is not None:
            self._share.give_back(source)
        if task is not None:
            task.cancel()

    async def _connect(self, near: _Near, open_far: Open) -> None:
        assert near.transport is not None
        client = near.transport.get_extra_info("peername")
        try:
            far_socket = await open_far(client)
        except (OSError, errors.LightshipError) as error:
            _log.debug("could not relay a connection", extra={"client": str(client), "cause": str(error)})
            _reset(near.transport)
            return
        far = _Side()
        await self._loop.create_connection(lambda: far, sock=far_socket)
        self._near[near] = None
        near.pair(far)
        near.transport.resume_reading()


def _reset(transport: asyncio.Transport) -> None:
    """Ends a connection as a port that nobody serves would."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
