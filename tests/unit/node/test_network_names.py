"""The name server on real sockets: hostile clients, and others meanwhile."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from lightship.cluster.node.network import dns, names, shares, shutter

NAME = "web.ns.svc.cluster.local"


def query(name: str = NAME, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def code(answer: bytes) -> int:
    return answer[3] & 15


class Server:
    def __init__(self) -> None:
        self.refusals = shares.Refusals()
        self.names = names.Names(self.refusals)
        self.names.zone = dns.Zone(records={NAME: {"a": ["10.96.1.1"]}})
        self.address = ("", 0)

    async def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(self.address)
        await self.names.serve(datagrams, listener)

    async def tcp(self, *messages: bytes, source: str = "127.0.0.1") -> list[bytes]:
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(source, 0))
        answers = []
        for message in messages:
            writer.write(struct.pack("!H", len(message)) + message)
            length, = struct.unpack("!H", await reader.readexactly(2))
            answers.append(await reader.readexactly(length))
        writer.close()
        return answers

    def udp(self, source: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind((source, 0))
        made.connect(self.address)
        return made


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.names.close()


async def test_messages_of_every_size_are_answered(server: Server) -> None:
    answers = await server.tcp(query(), b"", b"\0" * 11, b"\xff" * 65535, query() + b"\0" * 65000, query())
    assert [code(answer) for answer in answers] == [0, 1, 1, 1, 0, 0]


async def test_clients_that_send_half_a_message_go_and_take_no_others_place(
        server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "TCP_IDLE_SECONDS", 0.5)
    half_open = [await asyncio.open_connection(*server.address) for _ in range(names.LIMIT_TCP_CLIENTS_PER_POD)]
    for _, writer in half_open:
        writer.write(b"\xff")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await server.tcp(query())
    assert server.refusals.count("127.0.0.1", "DNS clients over TCP") == 1
    assert code((await server.tcp(query(), source="127.0.0.2"))[0]) == 0
    for reader, writer in half_open:
        assert await reader.read() == b""
        writer.close()
    assert code((await server.tcp(query()))[0]) == 0


async def test_a_client_that_never_reads_goes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "TCP_IDLE_SECONDS", 0.5)
    server.names.zone = dns.Zone(records={NAME: {"a": [f"10.1.{n // 250}.{n % 250}" for n in range(1000)]}})
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, server.address)
    message = struct.pack("!H", len(query())) + query()
    with pytest.raises(ConnectionError):
        for _ in range(100_000):
            await loop.sock_sendall(client, message * 100)
    client.close()


async def test_who_floods_is_refused_then_not_heard_and_another_is_answered(server: Server) -> None:
    loop = asyncio.get_running_loop()
    flood, other = server.udp("127.0.0.1"), server.udp("127.0.0.2")
    codes = []
    with pytest.raises(TimeoutError):
        for number in range(60_000):
            flood.send(query(number=number))
            async with asyncio.timeout(0.3):
                codes.append(code(await loop.sock_recv(flood, 600)))
    assert codes[:100] == [0] * 100
    assert codes.count(2) >= shutter.LIMIT_REFUSALS
    assert server.refusals.count("127.0.0.1", "DNS queries a second") == codes.count(2)
    other.send(query())
    assert code(await loop.sock_recv(other, 600)) == 0
    async with asyncio.timeout(30):
        while True:  # it is heard again when it has been silent
            flood.send(query())
            try:
                async with asyncio.timeout(0.3):
                    assert code(await loop.sock_recv(flood, 600)) == 0
                    break
            except TimeoutError:
                continue
    flood.close()
    other.close()


async def test_who_waits_for_the_hosts_resolvers_leaves_room_for_others(
        server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, reply = [], asyncio.Event()

    async def ask(message: bytes, *, tcp: bool = False) -> bytes:
        asked.append(message)
        await reply.wait()
        return dns.failure(message, 3)

    monkeypatch.setattr(names, "_ask_upstream", ask)
    loop = asyncio.get_running_loop()
    flood, other = server.udp("127.0.0.1"), server.udp("127.0.0.2")
    for number in range(names.LIMIT_QUERIES_PER_POD):
        flood.send(query("example.org", number))
    flood.send(query("example.org", 999))
    answer = await loop.sock_recv(flood, 600)
    assert (answer[:2], code(answer)) == (struct.pack("!H", 999), 2)
    other.send(query("example.org"))
    other.send(query(number=8))
    assert (await loop.sock_recv(other, 600))[1] == 8
    reply.set()
    assert code(await loop.sock_recv(other, 600)) == 3
    assert code(await loop.sock_recv(flood, 600)) == 3
    assert len(asked) == names.LIMIT_QUERIES_PER_POD + 1
    flood.close()
    other.close()
