"""How many steps run at once, and whose: a bound for all runs, one for each, and a fair share between. Pure.

``reconciler`` takes slots before it begins steps and gives them back when these end. A run that found none is
remembered, and is woken when another gives some back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightship.kube.objects import Key


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Steps at once."""

    all_runs_steps: int = 64
    one_run_steps: int = 32


class Budget:
    """Slots for steps."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used: dict[Key, int] = {}
        self._total = 0
        self._waiting: dict[Key, None] = {}

    def take(self, key: Key, wanted: int) -> int:
        """Up to ``wanted`` slots for a run, by its share of those there are; it waits for the rest."""
        if wanted <= 0:
            self._waiting.pop(key, None)
            return 0
        own = self._used.get(key, 0)
        contenders = len({*self._used, *self._waiting, key})
        share = max(1, self._limits.all_runs_steps // contenders)
        bound = min(self._limits.one_run_steps, share if contenders > 1 else self._limits.all_runs_steps)
        granted = max(0, min(wanted, bound - own, self._limits.all_runs_steps - self._total))
        if granted:
            self._used[key] = own + granted
            self._total += granted
        if granted < wanted and own + granted < self._limits.one_run_steps:
            self._waiting[key] = None
        else:
            self._waiting.pop(key, None)
        return granted

    def hold(self, key: Key, count: int) -> None:
        """Steps that run already, when a run is taken up again: they count, whatever the bounds."""
        if count:
            self._used[key] = self._used.get(key, 0) + count
            self._total += count

    def give(self, key: Key, count: int) -> Iterable[Key]:
        """Give slots back; returns the runs that wait for some."""
        if not count:
            return ()
        own = self._used.get(key, 0)
        count = min(count, own)
        self._total -= count
        if own - count:
            self._used[key] = own - count
        else:
            self._used.pop(key, None)
        return [waiting for waiting in self._waiting if waiting != key]

    def drop(self, key: Key) -> Iterable[Key]:
        """The run has ended or is forgotten."""
        self._waiting.pop(key, None)
        return self.give(key, self._used.get(key, 0))

    def used(self, key: Key) -> int:
        return self._used.get(key, 0)
