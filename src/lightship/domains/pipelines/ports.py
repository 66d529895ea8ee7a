"""What the engine asks of the records: exactly these queries, each one transaction.

``reconciler`` calls me; ``records/runs.py`` implements me over SQL (the row types lie below both of us, in
``records/pipeline_rows.py``), and tests implement me in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lightship.kube.objects import Key
from lightship.records.pipeline_rows import Batch, CacheEntry, RunHead, RunRow, TaskRow


class RunStore(Protocol):
    """The rows of runs. A run's key is (namespace, run id). Every method may raise ``errors.Unavailable``."""

    async def load(self, key: Key) -> tuple[RunRow, Sequence[TaskRow]] | None:
        """The run with all its task rows, or None if there is no such run. Called once a run (and after a restart)."""
        ...

    async def head(self, key: Key) -> RunHead | None:
        """State and generation only, or None if the run is gone. Called on passes that have nothing to write."""
        ...

    async def commit(self, batch: Batch) -> RunHead | None:
        """Write the whole batch or nothing, and say what the run's head is now.

        None: the run is gone, and nothing was written. If the run's state is not ``batch.run.expected_state`` then
        ``batch.run`` is left out, the rest is written, and the head returned tells the engine why.
        """
        ...

    async def unfinished(self) -> Sequence[Key]:
        """Keys of runs whose state is PENDING, RUNNING or CANCELING: what a start or a resync takes up again."""
        ...

    async def cached(self, namespace: str, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """The cache entries there are for ``keys`` (at most 500 a call), by key."""
        ...

    async def forget_cached(self, namespace: str, keys: Sequence[str]) -> None:
        """Drop entries whose artifacts turned out to be gone."""
        ...
