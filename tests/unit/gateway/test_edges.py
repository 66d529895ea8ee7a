"""What hostile or unusual clients and model servers send: smuggling, trailers, other protocols, slow and huge heads."""

from __future__ import annotations

import asyncio
import contextlib

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightship.gateway import heads, recipes
from lightship.gateway.heads import RequestHead, ResponseHead
from lightship.gateway.routes import Component, Match, Table
from tests.unit.gateway.conftest import Fake, Start, read_request, route

PATH = b"/serving/default/iris"
HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n" % PATH
LAST = b"GET %b/last HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\nconnection: close\r\n\r\n" % PATH

SMUGGLED = [
    HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
    HEAD + b"content-length: 4, 4\r\n\r\nabcd",
    HEAD + b"content-length: +4\r\n\r\nabcd",
    HEAD + b"content-length: 0x4\r\n\r\nabcd",
    HEAD + b"content-length : 4\r\n\r\nabcd",
    HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"x: a\r\n transfer-encoding: chunked\r\n\r\n",
    HEAD + b"x: a\ntransfer-encoding: chunked\r\n\r\n",
    HEAD + b"x: a\rtransfer-encoding: chunked\r\n\r\n",
    HEAD + b"x: a\0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
    b"POST %b HTTP/1.0\r\nhost: x\r\nauthorization: Bearer good\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % PATH,
    b"GET %b HTTP/1.1\nhost: x\n\n" % PATH,
    b"GET %b HTTP/1.1\r\n\r\n" % PATH,
    b"GET %b\r\n\r\n" % PATH,
    b"GET %b HTTP/1.2\r\nhost: x\r\n\r\n" % PATH,
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
]


@pytest.mark.parametrize("sent", SMUGGLED)
async def test_what_two_readers_could_read_differently_is_refused_and_ends_the_connection(
        start: Start, sent: bytes) -> None:
    async with start() as running:
        model = await running.upstream("a")
        running.use(route(model.endpoint))
        answer = await running.raw(sent + LAST)
        assert answer.startswith(b"HTTP/1.1 ")
        assert answer.split(b" ")[1] in (b"400", b"501", b"505")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert model.requests == []


async def test_trailers_are_passed_on_and_are_nobodys_head(start: Start) -> None:
    async def with_trailers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"0\r\n"))
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n"
                     b"0\r\nx-sum: 7\r\nset-cookie: a=b\r\n\r\n")
        await writer.drain()
        await reader.read()

    seen: list[bytes] = []
    async with start() as running:
        running.use(route((await running.upstream("a", with_trailers)).endpoint))
        answer = await running.raw(
            HEAD + b"transfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\nhost: evil\r\n"
            b"authorization: Bearer good\r\n\r\n"
            b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % PATH)
        assert b"trailer: x-t\r\n" in seen[0]
        assert seen[1] == b"x-t: 1\r\n\r\n"
        assert b"0\r\nx-sum: 7\r\n\r\n" in answer
        assert b"HTTP/1.1 401" in answer  # the trailer's token is not the next request's


async def test_trailers_are_bounded(start: Start) -> None:
    async with start(head_bytes=2000) as running:
        running.use(route((await running.upstream("a")).endpoint))
        answer = await running.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: %b\r\n" % (b"a" * 99) * 99)
        assert b"HTTP/1.1 431" in answer


