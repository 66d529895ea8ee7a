"""The model server as a process: its signals, its exit codes, and what a client sees when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import joblib
import pytest

from tests.unit.modelserver import models_for_tests as own

ROOT = Path(__file__).parents[3]
PREDICT = "/v1/models/m:predict"
LIMIT_SECONDS = 60


@dataclass
class Process:
    """A started server; ``url`` once it listens."""

    process: asyncio.subprocess.Process
    folder: Path
    url: str = ""
    said: str = ""

    async def says(self, words: str) -> None:
        assert self.process.stderr is not None
        while words not in self.said:
            line = (await asyncio.wait_for(self.process.stderr.readline(), LIMIT_SECONDS)).decode()
            assert line, self.said
            self.said += line

    async def listening(self) -> None:
        await self.says("listening on port")
        self.url = f"http://127.0.0.1:{self.said.split('listening on port ')[1].split()[0]}"

    async def ready(self, client: aiohttp.ClientSession) -> None:
        status = 0
        while status != 200:
            async with client.get(f"{self.url}/v2/health/ready") as answer:
                status = answer.status
            await asyncio.sleep(0.02)

    async def began(self) -> None:
        while not (self.folder / "began").exists():  # noqa: ASYNC110  another process makes the file
            await asyncio.sleep(0.01)

    async def ended(self) -> int:
        _, rest = await asyncio.wait_for(self.process.communicate(), LIMIT_SECONDS)
        self.said += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@contextlib.asynccontextmanager
async def started(tmp_path: Path, model: Any = None) -> AsyncIterator[Process]:
    directory = tmp_path / "model"
    directory.mkdir(exist_ok=True)
    if model is not None:
        joblib.dump(model, directory / "model.joblib")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lightship.modelserver", "--model_name=m", f"--model_dir={directory}", "--http_port=0",
        "--grpc_port=0", "--host=127.0.0.1", stderr=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield Process(process, tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ask(client: aiohttp.ClientSession, server: Process) -> tuple[int, Any]:
    async with client.post(server.url + PREDICT, json={"instances": [[7]]}) as answer:
        return answer.status, await answer.json()


async def test_a_server_that_is_told_to_end_answers_what_is_in_flight(tmp_path: Path) -> None:
    async with started(tmp_path, own.WaitsForFile(tmp_path)) as server, aiohttp.ClientSession() as client:
        await server.listening()
        await server.ready(client)
        asked = asyncio.ensure_future(ask(client, server))
        await server.began()
        server.process.send_signal(signal.SIGTERM)
        await server.says("draining")
        (tmp_path / "go").touch()
        assert await asked == (200, {"predictions": [7]})
        assert await server.ended() == 0


async def test_a_server_that_is_killed_leaves_no_client_waiting(tmp_path: Path) -> None:
    async with started(tmp_path, own.WaitsForFile(tmp_path)) as server, aiohttp.ClientSession() as client:
        await server.listening()
        await server.ready(client)
        asked = asyncio.ensure_future(ask(client, server))
        await server.began()
        server.process.kill()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asyncio.wait_for(asked, LIMIT_SECONDS)


async def test_a_server_that_loads_is_alive_and_ends_when_told(tmp_path: Path) -> None:
    async with started(tmp_path, own.WaitsInLoad(tmp_path)) as server, aiohttp.ClientSession() as client:
        await server.listening()
        await server.began()
        async with client.get(f"{server.url}/v2/health/live") as answer:
            assert answer.status == 200
        assert (await ask(client, server))[0] == 503
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


@pytest.mark.parametrize(("content", "words"), [
    (None, "no model file"),
    (b"\x80\x04corrupt", "could not load"),
    (own.RaisesInLoad(), "made by another version"),
    ({"no": "model"}, "has no predict"),
])
async def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(
        tmp_path: Path, content: Any, words: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.joblib").write_bytes(content)
        content = None
    async with started(tmp_path, content) as server:
        assert await server.ended() == 1
        assert words in server.said.rstrip().splitlines()[-1]
