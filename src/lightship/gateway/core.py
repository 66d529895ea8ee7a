"""What all connections of a gateway share: the table in use, counters, the pool, who waits for an endpoint.

``server`` makes one, ``feed`` swaps its table, ``exchange`` reads it. Everything happens on one event loop, so a swap
is one assignment: a request sees the old table or the new one, never a mixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightship.gateway.balance import Balancer
from lightship.gateway.gatekeeper import Gatekeeper
from lightship.gateway.grpc_upstreams import Links
from lightship.gateway.loads import Load, Loads, Waiter
from lightship.gateway.metrics import Metrics
from lightship.gateway.options import Limits
from lightship.gateway.payloads import Payloads
from lightship.gateway.pokes import Pokes
from lightship.gateway.recipes import Recipes
from lightship.gateway.routes import Table
from lightship.gateway.upstream import Pool


class Connection(Protocol):
    """A client's connection, whatever it speaks."""

    def drain(self) -> None:
        """Answer what is in flight, and end."""
        ...

    def abort(self) -> None: ...


@dataclass(kw_only=True)
class Core:
    """The shared state."""

    gatekeeper: Gatekeeper
    limits: Limits
    id: str = ""
    """Of this process: who reads its counters knows by it that they began anew."""
    table: Table = field(default_factory=lambda: Table(loaded=False))
    balancer: Balancer = field(default_factory=Balancer)
    loads: Loads = field(default_factory=Loads)
    pokes: Pokes = field(default_factory=Pokes)
    recipes: Recipes = field(default_factory=Recipes)
    metrics: Metrics = field(default_factory=Metrics)
    payloads: Payloads | None = None
    pool: Pool = field(init=False)
    links: Links = field(init=False)
    connections: int = 0
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether no client is connected."""
    draining: bool = False
    on_swap: Callable[[Table], None] | None = None
    """Who else wants to know of a new table."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pool = Pool(self.limits, self.recipes)
        self.links = Links(self.limits)
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
        self.loads.forget({revision for route in table.routes for revision, _ in route.revisions()})
        self.pool.keep(table.endpoints())
        self.links.keep(table.endpoints())
        self.loads.try_all()
        if self.on_swap is not None:
            self.on_swap(table)

    def queue(self, load: Load, waiter: Waiter, size_bytes: int) -> str:
        """Have a request wait for an endpoint of a revision; else say what is full."""
        limits, loads = self.limits, self.loads
        if len(load.waiting) >= limits.queued_requests:
            return f"{limits.queued_requests} requests wait for it already"
        if loads.waiting_requests >= limits.waiting_requests:
            return f"{limits.waiting_requests} requests wait in this gateway already"
        if loads.waiting_bytes + size_bytes > limits.waiting_bytes:
            return f"the requests that wait hold {limits.waiting_bytes} bytes already"
        loads.join(load, waiter, size_bytes)
        return ""

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
        if self.payloads is not None:
            await self.payloads.close(self.limits.payload_drain_seconds)
        self.pool.close()
        self.links.close()
