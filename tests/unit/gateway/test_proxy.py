"""Requests through a gateway: routed, streamed, retried, refused, drained; rollouts drop none."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from lightship.gateway.routes import Backend, Endpoint
from tests.unit.gateway.conftest import TOKEN, Fake, Running, Start, read_request, route

NOBODY = Endpoint("127.0.0.1", 9)
PATH = "/serving/default/iris"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_by_path_and_by_host(start: Start) -> None:
    async with start() as running:
        a = await running.upstream("a")
        running.use(route(a.endpoint))
        assert await running.get(f"{PATH}/v1/models?x=1") == (200, "a /v1/models?x=1")
        assert await running.get("/any/path", headers=TOKEN | {"Host": "iris-default.example.com"}) == (
            200, "a /any/path")
        async with running.client.post(f"{PATH}/p", data=b"body", headers=TOKEN) as answer:
            assert (answer.status, answer.headers["x-from"]) == (200, "a")
        head, body = a.requests[-1]
        assert body == b"body"
        assert b"Bearer" not in head
        assert a.connections == 1


async def test_bodies_in_pieces_both_ways(start: Start) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):
            piece = await reader.readexactly(size + 2)
            writer.write(b"%x\r\n%b" % (size, piece))
        writer.write(b"0\r\n\r\n")

    async with start() as running:
        running.use(route((await running.upstream("a", echo)).endpoint))
        answered = asyncio.Event()

        async def pieces():  # type: ignore[no-untyped-def]
            yield b"one"
            # The second piece leaves only once the first has come back: nothing is collected on the way.
            await answered.wait()
            yield b"two"

        async with running.client.post(PATH, data=pieces(), headers=TOKEN) as answer:
            assert await answer.content.readany() == b"one"
            answered.set()
            assert await answer.content.read() == b"two"


async def test_large_bodies_are_held_back_by_a_slow_reader(start: Start) -> None:
    size = 32 * 1024 * 1024
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    async with start() as running:
        running.use(route((await running.upstream("a", flood)).endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port, limit=65536)
        writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n" % PATH.encode())
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while written != before:  # until the flood stands still
            before = written
            await asyncio.sleep(0.1)
        assert written < size
        assert len(await reader.readexactly(size)) == size
        writer.close()


async def test_a_large_upload_to_a_slow_model_is_held_back(start: Start) -> None:
    go = asyncio.Event()
    size = 32 * 1024 * 1024

    async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        assert len(await reader.readexactly(size)) == size
        writer.write(OK)

    async with start() as running:
        running.use(route((await running.upstream("a", lazy)).endpoint))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\ncontent-length: %d\r\n\r\n"
                     % (PATH.encode(), size))
        writer.write(b"x" * size)
        left = -1
        while writer.transport.get_write_buffer_size() != left:
            left = writer.transport.get_write_buffer_size()
            await asyncio.sleep(0.1)
        assert left > size // 2
        go.set()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_an_endpoint_that_refuses_is_passed_over(start: Start) -> None:
    async with start() as running:
        a = await running.upstream("a")
        running.use(route(backends=[Backend(revision="dead", weight=50, endpoints=(NOBODY,)),
                                    Backend(revision="r1", weight=50, endpoints=(a.endpoint, NOBODY))]))
        for _ in range(8):
            async with running.client.post(PATH, data=b"x" * 1000, headers=TOKEN) as answer:
                assert answer.status == 200
        assert sum(load.retries for load in running.core.loads) >= 4
        assert [body for _, body in a.requests] == [b"x" * 1000] * 8


async def test_no_endpoint_accepts(start: Start) -> None:
    async with start() as running:
        running.use(route(NOBODY))
        status, body = await running.json(PATH)
        assert status == 502
        assert "could not connect" in body["error"]
        assert body["inferenceService"] == "default/iris"


async def test_nothing_ready_says_why(start: Start) -> None:
    async with start() as running:
        running.use(route(message="the model cannot be loaded"))
        status, body = await running.json(PATH)
        assert status == 503
        assert body["error"] == ('InferenceService "default/iris" has no ready endpoint: the model cannot be loaded')
        assert "kubectl -n default describe inferenceservice iris" in body["remedy"]


async def test_a_request_waits_a_moment_for_the_first_endpoint(start: Start) -> None:
    async with start(hold_seconds=20) as running:
        a = await running.upstream("a")
        running.use(route())
        waiting = asyncio.ensure_future(running.get(PATH))
        await running.get("/healthz")
        running.use(route(message="still nothing"))
        running.use(route(a.endpoint))
        assert await waiting == (200, "a /")


@pytest.mark.parametrize("path", ["/", "/serving/default/other/x", "/v1/models"])
async def test_unknown_places(start: Start, path: str) -> None:
    async with start() as running:
        status, body = await running.json(path)
        assert status == 404
        assert "no InferenceService" in body["error"]


async def test_before_the_routes_are_known(start: Start) -> None:
    async with start(loaded=False) as running:
        assert (await running.json(PATH))[0] == 503
        assert (await running.json("/-/ready"))[0] == 503
        assert (await running.json("/healthz"))[0] == 200


async def test_the_token_is_wanted(start: Start) -> None:
    async with start() as running:
        a = await running.upstream("a")
        running.use(route(a.endpoint))
        for path in (PATH, "/-/metrics", "/-/routes"):
            status, body = await running.json(path, headers={})
            assert status == 401
            assert "Authorization: Bearer" in body["remedy"]
        assert a.requests == []
        assert await running.get(PATH, headers={"Authorization": "Bearer slow"}) == (200, "a /")
        assert (await running.get("/healthz", headers={}))[0] == 200


async def test_own_pages(start: Start) -> None:
    async with start() as running:
        a = await running.upstream("a")
        running.use(route(a.endpoint))
        await running.get(PATH)
        _, text = await running.get("/-/metrics")
        assert ('lightship_gateway_requests_total{namespace="default",name="iris",component="predictor",'
                'revision="r1",status="200"} 1') in text
        _, body = await running.json("/-/routes")
        assert body["routes"][0]["backends"][0]["endpoints"] == [str(a.endpoint)]
        async with running.client.post("/healthz") as answer:
            assert answer.status == 405


async def cut_before(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def cut_in_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-")
    await writer.drain()


async def cut_in_short_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    await writer.drain()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"hello there\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("script", [cut_before, cut_in_head, cut_in_short_body, nonsense])
async def test_a_model_server_that_breaks_off_is_a_502(start: Start, script) -> None:  # type: ignore[no-untyped-def]
    async with start() as running:
        running.use(route((await running.upstream("a", script)).endpoint))
        async with running.client.post(PATH, data=b"x", headers=TOKEN) as answer:
            assert answer.status == 502
            assert 'model server of InferenceService "default/iris"' in (await answer.json())["error"]


async def test_a_long_answer_that_breaks_off_is_not_taken_for_whole(start: Start) -> None:
    async def cut_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()

    async with start() as running:
        running.use(route((await running.upstream("a", cut_late)).endpoint))
        with pytest.raises(aiohttp.ClientPayloadError):
            await running.get(PATH)


async def test_a_second_answer_is_nobodys(start: Start) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await writer.drain()
        await reader.read()

    async with start() as running:
        a = await running.upstream("a", twice)
        running.use(route(a.endpoint))
        assert await running.get(PATH) == (200, "ok")
        assert await running.get(PATH) == (200, "ok")
        assert a.connections == 2


async def test_a_silent_model_server_is_a_504(start: Start) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with start() as running:
        running.use(route((await running.upstream("a", silent)).endpoint, timeout=0.1))
        status, body = await running.json(PATH)
        assert status == 504
        assert "did not answer within 0.1 s" in body["error"]


async def test_a_kept_connection_that_was_closed_is_no_error_for_a_get(start: Start) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)  # and close without a word

    async with start() as running:
        a = await running.upstream("a", once)
        running.use(route(a.endpoint))
        for _ in range(3):
            assert await running.get(PATH) == (200, "ok")


async def test_answers_without_length_and_without_body(start: Start) -> None:
    answers = iter([b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
                    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"])

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(StopIteration):
            while True:
                await read_request(reader)
                writer.write(next(answers))
                await writer.drain()

    async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        await writer.drain()

    async with start() as running:
        b = await running.upstream("b", until_close)
        running.use(route((await running.upstream("a", script)).endpoint), route(b.endpoint, name="close"))
        assert await running.get(PATH) == (204, "")
        assert await running.get(PATH) == (200, "ok")
        async with running.client.head(PATH, headers=TOKEN) as answer:
            assert (answer.status, answer.headers["content-length"]) == (200, "5")
        assert await running.get("/serving/default/close") == (200, "to the end")
        old = await running.raw(b"GET /serving/default/close HTTP/1.0\r\nauthorization: Bearer good\r\n\r\n")
        assert old.endswith(b"\r\n\r\nto the end")
        assert b"chunked" not in old


HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n" % PATH.encode()


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 9000, b"431"),
    (HEAD + b"content-length: 9999\r\n\r\n", b"413"),
    (HEAD + b"transfer-encoding: chunked\r\n\r\n7d0\r\n" + b"a" * 2000 + b"\r\n0\r\n\r\n", b"413"),
    (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501"),
    (HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nhost: ", b"408"),
    (HEAD + b"content-length: 10\r\n\r\nabc", b"408"),
])
async def test_requests_that_are_refused(start: Start, sent: bytes, status: bytes) -> None:
    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with start(head_bytes=8192, body_bytes=1000, read_seconds=0.2) as running:
        running.use(route((await running.upstream("a", patient)).endpoint))
        answer = await running.raw(sent)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'{"error":' in answer


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    async with start(pipelined_requests=2) as running:
        a = await running.upstream("a")
        running.use(route(a.endpoint))
        one = b"GET %b/%d HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n"
        sent = b"".join(one % (PATH.encode(), number) for number in range(50))
        answer = await running.raw(sent + b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert [int(part.split(b"HTTP")[0]) for part in answer.split(b"a /")[1:]] == list(range(50))
        assert b"404 Not Found" in answer


async def test_a_client_that_leaves_frees_the_model(start: Start) -> None:
    left = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        left.set()

    async with start() as running:
        running.use(route((await running.upstream("a", waits)).endpoint))
        _, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\r\n" % PATH.encode())
        await running.until(lambda: bool(running.core.balancer.in_flight))
        writer.close()
        await asyncio.wait_for(left.wait(), 20)


async def test_drain_finishes_what_is_in_flight(start: Start) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await go.wait()
        writer.write(OK)
        await writer.drain()

    async with start() as running:
        running.use(route((await running.upstream("a", slow)).endpoint))
        answer = asyncio.ensure_future(running.get(PATH))
        await running.until(lambda: bool(running.core.balancer.in_flight))
        draining = asyncio.ensure_future(running.gateway.drain())
        await asyncio.sleep(0)
        go.set()
        assert await answer == (200, "ok")
        await asyncio.wait_for(draining, 20)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", running.gateway.port)


async def test_no_request_is_dropped_or_misrouted_through_rollouts(start: Start) -> None:
    """Clients hammer two services while their Pods are replaced: each answer is whole and of the right service."""
    async with start() as running:
        stop = False
        wrong: list[tuple[int, str]] = []
        count = 0

        async def hammer(name: str) -> None:
            nonlocal count
            while not stop:
                async with running.client.post(f"/serving/default/{name}/p", data=b"x", headers=TOKEN) as answer:
                    text = await answer.text()
                    if answer.status != 200 or not text.startswith(f"{name}-"):
                        wrong.append((answer.status, text))
                count += 1

        async def replica(name: str, number: int) -> Fake:
            return await running.upstream(f"{name}-{number}")

        current = {name: await replica(name, 0) for name in ("iris", "wine")}
        running.use(*(route(fake.endpoint, name=name) for name, fake in current.items()))
        clients = [asyncio.ensure_future(hammer(name)) for name in ("iris", "wine") for _ in range(4)]
        for number in range(1, 21):
            name = ("iris", "wine")[number % 2]
            old, new = current[name], await replica(name, number)
            both = {other: (fake.endpoint,) for other, fake in current.items()} | {name: (old.endpoint, new.endpoint)}
            running.use(*(route(*endpoints, name=other) for other, endpoints in both.items()))
            before = count
            current[name] = new
            running.use(*(route(fake.endpoint, name=other) for other, fake in current.items()))
            while running.core.balancer.in_flight.get(old.endpoint) or count < before + 10:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await old.stop()
        stop = True
        await asyncio.gather(*clients)
        assert wrong == []
        assert count > 200


async def test_a_port_that_is_taken(start: Start) -> None:
    from lightship import errors
    from lightship.gateway.server import Gateway

    async with start() as running:
        other: Running = running
        with pytest.raises(errors.StateError, match="--gateway-port"):
            await Gateway(other.core).listen("127.0.0.1", other.gateway.port)
