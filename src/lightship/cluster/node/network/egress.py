"""The way out for Pods, without a change of the host: what they send beyond the cluster comes through a tunnel device.

``hub`` gives me the device. A TCP connection is opened from the host first; only then is its first packet, with other
addresses, given back to the kernel, which ends it at a listener of ours, and ``relay`` moves the bytes. So a Pod's
connection succeeds, is refused or finds nobody as the host's would. UDP datagrams go by a socket of the host each flow.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from dataclasses import dataclass, field

from lightship.cluster.node.inside import network
from lightship.cluster.node.network import packets, shares
from lightship.cluster.node.network.relay import CONNECT_SECONDS, Relay
from lightship.cluster.node.network.services import Flow

PORT = 15001
"""Where the kernel ends the Pods' connections, at the tunnel's own address."""
FIRST_NAT_PORT, LIMIT_FLOWS = 20000, 16384
LIMIT_DATAGRAM_FLOWS = 2048
LIMIT_FLOWS_PER_POD, LIMIT_DATAGRAM_FLOWS_PER_POD = 4096, 256
"""A Pod's, with those that ended not long ago; who wants more is refused, as by a closed port."""
LIMIT_OPENING_PER_POD = 256
"""A Pod's connections that wait for the far side's answer."""
LINGER_SECONDS = 60.0
"""How long an ended connection's last packets still find their way."""
_PACKETS_AT_ONCE = 64
_PACKET_BYTES = 65536

Key = tuple[packets.Address, packets.Address]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Connection:
    key: Key
    nat_port: int = 0
    out: packets.Rewrite | None = None
    back: packets.Rewrite | None = None
    far: socket.socket | None = None
    first: bytearray = field(default_factory=bytearray)


