"""Owners for tasks whose life is ``start`` and ``stop`` rather than one ``async with`` block.

Where a ``TaskGroup`` fits, use that. I am for objects that others start and stop: informers, queues, transports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

_log = logging.getLogger(__name__)


class Tasks:
    """A set of tasks that live until they end or ``close`` is called; none is ever lost to the garbage collector.

    A task that crashes is a bug: it is logged when it happens, and ``close`` raises it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()
        self._crashes: list[Exception] = []

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str = "") -> asyncio.Task[Any]:
        """Run ``work`` as a task that I own."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}: {name}" if name else self._name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._crashes.append(error)
            _log.error("a background task crashed", exc_info=error, extra={"task": task.get_name()})

    async def drain(self) -> None:
        """Wait until every task has ended by itself."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Cancel what runs, wait for it, and raise an ``ExceptionGroup`` of what had crashed."""
        for task in self._running:
            task.cancel()
        await self.drain()
        if self._crashes:
            crashes, self._crashes = self._crashes, []
            raise ExceptionGroup(f"tasks of {self._name} crashed", crashes)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait until it is gone; what it raises instead of being cancelled is raised here."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def first(*waits: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the first of ``waits`` is done and cancel the others; its exception is raised."""
    pending = {asyncio.ensure_future(_awaited(wait)) for wait in waits}
    try:
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _awaited(wait: Callable[[], Awaitable[Any]]) -> None:
    await wait()


async def each(works: Iterable[Callable[[], Awaitable[Any]]], *, at_once: int) -> None:
    """Do all ``works``, at most ``at_once`` at a time; all are tried, and then the first error is raised."""
    limit = asyncio.Semaphore(at_once)

    async def one(work: Callable[[], Awaitable[Any]]) -> Exception | None:
        async with limit:
            try:
                await work()
            except Exception as error:
                return error
        return None

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(work)) for work in works]
    for task in running:
        if (error := task.result()) is not None:
            raise error
