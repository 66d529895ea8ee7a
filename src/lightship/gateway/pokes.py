"""Tells the autoscaler at once that a request has begun to wait for a revision at zero.

``exchange`` pokes; ``admin`` waits for the next poke on behalf of whoever long-polls ``/-/load``.
"""

from __future__ import annotations

import asyncio


class Pokes:
    """A number that grows by one with each poke, and who waits for it to grow."""

    def __init__(self) -> None:
        self.number = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def poke(self) -> None:
        self.number += 1
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def after(self, number: int, limit_seconds: float) -> None:
        """Return once there has been a poke that ``number`` does not count, at the latest when the limit is over."""
        if number != self.number or limit_seconds <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(limit_seconds):
                await future
        except TimeoutError:
            return
        finally:
            self._waiting.discard(future)
