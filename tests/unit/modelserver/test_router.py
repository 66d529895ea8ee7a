"""An InferenceGraph's router over real sockets: the four routers as upstream's, streams, headers, and failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lightship import errors
from lightship.modelserver.router import graph
from lightship.modelserver.router.server import GraphServer, Options


class Models:
    """A server with a model at every path: it answers with its name, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self.url = ""
        self.gate = asyncio.Event()
        self.left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.strip("/")
        body = await request.read()
        self.asked.append((name, json.loads(body), {key.lower(): value for key, value in request.headers.items()}))
        if name == "slow":
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.left.set()
                raise
        if name == "tokens":
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(b"data: one\n\n")
            await self.gate.wait()
            await stream.write(b"data: two\n\n")
            return stream
        status, answer = self.answers.get(name, (200, {"predictions": [name]}))
        return web.json_response(answer, status=status)

    def names(self) -> list[str]:
        return [name for name, _, _ in self.asked]


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    made = Models()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.gate.set()
    await runner.cleanup()


@asynccontextmanager
async def routing(models: Models, nodes: dict[str, Any], *, points: list[int] | None = None, propagate: str = "",
                  **timeouts: int) -> AsyncIterator[Any]:
    """A router of these nodes; a step's ``ask`` is a model's name."""
    for node in nodes.values():
        for step in node["steps"]:
            if "ask" in step:
                step["serviceUrl"] = f"{models.url}/{step.pop('ask')}"
    dice = iter(points or [])
    server = GraphServer(Options(graph=graph.parse({"nodes": nodes, "routerTimeouts": timeouts}), host="127.0.0.1",
                                 port=0, propagate=propagate, dice=lambda: next(dice)))
    await server.listen()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        async def ask(body: Any = None, **headers: str) -> tuple[int, Any]:
            async with client.post("/", data=json.dumps(body or {"instances": [1]}), headers=headers) as answer:
                return answer.status, json.loads(await answer.read())

        ask.client = client  # type: ignore[attr-defined]
        try:
            yield ask
        finally:
            await client.close()
            await server.drain()


async def test_a_splitter_by_its_weights(models: Models) -> None:
    nodes = {"root": {"routerType": "Splitter", "steps": [{"ask": "a", "weight": 20}, {"ask": "b", "weight": 80}]}}
    async with routing(models, nodes, points=[0, 19, 20, 99]) as ask:
        for _ in range(4):
            assert (await ask())[0] == 200
    assert models.names() == ["a", "a", "b", "b"]


async def test_a_switch_by_upstreams_own_conditions(models: Models) -> None:
    nodes = {"root": {"routerType": "Switch", "steps": [
        {"ask": "object", "condition": "[@this].#(source==client)"},
        {"ask": "array", "condition": "instances.#(intval>10)"},
        {"ask": "pattern", "condition": "instances.#(strval%*red-server*)"}]}}
    async with routing(models, nodes) as ask:
        for body in ({"source": "client"}, {"instances": [{"intval": 5}, {"intval": 12}]},
                     {"instances": [{"strval": "a-red-server-1"}]}):
            assert (await ask(body))[0] == 200
        assert models.names() == ["object", "array", "pattern"]
        status, body = await ask({"instances": [{"intval": 5}]})
        assert status == 404
        assert body == {"error": "Failed to process request",
                        "cause": "None of the routes matched with the switch condition"}
        async with ask.client.post("/", data=b"no JSON") as answer:
            assert answer.status == 404


async def test_an_ensemble_asks_all_at_once_and_keys_by_name_or_place(models: Models) -> None:
    nodes = {"root": {"routerType": "Ensemble", "steps": [{"ask": "slow", "name": "x"}, {"ask": "b"}]}}
    async with routing(models, nodes) as ask:
        waiting = asyncio.ensure_future(ask())
        while len(models.asked) < 2:
            await asyncio.wait({waiting}, timeout=0.01)
        models.gate.set()
        assert await waiting == (200, {"x": {"predictions": ["slow"]}, "1": {"predictions": ["b"]}})


async def test_an_ensembles_hard_step_decides_and_a_soft_one_does_not(models: Models) -> None:
    models.answers["bad"] = (503, {"error": "no"})
    steps = [{"ask": "bad", "name": "bad", "dependency": "Hard"}, {"ask": "slow", "name": "slow"}]
    async with routing(models, {"root": {"routerType": "Ensemble", "steps": steps}}) as ask:
        assert await ask() == (503, {"error": "no"})
        await asyncio.wait_for(models.left.wait(), 30)  # nobody wants the other's answer any more
    steps = [{"ask": "bad", "name": "bad", "dependency": "Soft"}, {"ask": "b", "name": "b"}]
    async with routing(models, {"root": {"routerType": "Ensemble", "steps": steps}}) as ask:
        assert await ask() == (200, {"bad": {"error": "no"}, "b": {"predictions": ["b"]}})


