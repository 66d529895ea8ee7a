"""The Pods' name server: cluster names from the table, all others from the host's own resolvers.

``hub`` starts me on sockets of the Pods' network and gives me each new zone; ``dns`` knows the messages.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from pathlib import Path
from typing import cast

from lightship.cluster.node.network import dns, shares
from lightship.cluster.node.network.shutter import Shutter

LIMIT_QUERIES = 512
"""Queries that wait for the host's resolvers at once."""
LIMIT_QUERIES_PER_POD = 128
"""Those of one Pod, which beyond it are answered with SERVFAIL."""
LIMIT_QUERIES_PER_POD_AND_SECOND = 1000
"""Beyond it a Pod's queries are answered with SERVFAIL, and soon not heard (``shutter``)."""
LIMIT_TCP_CLIENTS = 128
LIMIT_TCP_CLIENTS_PER_POD = 16
UPSTREAM_SECONDS = 2.0
TCP_IDLE_SECONDS = 10.0
_PORT = 53
_LIMIT_TCP_BYTES = 65535
_RESOLV_CONF = Path("/etc/resolv.conf")

_log = logging.getLogger(__name__)


def resolvers(text: str) -> list[str]:
    """The name servers of a resolv.conf that are IPv4."""
    words = [line.split() for line in text.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and ":" not in line[1]][:3]


class Names(asyncio.DatagramProtocol):
    """A name server on UDP and TCP."""

    def __init__(self, refusals: shares.Refusals) -> None:
        self.zone = dns.Zone()
        self._rate = shares.Rate("DNS queries a second", LIMIT_QUERIES_PER_POD_AND_SECOND, refusals)
        self._waiting = shares.Share("DNS queries that wait for the host's resolvers", LIMIT_QUERIES_PER_POD, refusals)
        self._connected = shares.Share("DNS clients over TCP", LIMIT_TCP_CLIENTS_PER_POD, refusals)
        self._transport: asyncio.DatagramTransport
        self._server: asyncio.Server
        self._shutter: Shutter
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0

    async def serve(self, datagrams: socket.socket, listener: socket.socket) -> None:
        """Answers on both."""
        loop = asyncio.get_running_loop()
        self._shutter = Shutter(datagrams)
        await loop.create_datagram_endpoint(lambda: self, sock=datagrams)
        self._server = await asyncio.start_server(self._client, sock=listener)

    async def close(self) -> None:
        """Answers no more."""
        self._shutter.close()
        self._transport.close()
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        answer = self._own(data, client[0], dns.LIMIT_UDP_BYTES)
        if answer is not None:
            self._transport.sendto(answer, client)
        elif len(self._tasks) >= LIMIT_QUERIES or not self._waiting.take(client[0]):
            self._shutter.refused(client[0])
            self._transport.sendto(dns.failure(data), client)
        else:
            task = asyncio.get_running_loop().create_task(self._forward(data, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _own(self, query: bytes, source: str, limit_bytes: int) -> bytes | None:
        """The answer that needs nobody else, or None."""
        if not self._rate.take(source, asyncio.get_running_loop().time()):
            self._shutter.refused(source)
            return dns.failure(query)
        try:
            return dns.answer(query, self.zone, limit_bytes)
        except ValueError:
            return dns.failure(query)

    async def _forward(self, query: bytes, client: tuple[str, int]) -> None:
        try:
            self._transport.sendto(await self._resolve(query, dns.LIMIT_UDP_BYTES), client)
        finally:
            self._waiting.give_back(client[0])

    async def _resolve(self, query: bytes, limit_bytes: int) -> bytes:
        """What the host's resolvers say: to the query, or of the name elsewhere that one of ours stands for."""
        tcp = limit_bytes > dns.LIMIT_UDP_BYTES
        outside = dns.outside(query, self.zone)
        if not outside:
            return await _ask_upstream(query, tcp=tcp)
        found = await _ask_upstream(dns.query_for(query, outside), tcp=tcp)
        return dns.answer_with(query, self.zone, found, limit_bytes)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = writer.get_extra_info("peername")[0]
        if self._clients >= LIMIT_TCP_CLIENTS or not self._connected.take(source):
            writer.close()
            return
        self._clients += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    length, = struct.unpack("!H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                answer = self._own(query, source, _LIMIT_TCP_BYTES)
                if answer is None:
                    answer = await self._resolve(query, _LIMIT_TCP_BYTES)
                writer.write(struct.pack("!H", len(answer)) + answer)
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    await writer.drain()  # a client that asks and never reads goes, too
        except (OSError, asyncio.IncompleteReadError) as error:
            if isinstance(error, TimeoutError):
                writer.transport.abort()  # what it does not read is not waited for
            _log.debug("a client of the name server went", extra={"cause": str(error)})
        finally:
            self._clients -= 1
            self._connected.give_back(source)
            writer.close()


async def _ask_upstream(query: bytes, *, tcp: bool = False) -> bytes:
    """The first answer that one of the host's resolvers gives, or a failure."""
    for server in _host_resolvers():
        try:
            async with asyncio.timeout(UPSTREAM_SECONDS):
                return await (_ask_tcp if tcp else _ask_udp)(query, server)
        except (OSError, asyncio.IncompleteReadError) as error:
            _log.debug("a resolver did not answer", extra={"server": server, "cause": str(error)})
    return dns.failure(query)


def _host_resolvers() -> list[str]:
    try:
        return resolvers(_RESOLV_CONF.read_text(encoding="latin-1"))
    except OSError:
        return []


async def _ask_udp(query: bytes, server: str) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server, _PORT))
        await loop.sock_sendall(sock, query)
        while True:
            answer = await loop.sock_recv(sock, 65536)
            if answer[:2] == query[:2]:
                return answer


async def _ask_tcp(query: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(server, _PORT)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        length, = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()
