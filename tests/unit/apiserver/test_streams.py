"""WebSockets, SPDY and the channels of exec and port-forward, against a node that only echoes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from lightship import errors
from lightship.client.sessions import STDERR, STDOUT, End, Wanted
from lightship.cluster.apiserver.streams import endpoint, spdy, spdy_words
from lightship.kube.objects import Key
from lightship.kube.resources import ENDPOINT_SLICES, PODS, SERVICES
from lightship.testing.embedded import EmbeddedApi

LIMIT_SECONDS = 10
EXEC = "/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&stdout=true&stderr=true"
PORTS = "/api/v1/namespaces/default/pods/p/portforward"


class Echo:
    """A session that gives back on stdout what it was given, and its sizes on stderr; it ends with its input."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.queues: dict[int, asyncio.Queue[bytes]] = {STDOUT: asyncio.Queue(), STDERR: asyncio.Queue()}
        self.over = asyncio.Event()
        self.closed = asyncio.Event()

    async def read(self, stream: int) -> bytes:
        return await self.queues[stream].get()

    async def write(self, data: bytes) -> None:
        await self.queues[STDOUT].put(data)
        if data.startswith(b"exit"):
            self.close_stdin()

    def close_stdin(self) -> None:
        for queue in self.queues.values():
            queue.put_nowait(b"")
        self.over.set()

    def resize(self, columns: int, rows: int) -> None:
        self.queues[STDOUT].put_nowait(f"{columns}x{rows}".encode())

    async def wait(self) -> End:
        await self.over.wait()
        return End(code=3)

    async def close(self) -> None:
        self.closed.set()


class Node:
    """The ``Streams`` of a node that echoes."""

    def __init__(self) -> None:
        self.sessions: list[Echo] = []
        self.begun = asyncio.Event()

    def target(self, pod: Key, container: str) -> Node:
        return self

    async def execute(self, command: tuple[str, ...], wanted: Wanted) -> Echo:
        if command == ("missing",):
            raise errors.BadRequest("no such thing")
        self.sessions.append(Echo(wanted))
        self.begun.set()
        return self.sessions[-1]

    async def attach(self, wanted: Wanted) -> Echo:
        return await self.execute((), wanted)

    async def dial(self, pod: Key, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)