class Egress:
    """All connections and flows of Pods to the world."""

    def __init__(self, device: int, relay: Relay, refusals: shares.Refusals) -> None:
        self._device = device
        self._share = shares.Share("connections out, with those that ended lately", LIMIT_FLOWS_PER_POD, refusals)
        self._opening = shares.Share("connections out that nobody answered yet", LIMIT_OPENING_PER_POD, refusals)
        self._datagram_share = shares.Share("UDP flows out", LIMIT_DATAGRAM_FLOWS_PER_POD, refusals)
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Key, _Connection] = {}
        self._by_port: dict[int, _Connection] = {}
        self._next_port = 0
        self._flows: dict[Key, Flow] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def serve(self, listener: socket.socket) -> None:
        """Begins; ``listener`` listens at the tunnel's address and ``PORT``."""
        self._server = await self._relay.serve(listener, self._open_far, self._source)
        self._loop.add_reader(self._device, self._readable)

    def close(self) -> None:
        """Ends all flows and takes nothing more; connections that are being relayed are the relay's."""
        self._loop.remove_reader(self._device)
        self._server.close()
        for flow in tuple(self._flows.values()):
            flow.close()
        for task in self._tasks:
            task.cancel()

    def _source(self, client: tuple[str, int]) -> str:
        connection = self._by_port.get(client[1])
        return connection.key[0][0] if connection is not None else client[0]

    async def _open_far(self, client: tuple[str, int]) -> socket.socket:
        connection = self._by_port.get(client[1])
        if client[0] != network.TUN_PEER or connection is None or connection.far is None:
            raise ConnectionRefusedError("no connection of a Pod")
        far, connection.far = connection.far, None
        return far

    def _readable(self) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            try:
                packet = bytearray(os.read(self._device, _PACKET_BYTES))
            except BlockingIOError:
                return
            found = packets.head(packet)
            if found is None:
                continue
            if found.protocol == packets.UDP:
                self._datagram(packet, found)
            elif found.target[0] == network.TUN_PEER:
                connection = self._by_port.get(found.target[1])
                if connection is not None and connection.back is not None:
                    connection.back.apply(packet, found.offset)
                    self._write(packet)
            else:
                self._outward(packet, found)

    def _outward(self, packet: bytearray, found: packets.Head) -> None:
        key = (found.source, found.target)
        connection = self._connections.get(key)
        if connection is not None:
            if connection.out is not None:
                connection.out.apply(packet, found.offset)
                self._write(packet)
            return  # else it is being opened, and this is its first packet once more
        if packets.flags(packet, found.offset) & (packets.SYN | packets.ACK) != packets.SYN:
            if not packets.flags(packet, found.offset) & packets.RST:
                self._write(packets.reset(packet, found))
            return
        if len(self._connections) >= LIMIT_FLOWS or not _allowed(found.target[0]):
            self._write(packets.unreachable(packet, found, 0))
            return
        pod = found.source[0]
        if not self._share.take(pod):
            self._write(packets.reset(packet, found))
            return
        if not self._opening.take(pod):
            self._share.give_back(pod)
            self._write(packets.reset(packet, found))
            return
        connection = self._connections[key] = _Connection(key, first=packet)
        task = self._loop.create_task(self._open(connection, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, connection: _Connection, found: packets.Head) -> None:
        far = None
        try:
            far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # which a full table of files refuses
            far.setblocking(False)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.sock_connect(far, found.target)
        except OSError as error:
            if far is not None:
                far.close()
            self._drop(connection)
            if error.errno == errno.ECONNREFUSED:
                self._write(packets.reset(connection.first, found))
            else:
                self._write(packets.unreachable(connection.first, found, 1))
            return
        finally:
            self._opening.give_back(found.source[0])
        connection.far = far
        connection.nat_port = port = self._free_port()
        self._by_port[port] = connection
        inner = ((network.TUN_PEER, port), (network.TUN_ADDRESS, PORT))
        connection.out = packets.Rewrite(connection.key, inner)
        connection.back = packets.Rewrite((inner[1], inner[0]), (found.target, found.source))
        connection.out.apply(connection.first, found.offset)
        self._write(connection.first)
        connection.first = bytearray()
        self._loop.call_later(LINGER_SECONDS, self._watch, connection)

    def _watch(self, connection: _Connection) -> None:
        """Forgets a connection some time after its relay has ended, or was never begun."""
        if self._relay.has_client((network.TUN_PEER, connection.nat_port)):
            self._loop.call_later(LINGER_SECONDS, self._watch, connection)
            return
        self._drop(connection)
        self._by_port.pop(connection.nat_port, None)
        if connection.far is not None:
            connection.far.close()

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.key]
        self._share.give_back(connection.key[0][0])

    def _free_port(self) -> int:
        while True:  # ends: there are as many ports as connections, and this one has none yet
            port = FIRST_NAT_PORT + self._next_port
            self._next_port = (self._next_port + 1) % LIMIT_FLOWS
            if port not in self._by_port:
                return port

    def _datagram(self, packet: bytearray, found: packets.Head) -> None:
        key = (found.source, found.target)
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= LIMIT_DATAGRAM_FLOWS or not _allowed(found.target[0]):
                self._write(packets.unreachable(packet, found, 0))
                return
            if not self._datagram_share.take(found.source[0]):
                self._write(packets.unreachable(packet, found, 3))
                return
            sock = None
            try:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.connect(found.target)
            except OSError:
                if sock is not None:
                    sock.close()
                self._datagram_share.give_back(found.source[0])
                self._write(packets.unreachable(packet, found, 1))
                return
            flow = self._flows[key] = Flow(
                sock, lambda data: self._write(packets.datagram(found.target, found.source, data)),
                lambda: self._forget(key))
        flow.send(packets.payload(packet, found.offset))

    def _forget(self, key: Key) -> None:
        if self._flows.pop(key, None) is not None:
            self._datagram_share.give_back(key[0][0])

    def _write(self, packet: bytes | bytearray) -> None:
        try:
            os.write(self._device, packet)
        except OSError as error:  # as a full wire: who sent it sends again
            _log.debug("a packet was dropped", extra={"cause": str(error)})


def _allowed(ip: str) -> bool:
    """Not the host's own loopback, nor its link, on which clouds serve credentials, and no address that is none."""
    first = int(ip.partition(".")[0])
    return first not in (0, 127) and first < 224 and not ip.startswith("169.254.")
