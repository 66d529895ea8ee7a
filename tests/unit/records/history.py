"""Runs, tasks and artifacts to test the records with, made by few words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lightship.records import experiments, pipeline_rows, run_history
from lightship.records.database import Database
from lightship.records.pipeline_rows import INPUT, OUTPUT, ArtifactEvent, ArtifactRow, Batch, TaskIO, TaskRow
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs

T0 = datetime(2026, 11, 24, 4, 0, 0, tzinfo=UTC)
SPEC = {"pipeline_spec": {"pipelineInfo": {"name": "p"}, "root": {"dag": {}}}}


def artifact(name: str, run_id: str = "run-1") -> ArtifactRow:
    return ArtifactRow(artifact_id=f"a-{name}", name=name, uri=f"minio://b/p/{run_id}/{name}", digest="sha256:1")


class History:
    """Over one database; ``step`` writes a task that ended, with its artifacts and their events."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = Runs(database)

    async def start(self, *run_ids: str, namespace: str = "default") -> None:
        """The runs, each in an experiment of the namespace."""
        exp = f"exp-{namespace}"
        await self.database.run(lambda c: experiments.create(
            c, Experiment(id=exp, namespace=namespace, name="Default", created_at=T0)))
        for run_id in run_ids:
            run = Run(id=run_id, namespace=namespace, experiment_id=exp, display_name=f"the {run_id}", spec=SPEC,
                      state="PENDING", created_at=T0)
            await self.database.run(lambda c, run=run: run_history.create(c, run))  # type: ignore[misc]

    async def step(self, name: str, *, takes: tuple[ArtifactRow, ...] = (), makes: tuple[ArtifactRow, ...] = (),
                   run_id: str = "run-1", namespace: str = "default",
                   **fields: Any) -> TaskRow:
        task = TaskRow(
            task_id=f"{run_id}-{name}", run_id=run_id, namespace=namespace, path=f"root/{name}", parent_path="root",
            name=name, display_name="", type="RUNTIME", created_at=T0, started_at=T0, finished_at=T0,
            inputs=TaskIO(artifacts={one.name: (one,) for one in takes}),
            outputs=TaskIO(artifacts={one.name: (one,) for one in makes}),
            **{"state": pipeline_rows.SUCCEEDED} | fields)
        events = tuple(ArtifactEvent(task_id=task.task_id, artifact_id=one.artifact_id, type=kind, key=one.name)
                       for kind, several in ((INPUT, takes), (OUTPUT, makes)) for one in several)
        await self.runs.commit(Batch(namespace=namespace, run_id=run_id, tasks=(task,), artifacts=makes,
                                     events=events))
        return task