async def test_a_websocket_is_passed_through_both_ways(start: Start) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                     b"sec-websocket-accept: k\r\n\r\nhello")
        while data := await reader.read(100):
            writer.write(data.upper())

    seen: list[bytes] = []
    async with start() as running:
        model = await running.upstream("a", echo)
        running.use(route(model.endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        writer.write(b"GET %b/ws HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n"
                     b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n"
                     b"early" % PATH)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: websocket" in head
        assert b"sec-websocket-accept: k" in head
        assert await reader.readexactly(10) == b"helloEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        assert b"connection: upgrade\r\nupgrade: websocket\r\n" in seen[0]
        assert b"Bearer" not in seen[0]
        assert running.core.balancer.in_flight == {model.endpoint: 1}
        writer.close()
        await running.until(lambda: not running.core.balancer.in_flight)


async def test_a_websocket_that_the_model_server_refuses_or_ends(start: Start) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nbye")
        await writer.drain()

    asked = (b"GET %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\nconnection: upgrade\r\n"
             b"upgrade: websocket\r\n\r\n" % PATH)
    async with start() as running:
        running.use(route((await running.upstream("a", refuses)).endpoint))
        answer = await running.raw(asked + LAST)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\nno")
        running.use(route((await running.upstream("b", ends)).endpoint))
        assert (await running.raw(asked)).endswith(b"\r\n\r\nbye")


async def test_a_model_server_that_changes_protocols_unasked_is_a_502(start: Start) -> None:
    async def changes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        await reader.read()

    async with start() as running:
        running.use(route((await running.upstream("a", changes)).endpoint))
        assert (await running.raw(HEAD + b"content-length: 0\r\n\r\n" + LAST)).count(b"HTTP/1.1 502") == 2


async def test_expect_is_answered_once_the_caller_is_let_in(start: Start) -> None:
    async with start() as running:
        running.use(route((await running.upstream("a")).endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        writer.write(HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        refused = await running.raw(b"POST %b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
                                    % PATH)
        assert refused.startswith(b"HTTP/1.1 401")


async def test_a_whole_url_counts_for_its_host(start: Start) -> None:
    async with start() as running:
        running.use(route((await running.upstream("a")).endpoint))
        answer = await running.raw(b"GET http://iris-default.example.com/x?y HTTP/1.1\r\nhost: other\r\n"
                                   b"authorization: Bearer good\r\nconnection: close\r\n\r\n")
        assert answer.endswith(b"a /x?y")


async def test_heads_that_were_seen_before_are_read_as_the_first_time(start: Start) -> None:
    """What is remembered must not leak: between callers, tables, or answers of other lengths."""
    async with start() as running:
        a, b = await running.upstream("a"), await running.upstream("b")
        one = b"GET %b/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n" % PATH
        running.use(route(a.endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)

        async def ask(request: bytes) -> bytes:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return head.split(b" ")[1] + b" " + await reader.readexactly(length)

        assert [await ask(one) for _ in range(3)] == [b"200 a /x"] * 3
        assert (await ask(one.replace(b"good", b"evil"))).startswith(b"401")
        running.use(route(b.endpoint))
        assert [await ask(one) for _ in range(3)] == [b"200 b /x"] * 3
        for piece in (one[:20], one[20:-2]):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert await ask(one[-2:]) == b"200 b /x"
        writer.write(one + one)
        assert [await ask(b""), await ask(b"")] == [b"200 b /x"] * 2
        assert b"Bearer" not in repr(running.core.recipes.__dict__).encode()
        writer.close()


async def test_an_interim_answer_is_never_taken_for_a_remembered_one(start: Start) -> None:
    """A model server crafts an interim answer whose remainder is as long as the final one says."""
    body = b"x" * 20

    async def crafty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            final = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + final % (len(final) + len(body))
                         + b"y" * (len(final) + len(body)))
            await writer.drain()

    async with start() as running:
        running.use(route((await running.upstream("a", crafty)).endpoint))
        texts = {(await running.get(PATH.decode()))[1] for _ in range(3)}
        assert len(texts) == 1
        assert set(texts.pop()) == {"y"}


NAMES = st.sampled_from([b"x-a", b"cookie", b"connection", b"te", b"trailer", b"upgrade", b"keep-alive", b"forwarded",
                         b"x-forwarded-for", b"authorization", b"host", b"accept"])
VALUES = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.sampled_from([None, 0, 5]))
def test_no_head_for_the_model_server_has_more_lines_or_another_framing(
        headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    head = RequestHead(b"POST", "/x", headers, length, True, True)
    made = heads.to_upstream(head, "/x") + heads.forwarded_for("1.2.3.4")
    assert made.endswith(b"\r\n\r\n")
    lines = made[:-4].split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") == 1
    assert names.count(b"x-forwarded-for") == 1
    assert not {b"authorization", b"connection", b"upgrade", b"keep-alive", b"forwarded"} & set(names)
    assert len(lines) <= len(headers) + 5


@given(st.lists(st.tuples(NAMES | st.sampled_from([b"content-length", b"transfer-encoding"]), VALUES), max_size=8),
       st.sampled_from([None, 0, 5]), st.booleans())
def test_no_head_for_the_client_has_two_framings(headers: list[tuple[bytes, bytes]], length: int | None,
                                                 keep: bool) -> None:
    head = ResponseHead(200, b"OK", headers, length, False)
    lines = heads.to_client(head, chunked=length is None, keep=keep).split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") == 1
    assert lines[-2:] == [b"", b""]
    assert (b"connection: close" in lines) != keep


LINES = st.sampled_from([b"x-a", b"X-Request-ID", b"traceparent", b"Content-Length", b"content-length", b"date", b"te",
                         b"x-forwarded-for", b"cookie", b"connection", b"accept", b"Content-Type", b"Expect",
                         b"trailer", b"Upgrade", b"forwarded", b"Host", b"knative-serving-tag", b"keep-alive"])
PLAIN = st.sampled_from([b"1", b"12", b"0", b"007", b"+3", b"a", b"a: b", b"x-request-id", b"keep-alive", b"a  b",
                         b"close", b"trailers", b"\xe9", b"lightship_session=s; a=1"])


def parsed(raw: bytes) -> RequestHead | None:
    """What the slow way makes of a head, where it is good."""
    found: list[tuple[bytes, bytes]] = []

    class Callbacks:
        def on_header(self, name: bytes, value: bytes) -> None:
            found.append((name.lower(), value))

    parser = httptools.HttpRequestParser(Callbacks())
    with contextlib.suppress(httptools.HttpParserError):
        parser.feed_data(raw)
        return RequestHead(b"POST", "/x", found, heads.content_length(found) or 0, True,
                           bool(parser.should_keep_alive()))
    return None


@given(st.lists(st.tuples(LINES, PLAIN), max_size=6), st.lists(st.tuples(LINES, PLAIN), max_size=6))
@settings(max_examples=400)
def test_a_head_that_is_known_goes_up_as_one_that_is_parsed(first: list[tuple[bytes, bytes]],
                                                            second: list[tuple[bytes, bytes]]) -> None:
    known = recipes.Recipes()
    for lines in (first, second):
        raw = b"".join((b"POST /x HTTP/1.1\r\nhost: h\r\n", *[b"%b: %b\r\n" % line for line in lines], b"\r\n"))
        head = parsed(raw)
        name, found = known.find(raw)
        if found is not None:
            assert head is not None
            assert sorted(found.upward.split(b"\r\n")) == sorted(
                line for line in heads.to_upstream(head, "/x").split(b"\r\n")
                if head.count(b"content-length") or not line.startswith(b"content-length"))
            assert found.size == len(raw) + (head.length or 0)
        elif name and head is not None and recipes.repeats(head):
            lasting = recipes.lasting(head)
            upward = heads.to_upstream(lasting, "/x", framed=False)
            known.learn_request(name, recipes.Request(lasting, Match(route(), Component(), "/x"), Table(), b"", upward,
                                                      head.count(b"content-length") == 1))


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_bytes_in_any_pieces_never_hang_or_reach_another(start: Start, data: st.DataObject) -> None:
    """Good requests with one thing broken, cut anywhere: an answer each or the end, and the model server sees no more
    requests than were sent."""
    pieces = [HEAD + b"content-length: 3\r\n\r\nabc", HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
              LAST.replace(b"connection: close\r\n", b"")]
    chosen = data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=4))
    sent = bytearray(b"".join(chosen))
    at = data.draw(st.integers(0, len(sent) - 1))
    change = data.draw(st.sampled_from(["none", "flip", "insert", "drop"]))
    junk = data.draw(st.sampled_from([b"\r", b"\n", b"\0", b" ", b":", b"\r\n", b"\r\n\r\n", b"9", b"\xff"]))
    if change == "flip":
        sent[at:at + 1] = junk
    elif change == "insert":
        sent[at:at] = junk
    elif change == "drop":
        del sent[at]
    cut = data.draw(st.integers(0, len(sent)))
    asyncio.run(_exchange(start, bytes(sent), cut, len(chosen)))


async def _exchange(start: Start, sent: bytes, cut: int, most: int) -> None:
    async with start(read_seconds=0.3, idle_seconds=0.3) as running:
        model: Fake = await running.upstream("a")
        running.use(route(model.endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        with contextlib.suppress(ConnectionError):
            writer.write(sent[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(sent[cut:])
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert len(model.requests) <= most + 1


