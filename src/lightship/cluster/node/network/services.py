"""The Services' addresses as they are served: a listening socket for each port, and a connection to an endpoint.

``hub`` gives me each new table (made by ``tables``); I open and close listeners and hand connections to ``relay``.
Who calls a Service without a ready endpoint finds the port closed, as Kubernetes' own proxy has it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lightship.cluster.node.network import shares
from lightship.cluster.node.network.channel import Channel, ChannelError
from lightship.cluster.node.network.relay import Dialer, Relay

LIMIT_FLOWS = 1024
"""Clients of one UDP port that are remembered at once."""
LIMIT_FLOWS_PER_POD = 256
"""Of a Pod at all UDP ports; what would begin another is dropped."""
FLOW_IDLE_SECONDS = 60.0
LIMIT_AFFINITIES = 4096

Address = tuple[str, int]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Port:
    """One port of one Service, and its ready endpoints."""

    endpoints: list[Address] = field(default_factory=list)
    affinity_seconds: float = 0.0
    _next: int = field(default_factory=lambda: random.randrange(1 << 16))
    _chosen: dict[str, tuple[Address, float]] = field(default_factory=dict)

    def choose(self, client: str, now: float) -> list[Address]:
        """The endpoints to try, the best first: the client's own where it has one, else each in turn."""
        if not self.endpoints:
            return []
        self._next += 1
        start = self._next % len(self.endpoints)
        order = self.endpoints[start:] + self.endpoints[:start]
        if self.affinity_seconds:
            kept, until = self._chosen.get(client, (order[0], 0.0))
            if until > now and kept in order:
                order.remove(kept)
                order.insert(0, kept)
        return order

    def keep(self, client: str, chosen: Address, now: float) -> None:
        if self.affinity_seconds:
            if len(self._chosen) >= LIMIT_AFFINITIES:
                self._chosen.clear()
            self._chosen[client] = (chosen, now + self.affinity_seconds)


class Services:
    """All ports that are served."""

    def __init__(self, maker: Channel, dialer: Dialer, relay: Relay, refusals: shares.Refusals) -> None:
        self._maker = maker
        self._share = shares.Share("UDP flows to Services", LIMIT_FLOWS_PER_POD, refusals)
        self._dialer = dialer
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._ports: dict[tuple[str, int, str], Port] = {}
        self._listeners: dict[tuple[str, int, str], asyncio.Server | asyncio.DatagramTransport] = {}

    async def apply(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Serves these ports and no others."""
        seen = set()
        for entry in wanted:
            for key in _keys(entry):
                seen.add(key)
                port = self._ports.setdefault(key, Port())
                port.endpoints = [(ip, number) for ip, number in entry["endpoints"]]
                port.affinity_seconds = entry["affinity"]
                if port.endpoints and key not in self._listeners:
                    await self._open(key, port)
                elif not port.endpoints:
                    self._close(key)
        for key in set(self._ports) - seen:
            self._close(key)
            del self._ports[key]

    def _close(self, key: tuple[str, int, str]) -> None:
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.close()

    async def _open(self, key: tuple[str, int, str], port: Port) -> None:
        ip, number, protocol = key
        try:
            if protocol == "UDP":
                descriptor, = await self._maker.ask({"bind": [ip, number]})
                transport, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(port, self._dialer, self._share), sock=socket.socket(fileno=descriptor))
                self._listeners[key] = transport
            elif protocol == "TCP":
                self._listeners[key] = await self._relay.serve(await self._listen(ip, number), self._opener(port))
        except (OSError, ChannelError) as error:
            _log.warning("could not serve a Service's port", extra={"address": f"{ip}:{number}", "cause": str(error)})

    async def _listen(self, ip: str, number: int) -> socket.socket:
        if ip.startswith("127."):
            made = socket.create_server((ip, number), backlog=512)
            made.setblocking(False)
            return made
        return socket.socket(fileno=(await self._maker.ask({"listen": [ip, number]}))[0])

    def _opener(self, port: Port) -> Any:
        async def open_far(client: tuple[str, int]) -> socket.socket:
            failure: OSError = ConnectionRefusedError("the Service has no ready endpoint")
            for address in port.choose(client[0], self._loop.time()):
                try:
                    found = await self._dialer.connect(*address)
                except OSError as error:
                    failure = error
                    continue
                port.keep(client[0], address, self._loop.time())
                return found
            raise failure

        return open_far


def _keys(entry: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    keys = [(entry["ip"], entry["port"], entry["protocol"])] if entry["ip"] else []
    if entry["node_port"] and entry["protocol"] == "TCP":
        keys.append(("127.0.0.1", entry["node_port"], "TCP"))
    return keys


class _Datagrams(asyncio.DatagramProtocol):
    """A UDP port: each client has a socket of its own to its endpoint for as long as it speaks."""

    def __init__(self, port: Port, dialer: Dialer, share: shares.Share) -> None:
        self._port = port
        self._share = share
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport
        self._flows: dict[Address, Flow] = {}
        self._opening: dict[Address, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for flow in tuple(self._flows.values()):
            flow.close()

    def datagram_received(self, data: bytes, client: Address) -> None:
        flow = self._flows.get(client)
        if flow is not None:
            flow.send(data)
        elif client not in self._opening and len(self._flows) + len(self._opening) < LIMIT_FLOWS \
                and self._share.take(client[0]):
            self._opening[client] = self._loop.create_task(self._open(client, data))

    def _forget(self, client: Address) -> None:
        if self._flows.pop(client, None) is not None:
            self._share.give_back(client[0])

    async def _open(self, client: Address, data: bytes) -> None:
        try:
            order = self._port.choose(client[0], self._loop.time())
            if not order:
                return
            self._port.keep(client[0], order[0], self._loop.time())
            sock = await self._dialer.datagram_socket()
            sock.connect(order[0])
            flow = self._flows[client] = Flow(sock, lambda answer: self._transport.sendto(answer, client),
                                              lambda: self._forget(client))
            flow.send(data)
        except (OSError, ChannelError) as error:
            _log.debug("could not relay a datagram", extra={"cause": str(error)})
        finally:
            del self._opening[client]
            if client not in self._flows:
                self._share.give_back(client[0])


class Flow:
    """A connected UDP socket: what comes goes to ``sink``; closed when silent for long."""

    def __init__(self, sock: socket.socket, sink: Any, ended: Any) -> None:
        sock.setblocking(False)
        self._socket, self._sink, self._ended = sock, sink, ended
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(FLOW_IDLE_SECONDS, self._look)
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            self._socket.send(data)
        except OSError as error:  # a datagram may be lost
            _log.debug("a datagram was lost", extra={"cause": str(error)})

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._ended()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._heard = self._loop.time()
        self._sink(data)

    def _look(self) -> None:
        left = self._heard + FLOW_IDLE_SECONDS - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._look)
