"""gRPC through the gateway: grpcio on both sides, and a link of ours where frames matter."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from lightship.gateway import grpc_calls
from lightship.gateway.h2_link import Field, Link
from lightship.gateway.routes import Backend, Endpoint
from lightship.lib import http2_wire as wire
from tests.sdks import sdk_python
from tests.unit.gateway.conftest import TOKEN, Running, Start, route

SCRIPT = Path(__file__).with_name("grpc_script.py")
HEAD = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/serving/default/iris/x.Y/Z"),
        (b":authority", b"h"), (b"content-type", b"application/grpc"), (b"authorization", b"Bearer good"),
        (b"te", b"trailers")]


@pytest.mark.sdk
async def test_grpcio_on_both_sides(start: Start) -> None:
    python = sdk_python("kserve==0.21.0")
    async with start() as running:
        script = await asyncio.create_subprocess_exec(
            python, SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        assert script.stdin is not None
        assert script.stdout is not None
        endpoint = Endpoint("127.0.0.1", int(await script.stdout.readline()))
        running.use(route(endpoint, timeout=1.5), route(Endpoint("127.0.0.1", 9), name="dead"))
        script.stdin.write(f"127.0.0.1:{running.gateway.port}\n".encode())
        assert await asyncio.wait_for(script.stdout.readline(), 60) == b"done\n"
        load = next(load for load in running.core.loads if load.revision.name == "iris")
        assert load.requests >= 300
        assert load.in_flight == 0
        script.stdin.write(b"server\n")
        assert await asyncio.wait_for(script.stdout.readline(), 60) == b"over\n"
        assert await script.wait() == 0


class Seen:
    """A stream's handler that keeps what comes."""

    def __init__(self, link: Link | None = None) -> None:
        self.heads: list[list[Field]] = []
        self.body = b""
        self.code: int | None = None
        self.ended = asyncio.Event()
        self.link, self.number = link, 0

    def fields(self, fields: list[Field], *, ended: bool) -> None:
        self.heads.append(fields)
        self._end(ended)

    def data(self, data: bytes, *, ended: bool) -> None:
        self.body += data
        if self.link is not None:
            self.link.consumed(self.number, len(data))
        self._end(ended)

    def gone(self, code: int, why: str) -> None:
        self.code = code
        self.ended.set()

    def writable(self) -> None:
        return

    def _end(self, ended: bool) -> None:
        if ended:
            self.ended.set()


