"""The way out for Pods: what one Pod is given and refused. A pair of sockets stands for the tunnel device."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lightship.cluster.node.network import egress, packets, relay, shares

ONE, OTHER = "10.244.0.2", "10.244.0.3"


def syn(source: str, port: int) -> bytes:
    body = struct.pack("!HHIIBBHHH", port, 443, 1, 0, 0x50, packets.SYN, 1000, 0, 0)
    return _ip(packets.TCP, source, body)


def _ip(protocol: int, source: str, body: bytes) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton("192.0.2.1")) + body


class Tunnel:
    def __init__(self) -> None:
        self.refusals = shares.Refusals()
        self._wire, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (self._wire, self._device):
            each.setblocking(False)
        self._egress: egress.Egress

    async def start(self) -> None:
        self._egress = egress.Egress(self._device.fileno(), relay.Relay(self.refusals), self.refusals)
        await self._egress.serve(socket.create_server(("127.0.0.1", 0)))

    def send(self, *sent: bytes) -> None:
        for packet in sent:
            os.write(self._wire.fileno(), packet)

    async def receive(self) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self._wire, 65536)

    def close(self) -> None:
        self._egress.close()
        self._wire.close()
        self._device.close()


@pytest.fixture
async def tunnel(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tunnel]:
    monkeypatch.setattr(egress, "LIMIT_OPENING_PER_POD", 3)
    monkeypatch.setattr(egress, "LIMIT_DATAGRAM_FLOWS_PER_POD", 3)
    made = Tunnel()
    await made.start()
    yield made
    made.close()


async def test_a_pod_whose_connections_nobody_answers_is_refused_more_and_others_are_not(
        tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        opened.append(address)
        await asyncio.shield(answered)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    tunnel.send(*(syn(ONE, 1000 + number) for number in range(3)), syn(ONE, 1000), syn(ONE, 2000))
    packet = await tunnel.receive()
    found = packets.head(packet)
    assert found is not None and found.target == (ONE, 2000)
    assert packets.flags(packet, found.offset) & packets.RST
    assert tunnel.refusals.count(ONE, "connections out that nobody answered yet") == 1
    tunnel.send(syn(OTHER, 1000))
    answered.set_exception(ConnectionRefusedError(111, "refused"))
    resets = [packets.head(await tunnel.receive()) for _ in range(4)]
    assert {found.target for found in resets if found} == {(ONE, 1000), (ONE, 1001), (ONE, 1002), (OTHER, 1000)}
    assert len(opened) == 4
    tunnel.send(syn(ONE, 2000))  # there is room again
    again = packets.head(await tunnel.receive())
    assert again is not None and again.target == (ONE, 2000) and len(opened) == 5


async def test_a_pod_that_sends_datagrams_everywhere_is_refused_more_and_others_are_not(tunnel: Tunnel) -> None:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
    except OSError:
        pytest.skip("this machine has no way out")
    finally:
        probe.close()
    sent = [_ip(packets.UDP, ONE, struct.pack("!HHHH", 1000 + number, 9, 9, 0) + b"x") for number in range(4)]
    tunnel.send(*sent, _ip(packets.UDP, OTHER, struct.pack("!HHHH", 1000, 9, 9, 0) + b"x"))
    refused = await tunnel.receive()
    assert refused[9] == packets.ICMP and refused[20:22] == b"\3\3" and refused[16:20] == socket.inet_aton(ONE)
    assert refused[48:50] == struct.pack("!H", 1003)
    assert tunnel.refusals.count(ONE, "UDP flows out") == 1
    assert tunnel.refusals.count(OTHER, "UDP flows out") == 0
