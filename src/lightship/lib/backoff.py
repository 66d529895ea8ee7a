"""How long to wait before the next try: exponential, bounded, with jitter from a randomness that is passed in.

The informer, the work queue, elections and the node's container restarts call me. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """A policy. The n-th failure waits ``initial_seconds * factor**(n-1)``, at most ``maximum_seconds``, and then
    up to ``jitter`` (a fraction of it) is taken off, so that those who failed together do not return together."""

    initial_seconds: float
    maximum_seconds: float
    factor: float = 2.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        assert 0 < self.initial_seconds <= self.maximum_seconds, self
        assert self.factor >= 1, self
        assert 0 <= self.jitter <= 1, self

    def delay_seconds(self, failures: int, random: Callable[[], float]) -> float:
        """The wait after ``failures`` failures in a row (1 or more); ``random`` gives numbers in [0, 1)."""
        assert failures >= 1, failures
        delay = self.initial_seconds
        for _ in range(failures - 1):
            delay *= self.factor
            if delay >= self.maximum_seconds:
                break
        delay = min(delay, self.maximum_seconds)
        return delay * (1 - self.jitter * random()) if self.jitter else delay
