"""Model servers in the test's own loop, over models that the tests make."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

pytest.importorskip("sklearn", reason="scikit-learn is not installed in this environment")

from lightship.modelserver import formats
from lightship.modelserver.options import Limits, Options
from lightship.modelserver.server import ModelServer
from tests.unit.modelserver import formats_for_tests


@dataclass
class Running:
    """A listening server and a client of it."""

    server: ModelServer
    client: aiohttp.ClientSession
    model: Any = None

    async def post(self, path: str, body: Any = None, *, data: bytes | None = None,
                   headers: dict[str, str] | None = None) -> tuple[int, Any]:
        async with self.client.post(path, json=body if data is None else None, data=data, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(path) as answer:
            return answer.status, await answer.json(content_type=None)


DEFAULTS = Limits()
Serve = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextlib.asynccontextmanager
    async def start(model: Any, *, limits: Limits = DEFAULTS, load: bool = True,
                    predict_proba: bool = False) -> AsyncIterator[Running]:
        import joblib

        joblib.dump(model, tmp_path / "model.joblib")
        server = ModelServer(Options(model_name="m", model_dir=tmp_path, http_port=0, grpc_port=0, host="127.0.0.1",
                                     limits=limits, predict_proba=predict_proba))
        await server.listen()
        try:
            if load:
                await server.load()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
                yield Running(server, client)
        finally:
            await server.drain()

    return start


@pytest.fixture
def serve_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve one of ``formats_for_tests``: the running server, with the model as ``running.model``."""
    monkeypatch.setitem(formats.LOADERS, "tests", formats_for_tests.__name__)

    @contextlib.asynccontextmanager
    async def start(kind: str, *, limits: Limits = DEFAULTS, access_log: bool = False) -> AsyncIterator[Running]:
        server = ModelServer(Options(model_name="m", model_dir=tmp_path, http_port=0, grpc_port=0, host="127.0.0.1",
                                     limits=limits, format="tests", flags={"kind": kind}, access_log=access_log))
        await server.listen()
        try:
            await server.load()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
                yield Running(server, client, formats_for_tests.MADE[-1])
        finally:
            await server.drain()

    return start


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Both loops: uvloop is what runs, and differs in small things; asyncio is the fallback."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
