"""gRPC over our own HTTP/2, frame by frame: answers, windows, limits, and clients that break the rules.

The client here is a few lines over the same frames; real ones (grpcio's) are driven by the model server's tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightship import errors
from lightship.lib import grpc, hpack
from lightship.lib import http2_wire as wire

LIMITS = wire.Limits(drain_seconds=5)


@dataclass
class Answer:
    """What came for one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytes = b""
    reset: int | None = None


class Client:
    """One connection; what comes is kept by stream, and ``closed`` tells the GOAWAY's code."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._decoder = hpack.Decoder(1 << 20)
        self.answers: dict[int, Answer] = {}
        self.closed: int | None = None
        self.pings = 0

    def call(self, number: int, path: str, message: bytes = b"", headers: bytes = b"", prefix: bytes = b"\0") -> None:
        block = (hpack.literal(b":method", b"POST") + hpack.literal(b":path", path.encode())
                 + hpack.literal(b"content-type", b"application/grpc") + headers)
        self.writer.write(wire.frame(wire.HEADERS, wire.END_HEADERS, number, block))
        body = prefix + len(message).to_bytes(4) + message
        chunks = [body[at:at + wire.FRAME_BYTES] for at in range(0, len(body), wire.FRAME_BYTES)]
        for chunk in chunks[:-1]:
            self.writer.write(wire.frame(wire.DATA, 0, number, chunk))
        self.writer.write(wire.frame(wire.DATA, wire.END_STREAM, number, chunks[-1]))

    async def answer(self, number: int) -> Answer:
        """Read until a stream is over."""
        while True:
            found = self.answers.get(number)
            if found is not None and (b"grpc-status" in found.headers or found.reset is not None):
                return found
            assert await self.read(), f"closed with {self.closed} before an answer to {number}"

    async def end(self) -> int | None:
        """Read until the server closes; the code that it told."""
        while await self.read():
            pass
        return self.closed

    async def read(self) -> bool:
        try:
            head = await asyncio.wait_for(self._reader.readexactly(wire.HEAD_BYTES), 20)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        high, low, kind, _, number = wire.HEAD.unpack(head)
        payload = await self._reader.readexactly(high << 8 | low)
        answer = self.answers.setdefault(number, Answer()) if number else Answer()
        if kind == wire.HEADERS:
            answer.headers.update(self._decoder.decode(payload))
        elif kind == wire.DATA:
            answer.data += payload
        elif kind == wire.RST_STREAM:
            answer.reset = int.from_bytes(payload)
        elif kind == wire.GOAWAY:
            self.closed = int.from_bytes(payload[4:8])
        elif kind == wire.PING:
            self.pings += 1
        return True


@dataclass
class Place:
    """A server with methods that echo, fail and wait."""

    port: int = 0
    server: Any = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def open(self, options: Mapping[int, int] | None = None) -> Client:
        client = await self.connect()
        chosen = b"".join(struct.pack(">HI", *pair) for pair in (options or {}).items())
        client.writer.write(wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, chosen))
        return client

    async def echo(self, call: grpc.Call) -> bytes:
        return call.message

    async def wait(self, call: grpc.Call) -> bytes:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"waited"

    async def missing(self, call: grpc.Call) -> bytes:
        raise errors.NotFound("no such thing: 100 % gone\n", remedy="Look elsewhere")


@contextlib.asynccontextmanager
async def serving(limits: wire.Limits = LIMITS) -> AsyncIterator[Place]:
    place = Place()
    place.server = grpc.Server({"/t.S/Echo": grpc.unary(place.echo), "/t.S/Wait": grpc.unary(place.wait),
                                "/t.S/Missing": grpc.unary(place.missing),
                                grpc.HEALTH_CHECK: grpc.health({"": True, "down": False}.get)}, limits)
    listener = await asyncio.get_running_loop().create_server(place.server.protocol, "127.0.0.1", 0)
    place.port = listener.sockets[0].getsockname()[1]
    try:
        yield place
    finally:
        place.release.set()
        listener.close()
        for connection in tuple(place.server.http.connections):
            connection.abort()
        await place.server.drain()
        for client in place.clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    return {"uvloop": uvloop.new_event_loop}


async def test_calls_on_one_connection_are_answered() -> None:
    async with serving() as place:
        client = await place.open()
        for number in range(1, 400, 2):
            client.call(number, "/t.S/Echo", b"%d" % number)
        last = await client.answer(399)
        answers = client.answers
    assert last.headers == {b":status": b"200", b"content-type": b"application/grpc", b"grpc-status": b"0"}
    assert all(answers[number].data[5:] == b"%d" % number for number in range(1, 400, 2))


@pytest.mark.parametrize(("path", "headers", "prefix", "status"), [
    ("/t.S/Missing", b"", b"\0", b"5"),
    ("/t.S/None", b"", b"\0", b"12"),
    ("/t.S/Echo", b"", b"\1", b"12"),
    ("/t.S/Echo", hpack.literal(b"grpc-encoding", b"gzip"), b"\1", b"3"),
    ("/t.S/Echo", hpack.literal(b"grpc-timeout", b"soon"), b"\0", b"3"),
    ("/t.S/Echo", b"", b"\0\0", b"3"),
])
async def test_failures_have_a_status_and_a_message(path: str, headers: bytes, prefix: bytes, status: bytes) -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, path, b"x", headers=headers, prefix=prefix)
        answer = await client.answer(1)
    assert answer.headers[b"grpc-status"] == status
    assert answer.headers[b"grpc-message"]
    assert answer.headers[b":status"] == b"200"
    assert answer.data == b""


async def test_a_message_is_percent_encoded() -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, "/t.S/Missing")
        answer = await client.answer(1)
    assert answer.headers[b"grpc-message"] == b"no such thing: 100 %25 gone%0A. Look elsewhere"


@pytest.mark.parametrize(("name", "data"), [(b"", b"\x08\x01"), (b"\x0a\x04down", b"\x08\x02")])
async def test_health(name: bytes, data: bytes) -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, grpc.HEALTH_CHECK, name)
        answer = await client.answer(1)
    assert answer.data[5:] == data


async def test_large_messages_pass_both_windows() -> None:
    async with serving(wire.Limits(stream_window_bytes=70_000, connection_window_bytes=100_000)) as place:
        client = await place.open({wire.INITIAL_WINDOW: 1000})
        message = bytes(range(256)) * 1200
        client.call(1, "/t.S/Echo", message)
        await client.writer.drain()
        while len(client.answers.get(1, Answer()).data) < 1000:
            assert await client.read()
        assert len(client.answers[1].data) == 1000, "no more than the window"
        client.writer.write(wire.frame(wire.SETTINGS, 0, 0, struct.pack(">HI", wire.INITIAL_WINDOW, 2000)))
        while len(client.answers[1].data) < 2000:
            assert await client.read()
        client.writer.write(wire.frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 10_000_000))
                            + wire.frame(wire.WINDOW_UPDATE, 0, 1, struct.pack(">I", 10_000_000)))
        answer = await client.answer(1)
    assert answer.data[5:] == message


async def test_compressed_messages_are_read_within_the_limit() -> None:
    async with serving(wire.Limits(body_bytes=10_000)) as place:
        client = await place.open()
        encoding = hpack.literal(b"grpc-encoding", b"gzip")
        client.call(1, "/t.S/Echo", gzip.compress(b"a" * 9000), headers=encoding, prefix=b"\1")
        client.call(3, "/t.S/Echo", gzip.compress(b"a" * 5_000_000), headers=encoding, prefix=b"\1")
        assert (await client.answer(1)).data[5:] == b"a" * 9000
        assert (await client.answer(3)).headers[b"grpc-status"] == b"8"


async def test_a_body_over_the_limit_is_reset_and_others_go_on() -> None:
    async with serving(wire.Limits(body_bytes=50_000)) as place:
        client = await place.open()
        client.call(1, "/t.S/Echo", bytes(200_000))
        client.call(3, "/t.S/Echo", b"small")
        assert (await client.answer(3)).data[5:] == b"small"
        assert client.answers[1].reset == wire.ENHANCE_YOUR_CALM


async def test_a_cancelled_call_is_stopped() -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, "/t.S/Wait")
        await place.started.wait()
        client.writer.write(wire.frame(wire.RST_STREAM, 0, 1, struct.pack(">I", wire.CANCEL)))
        await asyncio.wait_for(place.cancelled.wait(), 20)
        client.call(3, "/t.S/Echo", b"on")
        assert (await client.answer(3)).data[5:] == b"on"


async def test_a_client_that_leaves_stops_its_calls() -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, "/t.S/Wait")
        await place.started.wait()
        client.writer.close()
        await asyncio.wait_for(place.cancelled.wait(), 20)


async def test_drain_answers_what_is_in_flight() -> None:
    async with serving() as place:
        client = await place.open()
        client.call(1, "/t.S/Wait")
        await place.started.wait()
        draining = asyncio.ensure_future(place.server.drain())
        while client.closed is None:
            assert await client.read()
        client.call(3, "/t.S/Echo", b"late")  # it was told to go elsewhere: not answered
        place.release.set()
        assert (await client.answer(1)).data[5:] == b"waited"
        assert await client.end() == wire.NO_ERROR
        client.writer.close()
        await asyncio.wait_for(draining, 20)
    assert 3 not in client.answers


def headers(number: int, flags: int = wire.END_HEADERS, block: bytes = b"\x83") -> bytes:
    return wire.frame(wire.HEADERS, flags, number, block)


@pytest.mark.parametrize(("sent", "code"), [
    (b"GET / HTTP/1.1\r\n\r\n" + b" " * 20, wire.PROTOCOL_ERROR),
    (wire.PREFACE + headers(2), wire.PROTOCOL_ERROR),
    (wire.PREFACE + headers(1, flags=0) + wire.frame(wire.PING, 0, 0, bytes(8)), wire.PROTOCOL_ERROR),
    (wire.PREFACE + headers(1, block=b"\x80"), wire.COMPRESSION_ERROR),
    (wire.PREFACE + headers(1, flags=wire.PADDED | wire.END_HEADERS, block=b"\x09a"), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.DATA, 0, 5, b""), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.RST_STREAM, 0, 5, bytes(4)), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.CONTINUATION, 0, 1, b""), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.PUSH_PROMISE, 0, 1, bytes(4)), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.PING, 0, 0, b"short"), wire.FRAME_SIZE_ERROR),
    (wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, b"short"), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), wire.FLOW_CONTROL_ERROR),
    (wire.PREFACE + wire.frame(wire.WINDOW_UPDATE, 0, 0, bytes(4)), wire.PROTOCOL_ERROR),
    (wire.PREFACE + wire.frame(wire.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), wire.FLOW_CONTROL_ERROR),
    (wire.PREFACE + wire.HEAD.pack(1, 0, wire.DATA, 0, 1) + bytes(255), None),  # not whole: it waits, then is closed
    (wire.PREFACE + wire.HEAD.pack(0x4000, 0, wire.DATA, 0, 1), wire.FRAME_SIZE_ERROR),
    (wire.PREFACE + headers(1, flags=0) + wire.frame(wire.CONTINUATION, 0, 1, bytes(9000)) * 9, wire.ENHANCE_YOUR_CALM),
])
async def test_what_breaks_the_protocol_ends_the_connection(sent: bytes, code: int | None) -> None:
    async with serving(wire.Limits(read_seconds=0.2, idle_seconds=0.2)) as place:
        client = await place.connect()
        client.writer.write(sent)
        assert await client.end() in ((code,) if code is not None else (wire.NO_ERROR,))


async def test_too_many_cancels_end_the_connection() -> None:
    async with serving(wire.Limits(cancels=5)) as place:
        client = await place.open()
        for number in range(1, 41, 2):
            client.writer.write(headers(number) + wire.frame(wire.RST_STREAM, 0, number, bytes(4)))
        assert await client.end() == wire.ENHANCE_YOUR_CALM


async def test_more_streams_than_the_limit_are_refused() -> None:
    async with serving(wire.Limits(streams=2)) as place:
        client = await place.open()
        for number in (1, 3, 5):
            client.call(number, "/t.S/Wait")
        assert (await client.answer(5)).reset == wire.REFUSED_STREAM
        place.release.set()
        assert (await client.answer(3)).data[5:] == b"waited"


async def test_a_request_that_does_not_end_is_given_up() -> None:
    async with serving(wire.Limits(read_seconds=0.2)) as place:
        client = await place.open()
        client.writer.write(headers(1))
        assert (await client.answer(1)).reset == wire.CANCEL
        client.call(3, "/t.S/Echo", b"on")
        assert (await client.answer(3)).data[5:] == b"on"


async def test_an_answer_that_is_not_read_is_given_up() -> None:
    async with serving(wire.Limits(read_seconds=0.2)) as place:
        client = await place.open({wire.INITIAL_WINDOW: 10})
        client.call(1, "/t.S/Echo", bytes(1000))
        await client.end()
    assert len(client.answers[1].data) == 10


def frames() -> Iterator[st.SearchStrategy[bytes]]:
    kinds, numbers = st.integers(0, 11), st.sampled_from([0, 1, 3, 5, 7, 2])
    flags = st.sampled_from([0, 1, 4, 5, 8, 0xC, 0x25, 0xFF])
    yield st.builds(wire.frame, kinds, flags, numbers, st.binary(max_size=60))
    yield st.builds(lambda number, flag: headers(number, flag), numbers, flags)
    yield st.binary(max_size=40)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(*frames()), max_size=12))
def test_no_bytes_do_more_than_end_their_own_connection(sent: list[bytes]) -> None:
    async def run() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        async with serving(wire.Limits(read_seconds=0.05, idle_seconds=0.05)) as place:
            client = await place.open()
            client.writer.write(b"".join(sent))
            await client.end()
            other = await place.open()
            other.call(1, "/t.S/Echo", b"still here")
            assert (await other.answer(1)).data[5:] == b"still here"
        assert not problems, problems

    asyncio.run(run())
