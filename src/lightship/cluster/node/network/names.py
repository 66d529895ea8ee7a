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

from lightship.cluster.node.network import dns

LIMIT_QUERIES = 512
"""Queries that wait for the host's resolvers at once."""
LIMIT_TCP_CLIENTS = 128
UPSTREAM_SECONDS = 2.0
TCP_IDLE_SECONDS = 10.0
_PORT = 53
_RESOLV_CONF = Path("/etc/resolv.conf")

_log = logging.getLogger(__name__)


def resolvers(text: str) -> list[str]:
    """The name servers of a resolv.conf that are IPv4."""
    words = [line.split() for line in text.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and ":" not in line[1]][:3]


class Names(asyncio.DatagramProtocol):
    """A name server on UDP and TCP."""

    def __init__(self) -> None:
        self.zone = dns.Zone()
        self._transport: asyncio.DatagramTransport
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0

    async def serve(self, datagrams: socket.socket, listener: socket.socket) -> None:
        """Answers on both."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=datagrams)
        await asyncio.start_server(self._client, sock=listener)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        try:
            answer = dns.answer(data, self.zone)
        except ValueError:
            answer = dns.failure(data)
        if answer is not None:
            self._transport.sendto(answer, client)
        elif len(self._tasks) >= LIMIT_QUERIES:
            self._transport.sendto(dns.failure(data), client)
        else:
            task = asyncio.get_running_loop().create_task(self._forward(data, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, query: bytes, client: tuple[str, int]) -> None:
        self._transport.sendto(await _ask_upstream(query), client)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= LIMIT_TCP_CLIENTS:
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    length, = struct.unpack("!H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                try:
                    answer = dns.answer(query, self.zone, limit_bytes=65535)
                except ValueError:
                    answer = dns.failure(query)
                if answer is None:
                    answer = await _ask_upstream(query, tcp=True)
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError) as error:
            _log.debug("a client of the name server went", extra={"cause": str(error)})
        finally:
            self._clients -= 1
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
