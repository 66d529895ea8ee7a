"""Containers that are functions of ours, run in the node's process: images ``lightship.dev/NAME``.

``app`` gives the node a mapping from names to entrypoints; ``runner`` runs them. They see what a container would: their
arguments, variables, volumes and output. On a real cluster the same images run ``python -m launcher``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.cluster.node.processes import Exit
from lightship.kube.objects import Object

_log = logging.getLogger(__name__)

_TERMINATED = 143


@dataclass(frozen=True, kw_only=True)
class ContainerExit:
    """How another container of the Pod ended. ``reason`` is Completed, Error, OOMKilled or the like."""

    exit_code: int
    signal: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class EntrypointContext:
    """What an entrypoint may know and do."""

    pod: Object
    container: Mapping[str, Any]
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    mounts: Mapping[str, str]
    """Container path to host path of this container's volume mounts."""
    write: Callable[[bytes], None]
    wait_for: Callable[[str], Awaitable[ContainerExit]]
    """Waits for the end of another container, which is not restarted afterwards."""
    dial: Callable[[int], Awaitable[socket.socket]] | None = None
    """Connects to a port of the Pod, as a probe does."""

    def log(self, line: str) -> None:
        """One line of the container's log."""
        self.write(line.encode() + b"\n")

    def path(self, container_path: str) -> Path:
        """The host path of a path under a volume mount. Raises ``errors.InvalidInput`` for any other."""
        best = max((mount for mount in self.mounts if _below(container_path, mount)), key=len, default="")
        if not best or ".." in Path(container_path).parts:
            raise errors.InvalidInput(f'no volume is mounted at "{container_path}" in container '
                                      f'"{self.container.get("name")}"')
        return Path(self.mounts[best] + container_path[len(best.rstrip("/")):])


Entrypoint = Callable[[EntrypointContext], Awaitable[int]]


def _below(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")


class Running:
    """A running entrypoint, with the face of a process."""

    def __init__(self, entrypoint: Entrypoint, context: EntrypointContext) -> None:
        self._work: asyncio.Future[int] = asyncio.ensure_future(entrypoint(context))
        self._task = asyncio.create_task(self._run(context))

    async def wait(self) -> Exit:
        return await asyncio.shield(self._task)

    def signal(self, number: int) -> None:
        self._stop()

    def kill(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if not self._task.done():
            self._work.cancel()

    async def _run(self, context: EntrypointContext) -> Exit:
        try:
            return Exit(code=int(await self._work))
        except asyncio.CancelledError:
            return Exit(code=_TERMINATED, signal=15)
        except errors.LightshipError as error:
            context.log(str(error))
            return Exit(code=1)
        except Exception as error:
            _log.exception("an entrypoint failed unexpectedly", extra={"container": context.container.get("name")})
            context.log(f"{type(error).__name__}: {error}")
            return Exit(code=1)