async def test_a_sequence_hands_on_request_or_response(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [
        {"ask": "a"}, {"ask": "b", "data": "$request"}, {"ask": "c", "data": "$response"},
        {"ask": "d", "data": "$response", "mapPredictionsToInstances": True}]}}
    async with routing(models, nodes) as ask:
        assert await ask() == (200, {"predictions": ["d"]})
    assert [(name, body) for name, body, _ in models.asked] == [
        ("a", {"instances": [1]}), ("b", {"instances": [1]}), ("c", {"predictions": ["b"]}),
        ("d", {"instances": ["c"]})]


async def test_a_condition_ends_a_sequence_early_and_a_hard_step_too(models: Models) -> None:
    steps = [{"ask": "a"}, {"ask": "b", "data": "$response", "condition": 'predictions.#(=="other")'}]
    async with routing(models, {"root": {"routerType": "Sequence", "steps": steps}}) as ask:
        assert await ask() == (200, {"predictions": ["a"]})
    models.answers["bad"] = (418, {"error": "teapot"})
    for dependency, expected in (("Hard", (418, {"error": "teapot"})), ("Soft", (200, {"predictions": ["b"]}))):
        steps = [{"ask": "bad", "dependency": dependency}, {"ask": "b", "data": "$response"}]
        async with routing(models, {"root": {"routerType": "Sequence", "steps": steps}}) as ask:
            assert await ask() == expected


async def test_nodes_within_nodes(models: Models) -> None:
    nodes = {
        "root": {"routerType": "Sequence", "steps": [{"nodeName": "both"}, {"ask": "last", "data": "$response"}]},
        "both": {"routerType": "Ensemble", "steps": [{"ask": "a", "name": "a"}, {"nodeName": "one", "name": "one"}]},
        "one": {"routerType": "Splitter", "steps": [{"ask": "b", "weight": 100}]}}
    async with routing(models, nodes, points=[50]) as ask:
        assert await ask() == (200, {"predictions": ["last"]})
    assert models.asked[-1][1] == {"a": {"predictions": ["a"]}, "one": {"predictions": ["b"]}}


async def test_headers_go_on_by_their_patterns_alone(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [{"ask": "a"}, {"ask": "b"}]}}
    headers = {"Authorization": "Bearer t", "X-Trace-Id": "7", "X-Other": "no", "Connection": "keep-alive"}
    async with routing(models, nodes, propagate="Authorization, ^X-Trace-.*, [, Conn.*") as ask:
        assert (await ask(None, **headers))[0] == 200
    for _, _, seen in models.asked:
        assert (seen["authorization"], seen["x-trace-id"], seen.get("x-other")) == ("Bearer t", "7", None)
        assert seen["content-type"]


async def test_the_last_steps_stream_is_streamed(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [{"ask": "a"}, {"ask": "tokens", "data": "$response"}]}}
    async with routing(models, nodes) as ask, ask.client.post("/", json={}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.content.readexactly(11) == b"data: one\n\n"  # while the model has not said the rest
        models.gate.set()
        assert await answer.content.read() == b"data: two\n\n"


async def test_a_client_that_leaves_ends_the_step(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [{"ask": "slow"}]}}
    async with routing(models, nodes) as ask:
        waiting = asyncio.ensure_future(ask())
        while not models.asked:
            await asyncio.wait({waiting}, timeout=0.01)
        waiting.cancel()
        await asyncio.wait_for(models.left.wait(), 30)


async def test_steps_that_cannot_be_asked(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceUrl": "http://127.0.0.1:1/x"}]}}
    async with routing(models, nodes) as ask:
        status, body = await ask()
        assert (status, body["error"]) == (500, "Failed to process request")
        assert "http://127.0.0.1:1/x did not answer" in body["cause"]
    nodes = {"root": {"routerType": "Sequence", "steps": [{"ask": "slow"}]}}
    async with routing(models, nodes, serviceClient=1) as ask:
        status, body = await ask()
        assert status == 504
        assert "within 1" in body["cause"]
    async with routing(models, {"root": {"routerType": "Splitter", "steps": []}}, points=[1]) as ask:
        assert (await ask())[0] == 500
    for bad in (b"{", b"[]", b'{"nodes": {"root": {}}}'):
        with pytest.raises(errors.InvalidInput):
            graph.parse(bad)


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    """The step's server closes after each answer, without having said so."""
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    listener = await asyncio.start_server(once, "127.0.0.1", 0)
    models = Models()
    models.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with routing(models, {"root": {"routerType": "Sequence", "steps": [{"ask": "a"}]}}) as ask:
        for _ in range(5):
            assert await ask() == (200, {})
    listener.close()
    assert served == 5


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{}")
        writer.close()

    listener = await asyncio.start_server(half, "127.0.0.1", 0)
    models = Models()
    models.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with routing(models, {"root": {"routerType": "Sequence", "steps": [{"ask": "a"}]}}) as ask:
        status, body = await ask()
        assert (status, body["cause"]) == (500, "a step's answer broke off")
    listener.close()


async def test_it_says_whether_it_is_ready(models: Models) -> None:
    nodes = {"root": {"routerType": "Sequence", "steps": [{"ask": "a"}]}}
    async with routing(models, nodes) as ask, ask.client.get("/readyz") as answer:
        assert answer.status == 200
