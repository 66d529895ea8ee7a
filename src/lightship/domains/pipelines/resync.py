"""Takes up unfinished runs at the start, and again from time to time, for writes that nobody told of.

One key a namespace, so that I need nothing but the informer of namespaces to begin: the manager calls me when a
namespace appears, which at a start is at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightship.domains.pipelines.ports import RunStore
from lightship.kube.objects import Key
from lightship.runtime.controller import Result


@dataclass(frozen=True, kw_only=True)
class Resync:
    """A reconciler of namespaces. ``touch`` has the run's own reconciler look at its records."""

    store: RunStore
    touch: Callable[[Key], None]
    period_seconds: float

    async def reconcile(self, key: Key) -> Result:
        for run in await self.store.unfinished():
            if run.namespace == key.name:
                self.touch(run)
        return Result(requeue_after_seconds=self.period_seconds)
