"""The engine's store of runs, which tells when a run has ended: recurring runs wait for that.

``domain`` puts me between the engine and the records.
"""

from __future__ import annotations

from lightship.kube.objects import Key
from lightship.records import notices
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.pipeline_rows import FINAL, Batch, RunHead
from lightship.records.runs import Runs


class TellingRuns(Runs):
    """``commit`` publishes a notice once a run's last state is written."""

    def __init__(self, database: Database, told: Notices) -> None:
        super().__init__(database)
        self._notices = told

    async def commit(self, batch: Batch) -> RunHead | None:
        head = await super().commit(batch)
        if batch.run is not None and batch.run.state in FINAL:
            self._notices.publish(notices.ENDED_RUNS, Key(batch.namespace, batch.run_id))
        return head