@dataclass
class Wire:
    """A client's side of an upgraded connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), LIMIT_SECONDS)

    def send(self, data: bytes, opcode: int = 2, *, final: bool = True, mask: bytes = b"abcd") -> None:
        length = bytes((128 | len(data),)) if len(data) < 126 else struct.pack("!BH", 128 | 126, len(data)) if len(
            data) < 65536 else struct.pack("!BQ", 128 | 127, len(data))
        covered = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.writer.write(bytes((opcode | 128 * final,)) + length + mask + covered)

    async def frame(self) -> tuple[int, bytes]:
        first, length = await self.read(2)
        if length >= 126:
            length = int.from_bytes(await self.read(2 if length == 126 else 8), "big")
        return first & 15, await self.read(length)

    async def message(self) -> bytes:
        """The next that is not empty but for its channel."""
        while True:
            opcode, data = await self.frame()
            if opcode in (1, 2) and len(data) > 1:
                return data
            assert opcode in (1, 2), (opcode, data)


@pytest.fixture
async def node(api: EmbeddedApi) -> Node:
    made = Node()
    api.server.sessions.streams = made  # type: ignore[assignment]
    await api.in_process().create(PODS, {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "busybox"}]}})
    return made


class Dialer:
    def __init__(self, api: EmbeddedApi) -> None:
        self._api = api
        self.open: list[asyncio.StreamWriter] = []

    async def __call__(self, method: str, target: str, *headers: str) -> tuple[int, dict[str, str], Wire]:
        trust = ssl.create_default_context(cadata=self._api.ca_pem)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._api.listener.port, ssl=trust)
        self.open.append(writer)
        lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {self._api.token}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_SECONDS)).decode().split("\r\n")
        found = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), found, Wire(reader, writer)

    async def websocket(self, target: str, *protocols: str) -> tuple[int, dict[str, str], Wire]:
        asked = [f"Sec-WebSocket-Protocol: {', '.join(protocols)}"] if protocols else []
        return await self("GET", target, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *asked)


@pytest.fixture
async def dial(api: EmbeddedApi, node: Node) -> AsyncIterator[Dialer]:
    dialer = Dialer(api)
    yield dialer
    for writer in dialer.open:
        writer.close()


async def test_a_session_over_a_websocket(dial: Dialer, node: Node) -> None:
    status, headers, wire = await dial.websocket(EXEC, "v4.channel.k8s.io", "v5.channel.k8s.io")  # as kr8s asks
    assert (status, headers["sec-websocket-protocol"]) == (101, "v5.channel.k8s.io")
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".lower()  # RFC 6455's own example
    assert await wire.frame() == (2, b"\x01")
    wire.send(b"\x00hel", final=False)
    wire.send(b"in between", opcode=9)
    wire.send(b"lo", opcode=0)
    assert await wire.frame() == (10, b"in between")
    assert await wire.message() == b"\x01hello"
    wire.send(b"\x04" + json.dumps({"Width": 80, "Height": 24}).encode())
    assert await wire.message() == b"\x0180x24"
    wire.send(b"\xff\x00")
    said = await wire.message()
    assert said[0] == 3
    state = json.loads(said[1:])
    assert (state["reason"], state["details"]["causes"][0]["message"]) == ("NonZeroExitCode", "3")
    assert await wire.frame() == (8, struct.pack("!H", 1000))
    await asyncio.wait_for(node.sessions[0].closed.wait(), LIMIT_SECONDS)


async def test_the_older_protocols(dial: Dialer, node: Node) -> None:
    _, _, wire = await dial.websocket(EXEC, "base64.channel.k8s.io")
    wire.send(b"0" + base64.b64encode(b"exit"), opcode=1)
    assert await wire.frame() == (1, b"1")
    assert await wire.message() == b"1" + base64.b64encode(b"exit")
    assert (await wire.message())[:1] == b"3"
    _, _, wire = await dial.websocket(EXEC)
    wire.send(b"\x00exit")
    assert await wire.message() == b"\x01exit"
    assert await wire.message() == b"\x03command terminated with non-zero exit code: exit code 3"


async def test_large_messages_go_both_ways(dial: Dialer) -> None:
    _, _, wire = await dial.websocket(EXEC, "v4.channel.k8s.io")
    data = os.urandom(100_000)
    wire.send(b"\x00" + data)
    assert await wire.message() == b"\x01" + data


@pytest.mark.parametrize(("frame", "code"), [
    (b"\x82\x01x", 1002), (b"\xc2\x81abcdx", 1002), (b"\x83\x81abcdx", 1002), (b"\x09\x80abcd", 1002),
    (b"\x80\x81abcdx", 1002), (b"\x82\xff" + b"\x00\x00\x01\x00\x00\x00\x00\x00" + b"abcd", 1009),
    (b"\x81\x81\x00\x00\x00\x00\xff", 1007), (b"\x88\x80abcd", 1000), (b"\x89\xfe\x00\x7eabcd", 1002)])
async def test_what_breaks_the_protocol_is_closed_with_its_code(dial: Dialer, node: Node, frame: bytes,
                                                               code: int) -> None:
    _, _, wire = await dial.websocket(EXEC, "v4.channel.k8s.io")
    assert await wire.frame() == (2, b"\x01")
    wire.writer.write(frame)
    opcode, data = await wire.frame()
    assert (opcode, struct.unpack("!H", data[:2])[0]) == (8, code)
    assert await wire.reader.read() == b""
    await asyncio.wait_for(node.sessions[0].closed.wait(), LIMIT_SECONDS)


async def test_a_client_that_vanishes_ends_its_session_even_when_it_is_not_read(dial: Dialer, node: Node) -> None:
    for filled in (False, True):
        _, _, wire = await dial.websocket(EXEC, "v4.channel.k8s.io")
        await wire.frame()
        session = node.sessions[-1]
        if filled:
            session.queues[STDOUT] = asyncio.Queue(1)  # the next write waits, and so does the client's data
            for _ in range(20):
                wire.send(b"\x00" + b"x" * 60_000)
        wire.writer.transport.abort()
        await asyncio.wait_for(session.closed.wait(), LIMIT_SECONDS)


@pytest.mark.parametrize("over", ["websocket", "spdy"])
async def test_a_client_killed_while_its_input_is_stuck_is_noticed(
        dial: Dialer, node: Node, monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    """More waits at the client than the systems between hold, so that its end does not come through by itself."""
    monkeypatch.setattr(endpoint, "HEARTBEAT_SECONDS", 0.1)
    if over == "websocket":
        _, _, wire = await dial.websocket(EXEC, "v4.channel.k8s.io")
        await wire.frame()
    else:
        _, _, wire = await dial("POST", EXEC, "Upgrade: SPDY/3.1", "Connection: Upgrade",
                                "X-Stream-Protocol-Version: v4.channel.k8s.io")
        client = Spdy(wire)
        for number, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")):
            client.stream(number, streamType=kind)
    await asyncio.wait_for(node.begun.wait(), LIMIT_SECONDS)
    session = node.sessions[-1]
    session.queues[STDOUT] = asyncio.Queue(1)
    piece = bytes(1_000_000)
    frame = struct.pack("!BBQ", 130, 255, len(piece)) + bytes(4) + piece
    held = -1
    while wire.writer.transport.get_write_buffer_size() != held or not held:  # until nothing moves any more
        held = wire.writer.transport.get_write_buffer_size()
        if held < 30_000_000:
            if over == "websocket":
                wire.writer.write(frame)
            else:
                client.data(3, piece)
        await asyncio.sleep(0.05)
    wire.writer.transport.abort()
    await asyncio.wait_for(session.closed.wait(), LIMIT_SECONDS)


async def test_a_message_in_a_hundred_thousand_frames_is_one_message(dial: Dialer) -> None:
    _, _, wire = await dial.websocket(EXEC, "v4.channel.k8s.io")
    assert await wire.frame() == (2, b"\x01")
    wire.send(b"\x00hel", final=False)
    wire.writer.write(b"\x00\x80abcd" * 100_000)
    wire.send(b"lo", opcode=0)
    assert await wire.message() == b"\x01hello"


@pytest.mark.parametrize(("target", "headers", "status", "words"), [
    (EXEC, ["Upgrade: websocket", "Connection: Upgrade"], 400, "handshake"),
    (EXEC, [], 400, "unable to upgrade"),
    (EXEC.replace("pods/p", "pods/q"), [], 404, "not found"),
    (EXEC + "&container=other", [], 400, "container other is not valid for pod p"),
    (EXEC.replace("=true", "=false"), [], 400, "at least 1 of stdin, stdout, stderr"),
    (EXEC.replace("command=cat&", ""), [], 400, "at least one command"),
    (EXEC, ["Upgrade: SPDY/3.1", "Connection: Upgrade", "X-Stream-Protocol-Version: v9"], 403, "negotiate protocol"),
    (PORTS + "?ports=http", ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                             "Sec-WebSocket-Key: x", "Sec-WebSocket-Protocol: v4.channel.k8s.io"], 400, "no port")])
async def test_what_cannot_be_begun_is_a_status(dial: Dialer, target: str, headers: list[str], status: int,
                                                words: str) -> None:
    code, found, wire = await dial("GET", target, *headers)
    body = await wire.read(int(found["content-length"]))
    assert (code, json.loads(body)["code"]) == (status, status)
    assert words in json.loads(body)["message"]


async def test_without_a_node_or_over_the_limit_it_is_not_now(dial: Dialer, api: EmbeddedApi, node: Node) -> None:
    api.server.sessions.count = endpoint.LIMIT_SESSIONS
    assert (await dial.websocket(EXEC, "v4.channel.k8s.io"))[0] == 503
    api.server.sessions.streams = None
    assert (await dial.websocket(EXEC, "v4.channel.k8s.io"))[0] == 503


async def test_an_upgrade_to_something_else_is_no_upgrade(dial: Dialer) -> None:
    code, headers, wire = await dial("GET", "/version", "Upgrade: h2c", "Connection: Upgrade")
    assert (code, headers["connection"]) == (200, "close")
    assert b"gitVersion" in await asyncio.wait_for(wire.reader.read(), LIMIT_SECONDS)


class Spdy:
    """Just enough of a SPDY client."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._deflate = zlib.compressobj(zdict=spdy_words.DICTIONARY)
        self.received: dict[int, bytes] = {}
        self.finished: set[int] = set()

    def stream(self, number: int, **headers: Any) -> int:
        self._wire.writer.write(self.begun(self._deflate, number, **headers))
        return number

    @staticmethod
    def begun(deflate: Any, number: int, **headers: Any) -> bytes:
        """The frame that begins a stream."""
        text = struct.pack("!I", len(headers)) + b"".join(
            struct.pack("!I", len(word)) + word.encode() for pair in headers.items() for word in map(str, pair))
        block: bytes = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
        return struct.pack("!HHIIIH", 0x8003, 1, 10 + len(block), number, 0, 0) + block

    def data(self, number: int, data: bytes, *, final: bool = False) -> None:
        self._wire.writer.write(struct.pack("!II", number, final << 24 | len(data)) + data)

    async def until(self, number: int) -> bytes:
        """What a stream brings until it is finished."""
        while number not in self.finished:
            first, second = struct.unpack("!II", await self._wire.read(8))
            data = await self._wire.read(second & 0xFFFFFF)
            if not first & 0x80000000:
                self.received[first] = self.received.get(first, b"") + data
                if second >> 24 & 1:
                    self.finished.add(first)
        return self.received.get(number, b"")


