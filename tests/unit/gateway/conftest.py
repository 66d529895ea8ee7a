"""A gateway in the test's own loop, with model servers that do as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import uvloop

from lightship.gateway.core import Core
from lightship.gateway.gatekeeper import ALLOWED, MISSING, Target, Verdict
from lightship.gateway.options import Limits
from lightship.gateway.routes import Backend, Component, Endpoint, Route, Table, table
from lightship.gateway.server import Gateway

TOKEN = {"Authorization": "Bearer good"}


class OpenDoor:
    """Lets every bearer of the token "good" in at once, and of "slow" after a review."""

    def known(self, authorization: bytes, target: Target) -> Verdict | None:
        if authorization == b"Bearer good":
            return ALLOWED
        return None if authorization == b"Bearer slow" else MISSING

    def permit(self, authorization: bytes, target: Target) -> bytes:
        return authorization[::-1]

    def holds(self, permit: bytes) -> bool:
        return permit[::-1] in (b"Bearer good", b"Bearer slow")

    async def review(self, authorization: bytes, target: Target) -> Verdict:
        await asyncio.sleep(0)
        return ALLOWED


def route(*endpoints: Endpoint, name: str = "iris", timeout: float = 20, message: str = "",
          backends: Sequence[Backend] | None = None, **more: Any) -> Route:
    return Route(namespace="default", name=name, hosts=(f"{name}-default.example.com",),
                 prefix=f"/serving/default/{name}", timeout_seconds=timeout, message=message,
                 entry=Component(backends=tuple(backends if backends is not None else [
                     Backend(revision="r1", weight=100, endpoints=tuple(endpoints))])), **more)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Fake:
    """A model server: answers with its own name and what it was asked; or runs a script on each connection."""

    name: str
    script: Script | None = None
    endpoint: Endpoint = Endpoint("127.0.0.1", 1)
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> Fake:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.endpoint.port
                                                  if self.endpoint.port != 1 else 0)
        self.endpoint = Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if self.script is not None:
                await self.script(reader, writer)
            else:
                while True:
                    head, body = await read_request(reader)
                    self.requests.append((head, body))
                    answer = self.name.encode() + b" " + head.split(b" ")[1]
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-from: %b\r\n\r\n%b"
                                 % (len(answer), self.name.encode(), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(await reader.readuntil(b"\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return head, body
    length = 0
    for line in lower.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length)


@dataclass
class Running:
    """A listening gateway and a client of it."""

    gateway: Gateway
    client: aiohttp.ClientSession
    fakes: list[Fake]
    servers: list[asyncio.Server] = field(default_factory=list)

    @property
    def core(self) -> Core:
        return self.gateway.core

    def use(self, *routes: Route) -> None:
        self.core.swap(table(routes))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the gateway has got so far; it tells nobody of its inner steps."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def upstream(self, name: str = "a", script: Script | None = None) -> Fake:
        fake = await Fake(name, script).start()
        self.fakes.append(fake)
        return fake

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.client.get(path, **{"headers": TOKEN} | options) as answer:
            return answer.status, await answer.text()

    async def json(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.client.get(path, **{"headers": TOKEN} | options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes and read until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(sent)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


Start = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def start() -> Start:
    @contextlib.asynccontextmanager
    async def run(gatekeeper: Any = None, loaded: bool = True, **limits: Any) -> AsyncIterator[Running]:
        bounds = Limits(**{"drain_seconds": 5.0, "drain_idle_seconds": 0.05, "hold_seconds": 0.05} | limits)
        core = Core(gatekeeper=gatekeeper or OpenDoor(), limits=bounds)
        if loaded:
            core.swap(Table())
        gateway = Gateway(core)
        await gateway.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client:
            running = Running(gateway, client, [])
            try:
                yield running
            finally:
                await client.close()
                await gateway.drain()
                for fake in running.fakes:
                    await fake.stop()
                for server in running.servers:
                    server.close()
        assert core.balancer.in_flight == {}

    return run


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Both loops: uvloop is what runs, and differs in small things; asyncio is the fallback."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
