"""A clock that only moves when a test says so.

Tests and simulations pass me wherever a ``lib.clock.Clock`` is wanted.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Virtual time. ``advance`` wakes sleepers in the order of their deadlines and lets each run before the next."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    @property
    def sleepers(self) -> int:
        """How many are asleep: a test that expects no idle wakeups asserts on it."""
        return sum(1 for _, _, future in self._sleepers if not future.done())

    @property
    def next_deadline(self) -> float | None:
        """The ``monotonic`` time at which the next sleeper wakes."""
        deadlines = [due for due, _, future in self._sleepers if not future.done()]
        return min(deadlines) if deadlines else None

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._order, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on by ``seconds``."""
        target = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self._elapsed = target
        await settle()


async def settle(turns: int = 20) -> None:
    """Let what is ready run, for some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(met: Callable[[], object], limit_seconds: float = 20.0) -> None:
    """Let the loop run until ``met``: for what has no event to wait on. Fails when it takes longer than its limit."""
    try:
        async with asyncio.timeout(limit_seconds):
            while not met():  # noqa: ASYNC110 - that is what I am for
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"it did not come true in {limit_seconds} s") from None