class Model:
    """A model server of ours: every stream's handler is kept, and the test answers."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.streams: list[tuple[Link, int, Seen]] = []

    def link(self) -> Link:
        made: Link

        def opened(number: int, fields: list[Field], ended: bool) -> Seen:
            self.streams.append((made, number, Seen()))
            return self.streams[-1][2]

        made = Link(opened, lambda: None)
        self.links.append(made)
        return made


async def connect(running: Running) -> Link:
    link = Link(None, lambda: None)
    await asyncio.get_running_loop().create_connection(lambda: link, "127.0.0.1", running.gateway.port)
    return link


async def serve(running: Running, model: Model) -> Endpoint:
    server = await asyncio.get_running_loop().create_server(model.link, "127.0.0.1", 0)
    running.servers.append(server)
    return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_calls_are_queued_at_the_limit_and_counted(start: Start) -> None:
    async with start() as running:
        model = Model()
        endpoint = await serve(running, model)
        running.use(route(backends=[Backend(revision="r1", weight=100, endpoints=(endpoint,), limit=1)]))
        client = await connect(running)
        seen = [Seen() for _ in range(3)]
        for one in seen:
            client.open(one, HEAD, ended=True)
        for number in range(3):
            await running.until(lambda: len(model.streams) == number + 1)  # noqa: B023
            assert running.core.balancer.in_flight == {endpoint: 1}
            link, stream, request = model.streams[number]
            assert dict(request.heads[0])[b":path"] == b"/x.Y/Z"
            assert b"authorization" not in dict(request.heads[0])
            link.send_fields(stream, [(b":status", b"200"), (b"grpc-status", b"0")], ended=True)
            await asyncio.wait_for(seen[number].ended.wait(), 20)
        await running.until(lambda: not running.core.balancer.in_flight)
        assert [dict(one.heads[-1])[b"grpc-status"] for one in seen] == [b"0"] * 3
        assert len(model.links) == 1
        client.abort()


async def test_a_call_for_what_is_at_zero_waits(start: Start) -> None:
    async with start() as running:
        running.use(route(backends=[Backend(revision="r1", weight=100, endpoints=(), activate=True)]))
        client, seen = await connect(running), Seen()
        client.open(seen, HEAD, ended=True)
        await running.until(lambda: running.core.pokes.number == 1)
        model = Model()
        running.use(route(await serve(running, model)))
        await running.until(lambda: len(model.streams) == 1)
        link, stream, _ = model.streams[0]
        link.send_fields(stream, [(b":status", b"200")], ended=True)
        await asyncio.wait_for(seen.ended.wait(), 20)
        client.abort()


async def test_an_upload_is_held_back_and_whole(start: Start) -> None:
    size = 8 * 1024 * 1024
    async with start() as running:
        model = Model()
        running.use(route(await serve(running, model)))
        client, seen = await connect(running), Seen()
        number = client.open(seen, HEAD, ended=False)
        client.send_data(number, b"x" * size, ended=True)
        await running.until(lambda: bool(model.streams))
        link, stream, request = model.streams[0]
        before = -1
        while len(request.body) != before:  # until it stands still
            before = len(request.body)
            await asyncio.sleep(0.05)
        assert len(request.body) < size // 4
        request.link, request.number = link, stream
        link.consumed(stream, len(request.body))
        await asyncio.wait_for(request.ended.wait(), 20)
        assert len(request.body) == size
        link.send_fields(stream, [(b":status", b"200")], ended=True)
        await asyncio.wait_for(seen.ended.wait(), 20)
        client.abort()


async def test_a_client_that_gives_up_and_a_model_server_that_dies(start: Start) -> None:
    async with start() as running:
        model = Model()
        running.use(route(await serve(running, model)))
        client, seen = await connect(running), Seen()
        number = client.open(seen, HEAD, ended=True)
        await running.until(lambda: len(model.streams) == 1)
        client.reset(number, wire.CANCEL)
        await asyncio.wait_for(model.streams[0][2].ended.wait(), 20)
        assert model.streams[0][2].code == wire.CANCEL
        early, late = Seen(), Seen()
        client.open(early, HEAD, ended=True)
        client.open(late, HEAD, ended=True)
        await running.until(lambda: len(model.streams) == 3)
        link, stream, _ = model.streams[1]
        link.send_fields(stream, [(b":status", b"200")], ended=False)
        await running.until(lambda: bool(early.heads))
        link.abort()
        await asyncio.wait_for(early.ended.wait(), 20)
        await asyncio.wait_for(late.ended.wait(), 20)
        assert early.code == wire.INTERNAL_ERROR  # nobody takes it for whole
        assert dict(late.heads[0])[b"grpc-status"] == b"14"
        client.abort()


async def test_other_requests_of_http2_get_the_failures_body(start: Start) -> None:
    async with start() as running:
        running.use()
        client, seen = await connect(running), Seen()
        client.open(seen, [field for field in HEAD if field[0] != b"content-type"], ended=True)
        await asyncio.wait_for(seen.ended.wait(), 20)
        assert dict(seen.heads[0])[b":status"] == b"404"
        assert b'{"error":' in seen.body
        client.abort()


async def test_draining_answers_what_is_in_flight_and_takes_no_more(start: Start) -> None:
    async with start() as running:
        model = Model()
        running.use(route(await serve(running, model)))
        client, seen = await connect(running), Seen()
        client.open(seen, HEAD, ended=True)
        await running.until(lambda: len(model.streams) == 1)
        draining = asyncio.ensure_future(running.gateway.drain())
        await running.until(lambda: client.leaving)
        link, stream, _ = model.streams[0]
        link.send_fields(stream, [(b":status", b"200")], ended=True)
        await asyncio.wait_for(seen.ended.wait(), 20)
        await asyncio.wait_for(draining, 20)


@pytest.mark.parametrize("sent", [
    wire.frame(wire.DATA, 0, 0, b"x"), wire.frame(wire.HEADERS, 4, 2, b"\x82"), wire.frame(wire.HEADERS, 4, 1, b"\xff"),
    wire.frame(wire.PING, 0, 0, b"x"), wire.frame(wire.SETTINGS, 0, 0, b"x"), wire.frame(wire.PUSH_PROMISE, 4, 1, b""),
    wire.frame(wire.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), wire.frame(wire.CONTINUATION, 4, 1, b""),
    wire.frame(wire.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), b"\xff" * 9,
    wire.frame(wire.HEADERS, 0, 1, b"") + wire.frame(wire.CONTINUATION, 0, 1, b"\0" * 16000) * 9,
    wire.frame(wire.RST_STREAM, 0, 1, struct.pack(">I", 8)) * 1100,
])
async def test_what_breaks_the_protocol_ends_the_connection(start: Start, sent: bytes) -> None:
    async with start() as running:
        answer = await running.raw(wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, b"") + sent)
        assert struct.pack(">BBI", wire.GOAWAY, 0, 0) in answer


@pytest.mark.parametrize("change", [
    [(b":path", b"relative")], [(b":path", b"/a b")], [(b"connection", b"close")], [(b"X-Upper", b"1")],
    [(b"x", b"a\r\nb: c")], [(b"transfer-encoding", b"chunked")], [(b":evil", b"1")], [(b"", b"1")],
    [(b"x y", b"1")], [(b"a:b", b"1")],
])
def test_heads_that_are_malformed(change: list[Field]) -> None:
    names = {name for name, _ in change if name == b":path"}
    assert grpc_calls.request_head([*(field for field in HEAD if field[0] not in names), *change]) is None
    assert grpc_calls.request_head(HEAD) is not None


def test_pseudo_fields_come_first_and_once() -> None:
    assert grpc_calls.request_head([(b"a", b"1"), *HEAD]) is None
    assert grpc_calls.request_head([HEAD[0], *HEAD]) is None
    assert grpc_calls.request_head(HEAD[1:]) is None


async def test_a_service_with_a_port_of_its_own(start: Start) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with start(grpc_ports=range(port, port + 1)) as running:
        model, other = Model(), await running.upstream("other")
        endpoint = await serve(running, model)
        running.use(route(endpoint, grpc_port=port), route(other.endpoint, name="other", grpc_port=1))
        await running.until(lambda: port in running.gateway._ports)
        link, seen = Link(None, lambda: None), Seen()
        await asyncio.get_running_loop().create_connection(lambda: link, "127.0.0.1", port)
        link.open(seen, [*HEAD[:2], (b":path", b"/inference.X/Y"), *HEAD[3:]], ended=True)
        await running.until(lambda: len(model.streams) == 1)
        assert dict(model.streams[0][2].heads[0])[b":path"] == b"/inference.X/Y"
        link.abort()
        running.use(route(other.endpoint, grpc_port=port))
        async with running.client.get(f"http://127.0.0.1:{port}/x", headers=TOKEN) as answer:
            assert await answer.text() == "other /x"
        running.use()
        await running.until(lambda: not running.gateway._ports)
