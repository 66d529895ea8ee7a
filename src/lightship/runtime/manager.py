"""Runs controllers: shared informers, one queue of keys for each, workers, retries.

``app`` makes one, adds every domain's and the cluster's controllers, and runs it. I call informers and reconcilers.
With nothing to do I am asleep: workers wait on their queue, informers on their stream, and there is no polling.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lightship import errors
from lightship.client.client import EVERYTHING, Client, Selection
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.lib import clock as clocks
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.runtime import informer as informer_module
from lightship.runtime.controller import Controller, Watch
from lightship.runtime.informer import Informer, InformerOptions, Subscriber
from lightship.runtime.queue import RETRY_BACKOFF, Closed, WorkQueue

_log = logging.getLogger(__name__)

INFORMERS = "informers"
"""The name under which ``client_for`` is asked for the client of the shared informers."""


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """Limits, and the randomness of jitter."""

    retry: Backoff = RETRY_BACKOFF
    drain_seconds: float = 10.0
    """How long ``stop`` lets passes that are under way finish before it cancels them."""
    random: Callable[[], float] = random.random


@dataclass(kw_only=True)
class Counters:
    """What one controller has done since it started. ``seconds`` is the time spent in passes."""

    passes: int = 0
    failures: int = 0
    conflicts: int = 0
    requeues: int = 0
    seconds: float = 0.0


class _Wanted(NamedTuple):
    """What an informer is shared by."""

    resource: Resource
    selection: Selection
    metadata_only: bool = False


class Manager:
    """``synced`` is set once every informer has its first list and every controller has begun to work."""

    def __init__(self, client_for: Callable[[str], Client], clock: clocks.Clock = clocks.SYSTEM, *,
                 options: ManagerOptions | None = None) -> None:
        self.synced = asyncio.Event()
        self._client_for = client_for
        self._clock = clock
        self._options = options or ManagerOptions()
        self._informers: dict[_Wanted, Informer] = {}
        self._informing: dict[Informer, asyncio.Task[None]] = {}
        self._informer_client: Client | None = None
        self._running: dict[str, _Running] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()

    def client_for(self, controller_name: str) -> Client:
        """The client with which a controller of that name acts, as its own identity."""
        return self._client_for(controller_name)

    def informer(self, resource: Resource, selection: Selection = EVERYTHING, *,
                 metadata_only: bool = False) -> Informer:
        """The one informer of ``(resource, selection)``; every caller gets the same. It runs while I run.

        With ``metadata_only`` the objects may be trimmed to their metadata: whole ones are shared where they are
        kept anyhow, so ask for trimmed ones last.
        """
        wanted = _Wanted(resource, selection)
        trimmed = wanted._replace(metadata_only=True)
        found = self._informers.get(wanted) or (self._informers.get(trimmed) if metadata_only else None)
        if found is None:
            if self._informer_client is None:
                self._informer_client = self._client_for(INFORMERS)
            options = InformerOptions(random=self._options.random,
                                      transform=informer_module.metadata_only if metadata_only else None)
            found = Informer(self._informer_client, resource, selection, self._clock, options=options)
            self._informers[trimmed if metadata_only else wanted] = found
            if self._group is not None:
                self._begin(self._group, found)
        return found

    def release(self, resource: Resource) -> None:
        """End the informer of trimmed objects of a kind that is no longer served; its subscribers see them all go."""
        found = self._informers.pop(_Wanted(resource, EVERYTHING, metadata_only=True), None)
        if found is not None:
            found.clear()
            if (task := self._informing.pop(found, None)) is not None:
                task.cancel()

    @property
    def informers(self) -> Sequence[Informer]:
        """All that have been asked for: for tests, which start them without running controllers."""
        return tuple(self._informers.values())

    def add(self, controller: Controller) -> None:
        """Run ``controller`` too. Raises ``ValueError`` when the name is taken."""
        if controller.name in self._running:
            raise ValueError(f'two controllers are named "{controller.name}"')
        queue: WorkQueue[Key] = WorkQueue(self._clock, backoff=self._options.retry, random=self._options.random)
        for watch in controller.watches:
            selection = Selection(labels=watch.label_selector, fields=watch.field_selector)
            informer = self.informer(watch.resource, selection)
            informer.subscribe(_waker(queue, watch))
        running = _Running(controller, queue, self._informers_synced, self._clock)
        self._running[controller.name] = running
        if self._group is not None:
            self._group.create_task(running.run(self._group), name=controller.name)

    def wake(self, controller_name: str, key: Key) -> None:
        """Have the controller look at ``key``: for what informers cannot see, such as a row in records."""
        self._running[controller_name].queue.add(key)

    def wake_after(self, controller_name: str, key: Key, seconds: float) -> None:
        self._running[controller_name].queue.add_after(key, seconds)

    def counters(self) -> Mapping[str, Counters]:
        """What each controller has done, by its name."""
        return {name: running.counters for name, running in self._running.items()}

    def idle(self) -> bool:
        """Whether no key waits or is being worked on (delayed keys aside): what a test waits for."""
        return all(not len(running.queue) and not running.queue.working for running in self._running.values())

    async def run(self) -> None:
        """Run until ``stop`` is called (then return) or I am cancelled. Raises what a bug of mine raises."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in list(self._informers.values()):
                    self._begin(group, informer)
                for running in list(self._running.values()):
                    group.create_task(running.run(group), name=running.controller.name)
                await tasks.first(self._stopping.wait, self._all_ready)
                await self._stopping.wait()
            finally:
                self._group = None
                await self._drain()

    async def stop(self) -> None:
        """Take on no new work, let passes under way finish for a while, and make ``run`` return."""
        self._stopping.set()
        await self._drain()

    async def _informers_synced(self) -> None:
        """All of them, since a reconciler may read one that it does not watch: right comes before soon."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()

    async def _all_ready(self) -> None:
        await self._informers_synced()
        for running in list(self._running.values()):
            await running.ready.wait()
        self.synced.set()

    def _begin(self, group: asyncio.TaskGroup, informer: Informer) -> None:
        self._informing[informer] = group.create_task(
            self._inform(informer), name=f"informer {informer.resource.plural}")

    async def _inform(self, informer: Informer) -> None:
        await tasks.first(self._stopping.wait, informer.run)

    async def _drain(self) -> None:
        await asyncio.gather(*(running.stop(self._options.drain_seconds) for running in self._running.values()))


class _Running:
    """One controller at work."""

    def __init__(self, controller: Controller, queue: WorkQueue[Key], synced: Callable[[], Awaitable[None]],
                 clock: clocks.Clock) -> None:
        self.controller = controller
        self.queue = queue
        self.counters = Counters()
        self.ready = asyncio.Event()
        self._synced = synced
        self._clock = clock
        self._workers: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Start the workers once all that the reconciler reads is there."""
        await tasks.first(self._stopped.wait, self._synced)
        if self._stopped.is_set():
            return
        self._workers = [group.create_task(self._work(), name=f"{self.controller.name} worker {number}")
                         for number in range(self.controller.workers)]
        self.ready.set()

    async def stop(self, drain_seconds: float) -> None:
        self._stopped.set()
        await self.queue.close()
        if not self._workers:
            return
        _, pending = await asyncio.wait(self._workers, timeout=drain_seconds)
        for worker in pending:
            worker.cancel()
        if pending:
            _log.warning("passes were cut short at the stop", extra={
                "controller": self.controller.name, "count": len(pending), "drain_seconds": drain_seconds})
            await asyncio.wait(pending)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except Closed:
                return
            try:
                await self._pass(key)
            finally:
                self.queue.done(key)

    async def _pass(self, key: Key) -> None:
        counters, began = self.counters, self._clock.monotonic()
        counters.passes += 1
        try:
            result = await self.controller.reconciler.reconcile(key)
        except errors.Conflict as error:
            counters.conflicts += 1
            self._again(key, error, logging.DEBUG)  # someone else wrote first: nothing is wrong
        except errors.LightshipError as error:
            counters.failures += 1
            self._again(key, error, logging.WARNING)
        except Exception as error:
            counters.failures += 1
            self._again(key, error, logging.ERROR)
        else:
            self.queue.succeeded(key)
            if result.requeue_after_seconds is not None:
                counters.requeues += 1
                self.queue.add_after(key, result.requeue_after_seconds)
        finally:
            counters.seconds += self._clock.monotonic() - began

    def _again(self, key: Key, error: Exception, level: int) -> None:
        seconds = self.queue.add_failed(key)
        _log.log(level, "a pass failed; will try again", exc_info=error if level >= logging.ERROR else None, extra={
            "controller": self.controller.name, "key": str(key), "error": str(error),
            "failures": self.queue.failures(key), "retry_after_seconds": round(seconds, 3)})


def _waker(queue: WorkQueue[Key], watch: Watch) -> Subscriber:
    """Puts the keys that a change concerns in the queue: those it had before, too, since an owner may have changed."""

    def wake(old: Object | None, new: Object | None) -> None:
        for key in _keys(watch, old, new):
            queue.add(key)

    return wake


def _keys(watch: Watch, old: Object | None, new: Object | None) -> Iterable[objects.Key]:
    found: dict[Key, None] = {}
    for obj in (old, new):
        if obj is not None:
            found.update(dict.fromkeys(watch.keys(obj)))
    return found
