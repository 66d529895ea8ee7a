"""A queue of keys: each waits at most once, and is worked on at most once at a time.

``runtime.manager`` has one a controller. What is added while its key is being worked on comes back afterwards, so no
change is missed and none is handled by two workers.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from lightship.lib import clock as clocks
from lightship.lib import tasks
from lightship.lib.backoff import Backoff

K = TypeVar("K")

RETRY_BACKOFF = Backoff(initial_seconds=0.05, maximum_seconds=60, jitter=0.2)


class Closed(Exception):
    """The queue is closed: there is nothing more to work on."""


class WorkQueue(Generic[K]):
    """Keys in the order in which they were first added."""

    def __init__(self, clock: clocks.Clock = clocks.SYSTEM, *, backoff: Backoff = RETRY_BACKOFF,
                 random: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._backoff = backoff
        self._random = random
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        """What wants work: all of ``_ready``, and what was added while in ``_working``."""
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timer: asyncio.Task[None] | None = None
        self._timer_due = float("inf")
        self._tasks = tasks.Tasks("work queue")
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many keys wait to be worked on now."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        return len(self._due)

    @property
    def working(self) -> int:
        return len(self._working)

    def add(self, key: K) -> None:
        """Want ``key`` worked on. Adding one that waits already does nothing."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Want ``key`` worked on in some seconds; of several such wishes for a key the earliest counts.

        A pass that starts before then supersedes the wish: it sees what is so, and asks again if it needs to.
        """
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._arm(due)

    def add_failed(self, key: K) -> float:
        """Want ``key`` again after its back-off, which grows with every failure; returns the wait in seconds."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        seconds = self._backoff.delay_seconds(failures, self._random)
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: K) -> None:
        """Forget the failures of ``key``."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which nobody else gets until ``done``. Raises ``Closed``."""
        while not self._ready:
            if self._closed:
                raise Closed
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the wakeup was mine and I am leaving: another takes it
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        self._due.pop(key, None)
        return key

    def done(self, key: K) -> None:
        """Let go of ``key``; if it was added meanwhile it waits again."""
        self._working.remove(key)
        if key in self._dirty and not self._closed:
            self._ready.append(key)
            self._wake_one()

    async def close(self) -> None:
        """Drop what waits and send the workers home; what is being worked on is left to finish."""
        self._closed = True
        self._ready.clear()
        self._dirty.clear()
        self._due.clear()
        while self._waiters:
            self._wake_one()
        await self._tasks.close()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self, due: float) -> None:
        """See to it that the one timer wakes by ``due``; where nothing is delayed there is no timer."""
        if due >= self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._tasks.spawn(self._ring(due), name="timer")

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(due - self._clock.monotonic())
        self._timer, self._timer_due = None, float("inf")
        now = self._clock.monotonic()
        for key in [key for key, moment in self._due.items() if moment <= now]:
            del self._due[key]
            self.add(key)
        self._arm(min(self._due.values(), default=float("inf")))
