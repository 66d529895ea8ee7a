"""The gateway's own process over a real API server: killed, it comes back with its routes; told to stop, it drains."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from lightship.composition.proxy import Gateway
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS
from lightship.settings import Settings
from lightship.testing.embedded import EmbeddedApi, embedded_api
from lightship.web import server as web_server

WAIT_SECONDS = 60
PATH = "/serving/default/iris"


class Model:
    """A model server that answers how many it has answered; ``slow`` ones once ``go`` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        self.endpoint = ""

    async def serve(self, stack: AsyncExitStack) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        stack.callback(server.close)
        self.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"/slow" in head:
                    self.arrived.set()
                    await self.go.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def route(endpoint: str, **backend: Any) -> dict[str, Any]:
    written = {"namespace": "default", "name": "iris", "prefix": PATH, "hosts": ["iris-default.example.com"],
               "backends": [{"revision": "r1", "endpoints": [endpoint] if endpoint else [], **backend}]}
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "iris-route", "namespace": "default",
                         "labels": {"lightship.dev/gateway-route": "true"}},
            "data": {"route.json": json.dumps(written)}}


@asynccontextmanager
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedApi, Gateway, Model, aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        model = Model()
        await model.serve(stack)
        api = await stack.enter_async_context(embedded_api(tmp_path))
        settings = Settings(data_dir=tmp_path, gateway_port=0)
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        probe = web_server.bind("127.0.0.1", 0, "--gateway-port")
        port = probe.getsockname()[1]
        probe.close()
        proxy = Gateway(settings, api.kubeconfig, port)
        await proxy.start(stack)
        await proxy.ready()
        watching = asyncio.ensure_future(proxy.watch())
        stack.callback(watching.cancel)
        session = await stack.enter_async_context(aiohttp.ClientSession(
            proxy.url, headers={"Authorization": f"Bearer {api.token}"}))
        yield api, proxy, model, session


async def answered(session: aiohttp.ClientSession, path: str = PATH) -> None:
    """Until a request is answered: the process is away for a moment, which is no answer at all."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                async with session.get(path) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(0.02)


async def load(session: aiohttp.ClientSession, query: str = "") -> Any:
    async with session.get(f"/-/load{query}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_killed_it_is_started_again_and_knows_its_routes(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (api, proxy, model, session):
        client = api.in_process()
        await client.create(CONFIGMAPS, route(model.endpoint))
        await answered(session)
        before = await load(session)
        for _ in range(2):
            assert proxy._process is not None
            killed = proxy._process
            os.kill(killed.pid, signal.SIGKILL)
            await killed.wait()
            await answered(session)
        after = await load(session)
        assert after["gateway"] != before["gateway"]


async def test_a_request_wakes_the_autoscaler_at_once_and_goes_on_when_a_pod_is_there(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (api, _, model, session):
        client = api.in_process()
        await client.create(CONFIGMAPS, route("", activate=True))
        async with asyncio.timeout(WAIT_SECONDS):
            while "iris" not in await (await session.get("/-/routes")).text():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        asked = asyncio.ensure_future(session.get(PATH))
        told = await load(session, "?after=0&wait=20")
        while told["poke"] == 0:
            told = await load(session, "?after=0&wait=20")
        assert [(one["name"], one["activating"]) for one in told["revisions"]] == [("iris", 1)]
        await client.patch(CONFIGMAPS, Key("default", "iris-route"), route(model.endpoint, activate=True))
        answer = await asyncio.wait_for(asked, WAIT_SECONDS)
        assert (answer.status, await answer.text()) == (200, "ok")


async def test_told_to_stop_it_answers_what_it_has(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (api, proxy, model, session):
        await api.in_process().create(CONFIGMAPS, route(model.endpoint))
        await answered(session)
        asked = asyncio.ensure_future(session.get(f"{PATH}/slow"))
        await asyncio.wait_for(model.arrived.wait(), WAIT_SECONDS)
        stopping = asyncio.ensure_future(proxy.stop())
        await asyncio.sleep(0)
        model.go.set()
        answer = await asyncio.wait_for(asked, WAIT_SECONDS)
        assert (answer.status, await answer.text()) == (200, "ok")
        await asyncio.wait_for(stopping, WAIT_SECONDS)
