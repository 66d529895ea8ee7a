"""The wire: limits, pipelining, drain, clients that misbehave."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

from lightship.modelserver.options import Limits
from tests.unit.modelserver import models_for_tests as own
from tests.unit.modelserver.conftest import Running, Serve

MODEL = DummyClassifier(strategy="constant", constant=1).fit([[0], [0]], [1, 0])


async def talk(running: Running, sent: bytes) -> bytes:
    """Send bytes, half-close nothing, read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nx: " + b"a" * 5000, b"431"),
    (b"POST /v1/models/m:predict HTTP/1.1\r\ncontent-length: 5000\r\n\r\n", b"413"),
    (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + b"a" * 2000 + b"\r\n", b"413"),
    (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nx: ", b"408"),
    (b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc", b"408"),
])
async def test_refusals_are_answered_and_closed(serve: Serve, sent: bytes, status: bytes) -> None:
    limits = Limits(head_bytes=4096, body_bytes=1000, read_seconds=0.2)
    async with serve(MODEL, limits=limits) as running:
        answer = await talk(running, sent)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'{"error":' in answer
    assert b"connection: close" in answer


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    async with serve(MODEL, limits=Limits(pipelined_requests=2)) as running:
        paths = [b"/v1/models", b"/v2/health/live", b"/nowhere"] * 20 + [b"/"]
        sent = b"".join(b"GET " + path + b" HTTP/1.1\r\n\r\n" for path in paths[:-1])
        answer = await talk(running, sent + b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert statuses == [b"200", b"200", b"404"] * 20 + [b"200"]


async def test_an_offer_to_upgrade_is_ignored(serve: Serve) -> None:
    async with serve(MODEL) as running:
        answer = await talk(running, b"GET /v1/models HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
                            b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_body_in_pieces_and_expect_continue(serve: Serve) -> None:
    async with serve(MODEL) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        body = b'{"instances": [[1]]}'
        writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
                     % len(body))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readuntil(b"}")).endswith(b'{"predictions":[1]}')
        writer.close()


async def test_a_client_that_leaves_costs_no_predict(serve: Serve) -> None:
    own.GATE.clear()
    own.STARTED.clear()
    own.CALLS.clear()
    async with serve(own.Gated()) as running:
        first = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[1]]}))
        assert await asyncio.to_thread(own.STARTED.wait, 30)
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        body = b'{"instances": [[5],[5]]}'
        writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await running.get("/v2/health/live"))[0] == 200
        own.GATE.set()
        assert (await first)[0] == 200
        assert (await running.post("/v1/models/m:predict", {"instances": [[2]]}))[0] == 200
    assert own.CALLS == [1, 1]


async def test_drain_answers_what_is_in_flight_then_ends(serve: Serve) -> None:
    own.GATE.clear()
    own.STARTED.clear()
    async with serve(own.Gated()) as running:
        slow = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[9]]}))
        assert await asyncio.to_thread(own.STARTED.wait, 30)
        draining = asyncio.ensure_future(running.server.drain())
        await asyncio.sleep(0)
        own.GATE.set()
        assert await slow == (200, {"predictions": [9]})
        await asyncio.wait_for(draining, 20)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", running.server.port)


async def test_drain_has_an_end(serve: Serve) -> None:
    own.GATE.clear()
    own.STARTED.clear()
    async with serve(own.Gated(), limits=Limits(drain_seconds=0.1)) as running:
        stuck: asyncio.Future[Any] = asyncio.ensure_future(
            running.post("/v1/models/m:predict", {"instances": [[9]]}))
        assert await asyncio.to_thread(own.STARTED.wait, 30)
        await asyncio.wait_for(running.server.drain(), 20)
        with pytest.raises(Exception):  # noqa: B017  whichever error the client makes of a dropped connection
            await stuck
        own.GATE.set()
