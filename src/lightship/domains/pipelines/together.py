"""Acts done side by side, at most so many at once. Pure asyncio; ``reconciler`` and ``pods`` call me."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def side_by_side(acts: Sequence[Awaitable[T]], at_once: int) -> list[T]:
    """The results, in order. All are tried even when one fails; then the first error is raised."""
    if len(acts) == 1:
        return [await acts[0]]
    slots = asyncio.Semaphore(at_once)

    async def one(act: Awaitable[T]) -> T:
        async with slots:
            return await act

    results = await asyncio.gather(*(one(act) for act in acts), return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
