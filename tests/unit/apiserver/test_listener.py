"""The listener on the wire: what only a socket can show."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship import errors
from lightship.client.transport import Duplex, Request, Response
from lightship.cluster.apiserver import listener as listeners
from lightship.cluster.apiserver.listener import Address, Listener, tls
from lightship.testing.embedded import EmbeddedApi

GET = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"


class Handler:
    """Answers with the request's line and body; ``/slow`` waits for ``gate``, ``/stream`` counts for ever."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0

    async def handle(self, request: Request) -> Response:
        if request.path == "/slow":
            self.started.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.path == "/stream":
            return Response(status=200, body=self._count())
        if request.path == "/broken":
            return Response(status=200, body=self._break())
        text = f"{request.method} {request.path}?{request.query} {len(request.body)}"
        return Response(status=200, headers={"content-type": "text/plain"}, body=text.encode())

    async def _count(self) -> AsyncIterator[bytes]:
        self.started.set()
        try:
            while True:
                self.sent += 1
                yield b"x" * 1000 + b"\n"
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()

    async def _break(self) -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("in the middle")


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def port(handler: Handler) -> AsyncIterator[int]:
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    yield listener.port
    await listener.stop(drain_seconds=0.2)


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()
        first, *rest = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)


@pytest.fixture
async def wire(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Wire(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order(wire: Wire, handler: Handler) -> None:
    wire.send(GET % b"/slow" + b"".join(GET % b"/%d" % n for n in range(40)))
    handler.gate.set()
    paths = [(await wire.answer())[2].split()[1] for _ in range(41)]
    assert paths == [b"/slow?"] + [b"/%d?" % n for n in range(40)]


async def test_a_body_in_pieces_and_in_chunks(wire: Wire) -> None:
    wire.send(b"POST /a?b=c HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc")
    await asyncio.sleep(0.01)
    wire.send(b"def")
    assert (await wire.answer())[2] == b"POST /a?b=c 6"
    wire.send(b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await wire.answer())[2] == b"POST /a? 5"


async def test_expect_100_continue(wire: Wire) -> None:
    wire.send(b"PUT /a HTTP/1.1\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n")
    assert (await wire.answer())[0] == 100
    wire.send(b"x")
    assert (await wire.answer())[2] == b"PUT /a? 1"


@pytest.mark.parametrize(("data", "status"), [
    (b"nonsense\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00", 400),
    (b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 413),
    (b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"z" * 0x100000 + b"\r\n") * 4, 413),
    (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
])
async def test_what_is_not_a_request_gets_a_status_and_is_hung_up_on(wire: Wire, data: bytes, status: int) -> None:
    wire.send(data)
    code, headers, body = await wire.answer()
    assert (code, headers["content-type"], headers["connection"]) == (status, "application/json", "close")
    assert b'"kind":"Status"' in body
    with contextlib.suppress(ConnectionError):
        assert await wire.end() == b""


async def test_a_client_that_goes_away_cancels_its_request(wire: Wire, handler: Handler) -> None:
    wire.send(GET % b"/slow")
    await handler.started.wait()
    wire.writer.transport.abort()
    await asyncio.wait_for(handler.cancelled.wait(), 5)


async def test_a_slow_reader_holds_its_stream_and_leaving_ends_it(wire: Wire, handler: Handler) -> None:
    wire.send(GET % b"/stream")
    await handler.started.wait()
    before = -1
    while handler.sent != before:  # until the buffers are full
        before = handler.sent
        await asyncio.sleep(0.1)
    assert handler.sent < 20_000
    wire.writer.transport.abort()
    await asyncio.wait_for(handler.cancelled.wait(), 5)


async def test_a_stream_that_fails_is_cut(wire: Wire) -> None:
    wire.send(GET % b"/broken")
    with contextlib.suppress(ConnectionError):
        assert not (await wire.end()).endswith(b"0\r\n\r\n")


async def test_connection_close_is_kept(wire: Wire) -> None:
    wire.send(b"GET /a HTTP/1.1\r\nconnection: close\r\n\r\n")
    code, headers, _ = await wire.answer()
    assert (code, headers["connection"]) == (200, "close")
    assert await wire.end() == b""


async def test_stopping_ends_streams_whole_and_lets_requests_finish(handler: Handler) -> None:
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    streams, slow, idle = [Wire(*await asyncio.open_connection("127.0.0.1", listener.port)) for _ in range(3)]
    idle.send(GET % b"/a")
    await idle.answer()
    streams.send(GET % b"/stream")
    await handler.started.wait()
    handler.started.clear()
    slow.send(GET % b"/slow")
    await handler.started.wait()
    reading = asyncio.create_task(streams.end())
    stopping = asyncio.create_task(listener.stop())
    assert (await reading).endswith(b"0\r\n\r\n")
    assert await idle.end() == b""
    handler.gate.set()
    assert (await slow.answer())[0] == 200
    await stopping
    for wire in (streams, slow, idle):
        wire.writer.close()


async def test_a_taken_port_is_said_so() -> None:
    handler = Handler()
    first = Listener(handler.handle, Address(), None)
    await first.start()
    with pytest.raises(errors.Unavailable, match=str(first.port)) as caught:
        await Listener(handler.handle, Address(port=first.port), None).start()
    assert "port" in caught.value.remedy
    await first.stop()


async def test_one_more_than_all_busy_ones_is_refused(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "LIMIT_CONNECTIONS", 1)
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    first = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
    first.send(GET % b"/slow")
    await handler.started.wait()
    second = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
    with contextlib.suppress(ConnectionError):
        assert await second.end() == b""
    handler.gate.set()
    assert (await first.answer())[0] == 200
    for wire in (first, second):
        wire.writer.close()
    await listener.stop()


@pytest.mark.parametrize("said", [b"", GET % b"/a", b"GET /a HTTP/1.1\r\n"])
async def test_a_flood_of_strangers_gives_way_and_no_known_client_does(
        handler: Handler, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(listeners, "LIMIT_CONNECTIONS", 16)
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    known = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
    asked = b"GET /a HTTP/1.1\r\nauthorization: Bearer x\r\n\r\n"
    known.send(asked)
    await known.answer()
    flood = []
    for _ in range(50):
        flood.append(Wire(*await asyncio.open_connection("127.0.0.1", listener.port)))
        flood[-1].send(said)
    late = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
    for one in (known, late, known):
        one.send(asked)
        assert (await one.answer())[0] == 200
    assert len(listener.connections) <= 16
    for wire in (known, late, *flood):
        wire.writer.close()
    await listener.stop()


async def test_handshakes_that_never_end_give_way_too(api: EmbeddedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "LIMIT_CONNECTIONS", 16)
    flood = []
    for number in range(50):
        flood.append(await asyncio.open_connection("127.0.0.1", api.listener.port))
        flood[-1][1].write(b"\x16\x03\x01"[:number % 4])
    context = ssl.create_default_context(cadata=api.ca_pem)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.listener.port, ssl=context)
    writer.write(b"GET /version HTTP/1.1\r\nauthorization: Bearer %b\r\n\r\n" % api.token.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert len(api.listener.connections) + len(api.listener.door.arriving) <= 16
    await api.listener.stop()
    assert not api.listener.door.arriving
    for _, each in (*flood, (reader, writer)):
        each.close()


async def test_a_stranger_has_seconds_for_a_request(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "STRANGER_SECONDS", 0.05)
    monkeypatch.setattr(listeners, "SWEEP_SECONDS", 0.02)
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    known, silent, asking = [Wire(*await asyncio.open_connection("127.0.0.1", listener.port)) for _ in range(3)]
    known.send(b"GET /a HTTP/1.1\r\nauthorization: Bearer x\r\n\r\n")
    await known.answer()
    asking.send(GET % b"/a")
    assert (await asking.answer())[0] == 200
    for wire in (silent, asking):
        with contextlib.suppress(ConnectionError):
            assert await wire.end() == b""
    known.send(GET % b"/a")
    assert (await known.answer())[0] == 200
    for wire in (known, silent, asking):
        wire.writer.close()
    await listener.stop()


async def test_tls_is_what_its_certificate_says(api: EmbeddedApi) -> None:
    context = ssl.create_default_context(cadata=api.ca_pem)
    for host in ("127.0.0.1", "localhost"):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.listener.port, ssl=context,
                                                       server_hostname=host)
        writer.write(GET % b"/version")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", api.listener.port, ssl=context, server_hostname="example.com")


def test_broken_certificates_are_said_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nope")
    with pytest.raises(errors.StateError, match="certificate"):
        tls(tmp_path / "a", tmp_path / "a")


async def test_http_1_0_gets_no_chunks_and_head_no_body(wire: Wire, port: int) -> None:
    wire.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n" + GET % b"/b")
    assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert (await wire.answer())[2] == b"GET /b? 0"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /broken HTTP/1.0\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert body == b"one"
    writer.close()


async def test_headers_that_come_twice_are_joined(port: int) -> None:
    seen: list[Request] = []

    async def handle(request: Request) -> Response:
        seen.append(request)
        return Response(status=200)

    listener = Listener(handle, Address(), None)
    await listener.start()
    wire = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
    wire.send(b"GET / HTTP/1.1\r\nx-a: 1\r\nX-A: 2\r\n\r\n")
    await wire.answer()
    assert seen[0].headers["x-a"] == "1, 2"
    wire.writer.close()
    await listener.stop()


async def test_a_request_that_drips_is_hung_up_on(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "ARRIVAL_SECONDS", 0.05)
    monkeypatch.setattr(listeners, "SWEEP_SECONDS", 0.02)
    listener = Listener(handler.handle, Address(), None)
    await listener.start()
    slow, idle = [Wire(*await asyncio.open_connection("127.0.0.1", listener.port)) for _ in range(2)]
    slow.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
    with contextlib.suppress(ConnectionError):
        assert await slow.end() == b""
    idle.send(GET % b"/a")  # one that waits with its next request does not drip
    assert (await idle.answer())[0] == 200
    for wire in (slow, idle):
        wire.writer.close()
    await listener.stop()


async def test_an_upgraded_connection_is_bytes_both_ways_until_either_ends() -> None:
    ended = asyncio.Event()

    async def echo(duplex: Duplex) -> None:
        try:
            while data := await duplex.read():
                await duplex.write(data.upper())
                if data.endswith(b"bye"):
                    return
        finally:
            ended.set()

    async def handle(request: Request) -> Response:
        return Response(status=101, headers={"upgrade": "echo", "connection": "Upgrade"}, upgrade=echo)

    listener = Listener(handle, Address(), None)
    await listener.start()
    asked = b"GET / HTTP/1.1\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"
    for end in ("server", "client", "stop"):
        ended.clear()
        wire = Wire(*await asyncio.open_connection("127.0.0.1", listener.port))
        wire.send(asked + b"early")  # what follows the request at once is already the other protocol
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert await wire.reader.readexactly(5) == b"EARLY"
        if end == "server":
            wire.send(b"bye")
            assert await wire.end() == b"BYE"
        elif end == "client":
            wire.writer.transport.abort()
        else:
            await listener.stop()
        await asyncio.wait_for(ended.wait(), 5)
        wire.writer.close()