async def test_a_session_over_spdy(dial: Dialer) -> None:
    status, headers, wire = await dial("POST", EXEC, "Upgrade: SPDY/3.1", "Connection: Upgrade",
                                       "X-Stream-Protocol-Version: v5.channel.k8s.io",
                                       "X-Stream-Protocol-Version: v4.channel.k8s.io")
    assert (status, headers["x-stream-protocol-version"]) == (101, "v4.channel.k8s.io")
    client = Spdy(wire)
    for number, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")):
        client.stream(number, streamType=kind)
    client.data(3, b"hello", final=True)
    assert json.loads(await client.until(1))["details"]["causes"][0]["message"] == "3"
    assert await client.until(5) == b"hello"
    assert await client.until(7) == b""


@pytest.fixture
async def shouting() -> AsyncIterator[int]:
    """A server that gives back in capitals what it got, once the client has ended."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_ports_over_spdy(dial: Dialer, shouting: int) -> None:
    status, _, wire = await dial("POST", PORTS, "Upgrade: SPDY/3.1", "Connection: Upgrade",
                                 "X-Stream-Protocol-Version: portforward.k8s.io")
    assert status == 101
    client = Spdy(wire)
    for request, first in ((0, 1), (1, 5)):
        client.stream(first, streamType="error", port=shouting, requestID=request)
        client.stream(first + 2, streamType="data", port=shouting, requestID=request)
    client.data(7, b"second" * 50_000, final=True)
    client.data(3, b"first", final=True)
    assert await client.until(3) == b"FIRST"
    assert await client.until(7) == b"SECOND" * 50_000
    client.stream(9, streamType="error", port=1, requestID=2)
    client.stream(11, streamType="data", port=1, requestID=2)
    assert b"error forwarding port 1" in await client.until(9)


class Pipe:
    """A ``Duplex`` whose client's side is in hand."""

    def __init__(self) -> None:
        self.come: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()

    async def read(self) -> bytes:
        return await self.come.get()

    async def write(self, data: bytes) -> None:
        self.sent += data


