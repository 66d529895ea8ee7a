"""The agent beside a server of several models: brings each listed model into the Pod and has the server load it.

The node runs me as the container ``agent`` with the arguments ``MODELS_DIRECTORY CONFIG_DIRECTORY``; the list is a
ConfigMap's file, which changes while the Pod runs and tells nobody, so I look once a second. I ask the server by
its repository API. What fails is logged and tried again, with pauses that grow.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from lightship import errors
from lightship.domains.serving import entrypoints, names
from lightship.domains.serving.entrypoints import Fetching
from lightship.domains.serving.trained_model import pods
from lightship.lib import clock as clocks

LOOK_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LIMIT_PAUSE_SECONDS = 2.0, 120.0
LIMIT_CONFIG_BYTES = 1 << 20
LIMIT_ANSWER_BYTES = 64 * 1024
LIMIT_LOAD_SECONDS = 600.0
_NAME = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,252}\Z")


class Context(entrypoints.Context, Protocol):
    """What the node gives me beyond what the storage initializer needs."""

    @property
    def dial(self) -> Callable[[int], Awaitable[socket.socket]] | None:
        """Connects to a port of the Pod."""
        ...


@dataclass
class _Model:
    """What became of one model so far."""

    spec: str = ""
    brought: bool = False
    failures: int = 0
    again_at: float = 0.0


@dataclass
class _Agent:
    fetching: Fetching
    context: Context
    clock: clocks.Clock
    folder: Path
    config: Path
    models: dict[str, _Model] = field(default_factory=dict)

    async def look(self) -> None:
        """Bring the server to what is listed now."""
        wanted = await asyncio.to_thread(self._listed)
        if wanted is None:
            return
        for name in [name for name in self.models if name not in wanted]:
            await self._let_go(name)
        for name, spec in wanted.items():
            await self._have(name, spec)

    def _listed(self) -> dict[str, dict[str, Any]] | None:
        try:
            with (self.config / pods.CONFIG_FILE).open("rb") as file:
                found = json.loads(file.read(LIMIT_CONFIG_BYTES))
        except (OSError, ValueError):
            return None  # it is not there yet, or between two states
        return {str(one["modelName"]): one["modelSpec"] for one in found
                if isinstance(one, dict) and isinstance(one.get("modelSpec"), dict)
                and _NAME.match(str(one.get("modelName")))}

    async def _have(self, name: str, spec: dict[str, Any]) -> None:
        model = self.models.setdefault(name, _Model())
        text = json.dumps(spec, sort_keys=True)
        if model.spec == text and (model.brought and not model.failures):
            return
        if model.spec != text:
            model.spec, model.brought, model.failures, model.again_at = text, False, 0, 0.0
        if self.clock.monotonic() < model.again_at:
            return
        try:
            if not model.brought:
                await self._bring(name, str(spec.get("storageUri") or ""))
                model.brought = True
            await self._ask(name, "load")
            model.failures = 0
            self.context.log(f"{name} is loaded")
        except (errors.LightshipError, OSError) as problem:
            pause = min(FIRST_PAUSE_SECONDS * 2 ** model.failures, LIMIT_PAUSE_SECONDS)
            model.failures, model.again_at = model.failures + 1, self.clock.monotonic() + pause
            self.context.log(f"{name} cannot be loaded, and is tried again in {pause:.0f} s: {problem}")

    async def _bring(self, name: str, uri: str) -> None:
        """Beside the folder first: what the server has stays until all of the new is there."""
        coming = self.folder / f".{name}.new"
        await asyncio.to_thread(_fresh, coming)
        await entrypoints.bring(self.fetching, self.context, uri, coming, mounted=names.MODEL_DIRECTORY)
        await asyncio.to_thread(_swap, coming, self.folder / name)

    async def _let_go(self, name: str) -> None:
        try:
            await self._ask(name, "unload")
        except errors.NotFound:
            self.context.log(f"{name} was not loaded")
        except (errors.LightshipError, OSError) as problem:
            self.context.log(f"{name} cannot be unloaded yet: {problem}")
            return
        await asyncio.to_thread(_remove, self.folder / name)
        del self.models[name]
        self.context.log(f"{name} is gone")

    async def _ask(self, name: str, verb: str) -> None:
        if self.context.dial is None:
            raise errors.Unsupported("this node does not connect to its Pods")
        async with asyncio.timeout(LIMIT_LOAD_SECONDS):
            reader, writer = await asyncio.open_connection(sock=await self.context.dial(names.HTTP_PORT))
            try:
                writer.write(f"POST /v2/repository/models/{quote(name)}/{verb} HTTP/1.1\r\nhost: localhost\r\n"
                             "content-length: 2\r\nconnection: close\r\n\r\n{}".encode())
                head = (await reader.readline()).split()
                answer = await reader.read(LIMIT_ANSWER_BYTES)
            finally:
                writer.close()
        status = int(head[1]) if len(head) > 1 and head[1].isdigit() else 0
        if status == 404 and verb == "unload":
            raise errors.NotFound(f"there is no model {name}")
        if not 200 <= status < 300:
            said = answer.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
            raise errors.Unavailable(f"the server answered {status or 'nothing'}: {said[:500]}")


def model_agent(fetching: Fetching, clock: clocks.Clock = clocks.SYSTEM) -> Callable[[Context], Awaitable[int]]:
    """The entrypoint, which runs until it is told to end."""
    async def run(context: Context) -> int:
        if len(context.arguments) != 2:
            raise errors.InvalidInput("the agent wants two arguments: the models' directory and the configuration's")
        agent = _Agent(fetching, context, clock, context.path(context.arguments[0]), context.path(context.arguments[1]))
        while True:
            await agent.look()
            await clock.sleep(LOOK_SECONDS)

    return run


def _fresh(folder: Path) -> None:
    _remove(folder)
    folder.mkdir()


def _swap(coming: Path, target: Path) -> None:
    _remove(target)
    coming.rename(target)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
