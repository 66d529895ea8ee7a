"""What one Pod may have of the network that all share, so that no Pod starves the others.

``relay``, ``services``, ``egress`` and ``names`` ask me in the hub's process; a source is a Pod's address, and an empty
one is not counted. Pure but for the log line that tells of a Pod at its limit, once for each limit.
"""

from __future__ import annotations

import logging
from collections import Counter

LIMIT_SOURCES = 4096
"""Sources whose rate is remembered at once."""
HOST = ""
"""The source of what the host's own programs do, and of Pods on the host's network: nobody can tell them apart."""

_log = logging.getLogger(__name__)


class Refusals:
    """How often each Pod was refused what."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, source: str, what: str, limit: int) -> None:
        self._counts[source, what] += 1
        if self._counts[source, what] == 1:
            _log.warning("a Pod is at its limit in the network and is refused more",
                         extra={"pod_ip": source, "of": what, "limit": limit})

    def count(self, source: str, what: str) -> int:
        return self._counts[source, what]

    def forget(self, source: str) -> None:
        """The Pod has ended: its sums are told, and its address may be another's."""
        for key in [key for key in self._counts if key[0] == source]:
            _log.warning("a Pod that has ended was refused more of the network than its limit",
                         extra={"pod_ip": source, "of": key[1], "refused": self._counts.pop(key)})


class Share:
    """Things of which each Pod has at most ``limit`` at once."""

    def __init__(self, what: str, limit: int, refusals: Refusals) -> None:
        self._what, self._limit, self._refusals = what, limit, refusals
        self._held: Counter[str] = Counter()

    def take(self, source: str) -> bool:
        """Whether it may have one more, which it then has."""
        if source == HOST:
            return True
        if self._held[source] >= self._limit:
            self._refusals.add(source, self._what, self._limit)
            return False
        self._held[source] += 1
        return True

    def give_back(self, source: str) -> None:
        if source == HOST:
            return
        assert self._held[source] > 0
        self._held[source] -= 1
        if not self._held[source]:
            del self._held[source]

    def held(self, source: str) -> int:
        return self._held[source]


class Rate:
    """Things of which each Pod has at most ``limit`` in a second; it may save up those of one second."""

    def __init__(self, what: str, limit: int, refusals: Refusals) -> None:
        self._what, self._limit, self._refusals = what, limit, refusals
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, source: str, now: float) -> bool:
        """Whether it may have one more at ``now``, in seconds."""
        left, then = self._left.get(source, (float(self._limit), now))
        left = min(float(self._limit), left + (now - then) * self._limit)
        if source not in self._left and len(self._left) >= LIMIT_SOURCES:
            self._left.clear()  # each begins anew with one second's worth
        if left < 1:
            self._left[source] = (left, now)
            self._refusals.add(source, self._what, self._limit)
            return False
        self._left[source] = (left - 1, now)
        return True