async def test_all_streams_together_hold_what_is_not_read() -> None:
    pipe = Pipe()
    connection = spdy.Connection(pipe)
    running = asyncio.create_task(connection.run())
    deflate = zlib.compressobj(zdict=spdy_words.DICTIONARY)
    for number in range(1, 201, 2):
        pipe.come.put_nowait(Spdy.begun(deflate, number, streamType="data"))
    streams = [await connection.accept() for _ in range(100)]
    for number in range(1, 201, 2):
        pipe.come.put_nowait(struct.pack("!II", number, 100_000) + bytes(100_000))
    before = -1
    while connection.unread_bytes != before:
        before = connection.unread_bytes
        await asyncio.sleep(0.01)
    assert spdy.LIMIT_ALL_UNREAD_BYTES <= before < spdy.LIMIT_ALL_UNREAD_BYTES + 100_000
    for stream in streams:  # whoever reads makes room for those behind
        assert stream is not None
        assert len(await asyncio.wait_for(stream.read(), LIMIT_SECONDS)) == 100_000
    assert connection.unread_bytes == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_streams_that_nobody_asked_for_are_reset(dial: Dialer, node: Node) -> None:
    _, _, wire = await dial("POST", EXEC, "Upgrade: SPDY/3.1", "Connection: Upgrade",
                            "X-Stream-Protocol-Version: v4.channel.k8s.io")
    client = Spdy(wire)
    for number, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")):
        client.stream(number, streamType=kind)
    for number in range(9, 5009, 2):  # more than may be open at once
        client.stream(number, streamType="other")
        client.data(number, bytes(1000))
    client.data(3, b"hello", final=True)
    assert await client.until(5) == b"hello"


