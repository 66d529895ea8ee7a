"""One movable deadline on an event loop's timer, cheap to move.

Protocols that serve connections call me on every request, so moving a deadline later only records it; the timer is
re-armed when it fires early. Moving it nearer re-arms at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls ``expired`` once the loop's time passes the deadline that was set last, unless it was cleared."""

    __slots__ = ("_at", "_expired", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Expire ``seconds`` from now, whatever was set before."""
        at = self._loop.time() + seconds
        self._at = at
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fired)

    def clear(self) -> None:
        """Never expire, until set again."""
        self._at = None

    def close(self) -> None:
        """Clear, and drop the timer, which holds its owner alive."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self) -> None:
        self._timer = None
        at = self._at
        if at is None:
            return
        if at > self._loop.time():
            self._timer = self._loop.call_at(at, self._fired)
            return
        self._at = None
        self._expired()
