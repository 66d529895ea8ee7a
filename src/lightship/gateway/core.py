"""What all connections of a gateway share: the table in use, counters, the pool, who waits for an endpoint.

``server`` makes one, ``feed`` swaps its table, ``exchange`` reads it. Everything happens on one event loop, so a swap
is one assignment: a request sees the old table or the new one, never a mixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lightship.gateway.balance import Balancer
from lightship.gateway.gatekeeper import Gatekeeper
from lightship.gateway.metrics import Metrics
from lightship.gateway.options import Limits
from lightship.gateway.routes import Table
from lightship.gateway.upstream import Pool


@dataclass(kw_only=True)
class Core:
    """The shared state."""

    gatekeeper: Gatekeeper
    limits: Limits
    table: Table = field(default_factory=lambda: Table(loaded=False))
    balancer: Balancer = field(default_factory=Balancer)
    metrics: Metrics = field(default_factory=Metrics)
    pool: Pool = field(init=False)
    connections: int = 0
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether no client is connected."""
    draining: bool = False
    _waiting: dict[object, Callable[[], None]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pool = Pool(self.limits)
        self.empty.set()

    def count_connections(self, number: int) -> None:
        """So many clients are connected now."""
        self.connections = number
        if number:
            self.empty.clear()
        else:
            self.empty.set()

    def swap(self, table: Table) -> None:
        """Take a new table into use; requests under way end where they began."""
        if table == self.table:
            return
        self.table = table
        self.metrics.swaps.add()
        self.balancer.forget(table)
        self.pool.keep(table.endpoints())
        for retry in tuple(self._waiting.values()):
            retry()

    def wait_for_swap(self, who: object, retry: Callable[[], None]) -> bool:
        """Call ``retry`` at every swap until ``stop_waiting``; False where too many wait already."""
        if len(self._waiting) >= self.limits.held_requests:
            return False
        self._waiting[who] = retry
        return True

    def stop_waiting(self, who: object) -> None:
        self._waiting.pop(who, None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something off the hot path; I own the task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End everything that still runs."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()