async def test_ports_over_channels(dial: Dialer, shouting: int) -> None:
    _, _, wire = await dial.websocket(f"{PORTS}?ports={shouting}&ports=1", "v4.channel.k8s.io")
    assert await wire.message() == b"\x00" + shouting.to_bytes(2, "little")
    assert await wire.message() == b"\x01" + shouting.to_bytes(2, "little")
    assert await wire.message() == b"\x02\x01\x00"
    assert await wire.message() == b"\x03\x01\x00"
    assert b"error forwarding port 1" in await wire.message()


@pytest.mark.parametrize("frame", [
    struct.pack("!HHI", 0x8003, 1, 30) + bytes(30), struct.pack("!HHI", 0x8003, 6, 0xFFFFFF),
    struct.pack("!II", 0, 0xFFFFFF)])
async def test_broken_frames_hang_up(dial: Dialer, frame: bytes) -> None:
    _, _, wire = await dial("POST", PORTS, "Upgrade: SPDY/3.1", "Connection: Upgrade")
    wire.writer.write(frame)
    await asyncio.wait_for(wire.reader.read(), LIMIT_SECONDS)


@pytest.fixture
async def pages(api: EmbeddedApi, node: Node) -> AsyncIterator[int]:
    """A server that tells what it was asked, in chunks; it stands behind Service s."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(4) if b"content-length: 4" in asked else b""
        said = asked.splitlines()[0] + b" " + body + (b" LEAK" if b"uthorization" in asked else b"")
        writer.write(b"HTTP/1.1 207 Well\r\nx-own: yes\r\ntransfer-encoding: chunked\r\n\r\n"
                     b"%x\r\n%b\r\n3;x=y\r\nend\r\n0\r\n\r\n" % (len(said), said))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = api.in_process()
    await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service",
                                   "metadata": {"name": "s", "namespace": "default"},
                                   "spec": {"ports": [{"port": 80, "targetPort": port}]}})
    await client.create(ENDPOINT_SLICES, {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "ports": [{"port": port}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True},
                       "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}]})
    yield port
    server.close()


async def test_http_to_a_pod_and_to_a_service(dial: Dialer, pages: int) -> None:
    for what in (f"pods/p:{pages}", "services/s:80", "services/http:s:80"):
        code, headers, wire = await dial("POST", f"/api/v1/namespaces/default/{what}/proxy/a/b?c=d",
                                         "Content-Length: 4", "Connection: close", "", "body")
        assert (code, headers["x-own"]) == (207, "yes")
        text = await asyncio.wait_for(wire.reader.read(), LIMIT_SECONDS)
        assert b"POST /a/b?c=d HTTP/1.1 body" in text
        assert b"end" in text
        assert b"LEAK" not in text


@pytest.mark.parametrize(("what", "status"), [
    ("pods/p:1/proxy/", 503), ("pods/q:1/proxy/", 404), ("services/none:80/proxy/", 404), ("pods/p:web/proxy/", 400)])
async def test_what_a_proxy_cannot_reach(dial: Dialer, what: str, status: int) -> None:
    assert (await dial("GET", f"/api/v1/namespaces/default/{what}"))[0] == status
