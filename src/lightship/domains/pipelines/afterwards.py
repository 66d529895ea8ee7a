"""What is still to do about a run that has ended: its Pods are let go, and go in time, and so does its workspace.

``reconciler`` calls me for every run that its records say has ended. What I know of a run I read from its Pods, which
carry the pipeline's time to live; a run without Pods has nothing left to do. A workspace goes when its run succeeded,
as Argo has it, and else with the Pods, so that a failed run can be retried or looked into.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta

from lightship.domains.pipelines import names, pods, workspace
from lightship.domains.pipelines.ports import RunStore
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.lib.clock import Clock
from lightship.records import pipeline_rows as rows
from lightship.runtime.controller import DONE, Result

LIMIT_REMEMBERED_RUNS = 10_000


class Afterwards:
    """Remembers which runs have ended, so that a Pod's event costs no read of the records."""

    def __init__(self, pods: pods.Pods, store: RunStore, clock: Clock) -> None:
        self._pods = pods
        self._store = store
        self._clock = clock
        self._ended: OrderedDict[Key, str] = OrderedDict()

    def knows(self, run: Key) -> bool:
        return run in self._ended

    def forget(self, run: Key) -> None:
        self._ended.pop(run, None)

    async def of(self, run: Key, state: str = "") -> Result:
        """See to an ended run; ``state`` is how it ended, where that is news."""
        if state:
            self._ended[run] = state
            self._ended.move_to_end(run)
            if len(self._ended) > LIMIT_REMEMBERED_RUNS:
                self._ended.popitem(last=False)
        state = state or self._ended[run]
        await self._pods.release_all(run)
        left = self._pods.of(run)
        if state == rows.SUCCEEDED and any(workspace.mounted_in(pod, run.name) for pod in left):
            await self._pods.delete_workspace(run)
        kept = next((seconds for pod in left if (seconds := kept_seconds(pod, state))), 0)
        return await self._when_over(run, kept) if kept else DONE

    async def gone(self, run: Key) -> None:
        """The records have no such run (any more)."""
        await self._pods.delete_all(run)

    async def _when_over(self, run: Key, kept: int) -> Result:
        loaded = await self._store.load(run)
        ended = loaded[0].finished_at if loaded is not None else None
        if ended is None:
            return DONE
        left = (ended + timedelta(seconds=kept) - self._clock.now()).total_seconds()
        if left > 0:
            return Result(requeue_after_seconds=left)
        await self._pods.delete_all(run)
        return DONE


def kept_seconds(pod: Object, state: str) -> int:
    """How long the Pod of a run that ended in ``state`` stays; 0 for as long as it likes."""
    pairs = (pair.partition("=") for pair in objects.annotations(pod).get(names.TTL_ANNOTATION, "").split(","))
    given: Mapping[str, int] = {ending: int(seconds) for ending, _, seconds in pairs if seconds.isdigit()}
    own = given.get("success" if state == rows.SUCCEEDED else "failure", 0)
    return own or given.get("completion", 0)
