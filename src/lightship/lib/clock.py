"""Time as an argument: nobody above me reads the wall clock or sleeps by himself.

Everyone who waits or stamps takes a ``Clock``; ``testing.clock.FakeClock`` is the one that tests advance.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What tells the time. ``now`` is aware and in UTC; ``monotonic`` counts seconds and never jumps."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock, on the running event loop."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


SYSTEM = SystemClock()


def timestamp(moment: datetime) -> str:
    """``moment`` as Kubernetes writes a Time: RFC 3339 in UTC, whole seconds."""
    return _second(moment.replace(microsecond=0))


@lru_cache(maxsize=64)
def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """``moment`` as Kubernetes writes a MicroTime, which Leases use."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """A Time or MicroTime off the wire, aware and in UTC. Raises ``ValueError``."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} names no zone")
    return moment.astimezone(UTC)
