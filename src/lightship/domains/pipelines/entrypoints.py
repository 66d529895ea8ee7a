"""The launcher as a built-in entrypoint of the embedded node: the image ``lightship.dev/launcher``.

The node runs me in its process as the ``stage-in`` and ``stage-out`` containers of a step's Pod; I call the launcher's
own functions in a thread, over the platform's artifact store. On a real cluster the same Pod runs it as a program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from lightship import errors
from lightship.artifacts.store import ObjectStore, Stores
from lightship.domains.pipelines import names
from lightship.launcher import files, staging

STAGING_THREADS = 8
"""Steps whose files are moved at once."""
ENTRYPOINT_NAME = "launcher"
"""The image ``lightship.dev/<this>:<version>`` is this entrypoint."""


class Exit(Protocol):
    """How another container ended."""

    @property
    def exit_code(self) -> int: ...


class Context(Protocol):
    """What the node gives an entrypoint: the blueprint's EntrypointContext, as far as I use it."""

    @property
    def pod(self) -> Mapping[str, Any]: ...

    @property
    def container(self) -> Mapping[str, Any]: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    def path(self, container_path: str) -> Path: ...

    def log(self, line: str) -> None: ...

    @property
    def wait_for(self) -> Callable[[str], Awaitable[Exit]]: ...


def launcher(store: Stores) -> Callable[[Context], Awaitable[int]]:
    """The entrypoint over ``store``: exit code 0, or 1 with the reason as the log's last line."""
    # Threads of its own: while they wait for the store, the store needs threads of the loop's pool to go on.
    threads = ThreadPoolExecutor(STAGING_THREADS, thread_name_prefix="staging")

    async def run(context: Context) -> int:
        arguments = list(context.container.get("args") or ())
        try:
            plan = json.loads(context.env[names.STAGING_ENV])
            waits = arguments == [names.STAGE_OUT] and plan["main"]
            if waits and (await context.wait_for(plan["main"])).exit_code != 0:
                return 0  # the command failed, and its exit code says so: nothing of it is kept
            if arguments not in ([names.STAGE_IN], [names.STAGE_OUT]):
                raise errors.InvalidInput(f"the launcher takes {names.STAGE_IN} or {names.STAGE_OUT}, not {arguments}")
            act = staging.stage_in if arguments == [names.STAGE_IN] else staging.stage_out
            volumes = files.Volumes(plan["mounts"], lambda mount: str(context.path(mount)))
            loop = asyncio.get_running_loop()
            # The Pod's true namespace, whatever the plan in its environment says.
            own = store.within(str(context.pod["metadata"]["namespace"]))
            await loop.run_in_executor(threads, act, plan, Bridge(own, loop), volumes, context.log)
        except (errors.LightshipError, files.StagingError, OSError) as cause:
            context.log(str(cause))
            return 1
        return 0

    return run


class Bridge:
    """The platform's asynchronous store as the launcher's blocking one: calls go to the loop, and the thread waits."""

    def __init__(self, store: ObjectStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def handles(self, uri: str) -> bool:
        try:
            self._wait(lambda: self._store.exists(uri))
        except errors.Unsupported:
            return False
        return True

    def fetch(self, uri: str, destination: str) -> None:
        self._wait(lambda: self._store.get(uri, Path(destination)))

    def put(self, uri: str, source: str) -> files.Stored:
        kept = self._wait(lambda: self._store.put(uri, Path(source)))
        return files.Stored(kept.digest, kept.size_bytes)

    def write(self, uri: str, data: bytes) -> None:
        self._wait(lambda: self._store.put(uri, data))

    def _wait(self, act: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()


