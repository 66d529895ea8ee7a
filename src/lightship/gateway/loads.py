"""What each revision has to do: who is in flight, who waits, and the counters that the autoscaler reads.

``core`` owns one ``Loads`` for the life of the process: it outlives the route tables that are swapped under it, and
these are the only in-flight counters there are. ``exchange`` enters and leaves; ``admin`` and ``metrics`` show.
Single-threaded, and without a clock: whoever calls brings the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Protocol

from lightship.gateway.routes import Revision
from lightship.lib.prometheus import SECONDS_BUCKETS

_FIRST_BUCKET = SECONDS_BUCKETS[0]
LIMIT_GONE_REVISIONS = 256
"""Of revisions that are in no route any more so many are still shown in the metrics."""


class Waiter(Protocol):
    """A request that waits for an endpoint."""

    def try_again(self) -> bool:
        """Go on where that is possible now; False where it must go on waiting."""
        ...


class Load:
    """The load of one revision."""

    __slots__ = ("_since", "buckets", "in_flight", "integral", "requests", "retries", "revision", "seconds", "statuses",
                 "waiting")

    def __init__(self, revision: Revision, now: float) -> None:
        self.revision = revision
        self.in_flight = 0
        """Requests that have been given to this revision and not answered, the waiting ones included."""
        self.requests = 0
        self.retries = 0
        self.integral = 0.0
        self._since = now
        self.waiting: OrderedDict[Waiter, int] = OrderedDict()
        """In the order of their coming, with the bytes that each holds."""
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(SECONDS_BUCKETS) + 1)
        self.seconds = 0.0

    def enter(self, now: float) -> None:
        self.integral += self.in_flight * (now - self._since)
        self._since = now
        self.in_flight += 1
        self.requests += 1

    def leave(self, now: float) -> None:
        self.integral += self.in_flight * (now - self._since)
        self._since = now
        self.in_flight -= 1

    def integral_at(self, now: float) -> float:
        """Request-seconds up to now."""
        return self.integral + self.in_flight * (now - self._since)

    def answered(self, now: float, status: int, seconds: float) -> None:
        """It has left, with an answer."""
        self.integral += self.in_flight * (now - self._since)
        self._since = now
        self.in_flight -= 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[0 if seconds <= _FIRST_BUCKET else bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.seconds += seconds

    def release(self) -> None:
        """A place may be free: those who wait go on in their order, as many as can."""
        while self.waiting:
            if not next(iter(self.waiting)).try_again():
                return


class Loads:
    """Those of all revisions."""

    def __init__(self) -> None:
        self._by_revision: dict[tuple[str, str, str, str], Load] = {}
        self.waiting_requests = 0
        self.waiting_bytes = 0

    def of(self, revision: tuple[str, str, str, str], now: float) -> Load:
        found = self._by_revision.get(revision)
        if found is None:
            found = self._by_revision[revision] = Load(Revision(*revision), now)
        return found

    def __iter__(self) -> Iterator[Load]:
        return iter(tuple(self._by_revision.values()))

    def join(self, load: Load, waiter: Waiter, size_bytes: int) -> None:
        load.waiting[waiter] = size_bytes
        self.waiting_requests += 1
        self.waiting_bytes += size_bytes

    def quit(self, load: Load, waiter: Waiter) -> None:
        self.waiting_bytes -= load.waiting.pop(waiter)
        self.waiting_requests -= 1

    def try_all(self) -> None:
        """The table was swapped: whoever waits looks again, in order."""
        for load in self:
            for waiter in tuple(load.waiting):
                if waiter in load.waiting:
                    waiter.try_again()

    def forget(self, known: Collection[Revision]) -> None:
        """Drop the oldest of those that are in no route and have nothing to do."""
        gone = [key for key, load in self._by_revision.items() if load.revision not in known and not load.in_flight]
        for key in gone[:max(0, len(gone) - LIMIT_GONE_REVISIONS)]:
            del self._by_revision[key]
