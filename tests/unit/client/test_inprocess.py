"""The in-process transport: identity, streaming, and letting go of what is abandoned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.client.inprocess import InProcess
from lightship.client.transport import Request, Response, User
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.testing.clock import settle

ROBOT = User(name="system:serviceaccount:kubeflow:robot", groups=("system:authenticated",))
EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}\n'


class Streaming:
    """A server whose watch gives one event at once and then waits."""

    def __init__(self) -> None:
        self.open = 0
        self.seen: list[Request] = []
        self.more = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if "watch=true" in request.query or request.path.endswith("/log"):
            return Response(status=200, body=self._body())
        return Response(status=200, body=b'{"kind":"Pod","metadata":{"name":"a"}}')

    async def _body(self) -> AsyncGenerator[bytes]:
        self.open += 1
        try:
            yield EVENT[:20]
            yield EVENT[20:] + EVENT[:5]
            await self.more.wait()
            yield EVENT[5:]
        finally:
            self.open -= 1


@pytest.fixture
def server() -> Streaming:
    return Streaming()


async def test_requests_carry_their_identity(server: Streaming) -> None:
    client = Client(InProcess(server.handle, ROBOT))
    assert (await client.get(PODS, "a", "default"))["kind"] == "Pod"
    assert server.seen[0].user == ROBOT
    assert "authorization" not in server.seen[0].headers


async def test_a_watch_hands_events_over_as_they_come_whatever_the_chunks(server: Streaming) -> None:
    client = Client(InProcess(server.handle, ROBOT))
    async with aclosing(client.watch(PODS, resource_version="1")) as events:
        first = await asyncio.wait_for(anext(events), 5)
        assert first.object["metadata"]["name"] == "a"
        server.more.set()
        assert (await asyncio.wait_for(anext(events), 5)).type == "ADDED"
        assert [event async for event in events] == []
    assert server.open == 0


async def test_an_abandoned_watch_is_closed_on_the_servers_side(server: Streaming) -> None:
    client = Client(InProcess(server.handle, ROBOT))
    async with aclosing(client.watch(PODS, resource_version="1")) as events:
        await anext(events)
        assert server.open == 1
    assert server.open == 0


async def test_a_cancelled_reader_lets_go(server: Streaming) -> None:
    client = Client(InProcess(server.handle, ROBOT))

    async def read() -> None:
        async with aclosing(client.watch(PODS, resource_version="1")) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(read())
    await settle()
    assert server.open == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert server.open == 0


async def test_closing_the_transport_ends_its_streams(server: Streaming) -> None:
    transport = InProcess(server.handle, ROBOT)
    client = Client(transport)
    events = client.watch(PODS, resource_version="1")
    await anext(events)
    await transport.close()
    assert server.open == 0
    with pytest.raises(errors.Unavailable, match="closed"):
        await client.get(PODS, "a", "default")
    await events.aclose()


async def test_a_log_streams_and_is_closed(server: Streaming) -> None:
    client = Client(InProcess(server.handle, ROBOT))
    async with aclosing(client.log(Key("default", "a"), {"follow": "true"})) as chunks:
        assert await anext(chunks) == EVENT[:20]
    assert server.open == 0


async def test_a_stream_that_breaks_inside_an_event_is_an_error() -> None:
    async def handle(request: Request) -> Response:
        async def body() -> AsyncGenerator[bytes]:
            yield EVENT[:10]

        return Response(status=200, body=body())

    client = Client(InProcess(handle, ROBOT))
    with pytest.raises(errors.Unavailable, match="inside an event"):
        [event async for event in client.watch(PODS, resource_version="1")]


async def test_an_error_event_is_raised() -> None:
    async def handle(request: Request) -> Response:
        return Response(status=200, body=b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired",'
                                         b'"message":"too old"}}\n')

    client = Client(InProcess(handle, ROBOT))
    with pytest.raises(errors.Gone, match="too old"):
        [event async for event in client.watch(PODS, resource_version="1")]
