"""Logs of steps: from the Pod while there is one, from the artifact store when it is gone.

``pods`` has me keep a Pod's log when its outcome is recorded, before the Pod may go; ``read`` is for whoever shows logs
(the REST route, and through it the command line). What is kept lies beside the run's tasks (``folders.log``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from lightship import errors
from lightship.artifacts.store import Stores
from lightship.client.client import Client
from lightship.domains.pipelines import folders, names
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.records.pipeline_rows import TaskRow
from lightship.records.rows import Run

_log = logging.getLogger(__name__)

LIMIT_KEPT_BYTES = 4 * 1024 * 1024
"""Of a longer log the end is kept, and its first line says how much is missing."""
KEPT_AT_ONCE = 4


class Archive:
    """Keeps logs of Pods."""

    def __init__(self, client: Client, artifacts: Stores) -> None:
        self._client = client
        self._artifacts = artifacts
        self._slots = asyncio.Semaphore(KEPT_AT_ONCE)

    async def keep(self, pod: Object) -> None:
        """Keep the log of the Pod's main container. A log that cannot be had or kept stops nobody: it is logged."""
        folder = objects.annotations(pod).get(names.FOLDER_ANNOTATION)
        if not folder or not _has_run(pod):
            return
        async with self._slots:
            try:
                kept, size = await self._end(objects.key(pod))
                if size:
                    missing = size - len(kept)
                    note = f"[the first {missing} bytes of this log were not kept]\n".encode() if missing else b""
                    store = self._artifacts.within(objects.namespace(pod))
                    await store.put(folders.log(folder, objects.name(pod)), note + kept)
            except errors.LightshipError as cause:
                _log.info("the log of a step is not kept", extra={"pod": objects.name(pod), "error": str(cause)})

    async def _end(self, pod: Key) -> tuple[bytes, int]:
        """The end of the log, and how many bytes there were."""
        parts: deque[bytes] = deque()
        size = held = 0
        async with aclosing(self._client.log(pod, {"container": names.MAIN})) as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                held += len(chunk)
                while held - len(parts[0]) >= LIMIT_KEPT_BYTES:
                    held -= len(parts.popleft())
        return b"".join(parts)[-LIMIT_KEPT_BYTES:], size


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Reads logs. ``client`` reads Pods as whom the caller has reviewed."""

    client: Client
    artifacts: Stores

    async def read(self, run: Run, task: TaskRow, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The log of the task's last attempt, in chunks; ``follow`` waits for more while the Pod runs.

        Raises ``errors.NotFound`` where the task has no Pod, or none that is there and no log that was kept.
        """
        if not task.pod:
            raise errors.NotFound(f'the task "{task.path}" of run "{run.id}" has no Pod, and so no log')
        live = self._live(Key(run.namespace, task.pod), follow)
        try:
            first = await anext(live, b"")
        except errors.NotFound:
            return await self._kept(run, task)
        return _joined(first, live)

    def _live(self, pod: Key, follow: bool) -> AsyncGenerator[bytes]:
        return self.client.log(pod, {"container": names.MAIN, "follow": "true" if follow else "false"})

    async def _kept(self, run: Run, task: TaskRow) -> AsyncIterator[bytes]:
        folder = folders.of_stored(run.namespace, run.id, run.pipeline_root, run.spec)
        try:
            _, chunks = await self.artifacts.within(run.namespace).stream(folders.log(folder, task.pod))
        except errors.NotFound as cause:
            raise errors.NotFound(f'the Pod "{task.pod}" of the task "{task.path}" is gone, and no log of it was kept '
                                  "(it may have written none)") from cause
        return chunks


async def _joined(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        if first:
            yield first
        async for chunk in rest:
            yield chunk


def _has_run(pod: Object) -> bool:
    """Whether the main container has ever been started: else there is no log."""
    for status in objects.status(pod).get("containerStatuses") or []:
        if status.get("name") == names.MAIN:
            state = status.get("state") or {}
            return "terminated" in state or "running" in state
    return False
