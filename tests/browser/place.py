"""The page on a real server and database, with a run, a model and an endpoint whose names try to be markup."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import structs

from lightship.artifacts.local import LocalStore
from lightship.domains.pipelines import routes as pipelines
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Key, Object
from lightship.lib.clock import SYSTEM
from lightship.lib.ids import RandomIds
from lightship.records import experiments, notices, run_history, schema
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.pipeline_rows import (
    OUTPUT,
    ArtifactEvent,
    ArtifactRow,
    Batch,
    RunChange,
    TaskIO,
    TaskRow,
)
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs
from lightship.web.page import routes
from tests.unit.web import harness
from tests.unit.web.harness import Site

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
MODEL = ArtifactRow(artifact_id="art-1", name="model", type_title="system.Model", uri="minio://b/model",
                    digest="sha256:abc", size_bytes=2_500_000, metadata={"accuracy": 0.97})


def endpoint(name: str, *, ready: bool) -> Object:
    condition = {"type": "Ready", "status": "True"} if ready else {
        "type": "Ready", "status": "False", "reason": "PredictorNotReady", "message": "no Pod is ready"}
    return {"metadata": {"name": name, "namespace": "default"},
            "status": {"url": "http://127.0.0.1:8782/serving/default/iris" if ready else "javascript:alert(1)",
                       "conditions": [condition]}}


@dataclass
class Place:
    site: Site
    database: Database
    notices: Notices
    endpoints: list[Object] = field(default_factory=list)

    async def add_run(self, run_id: str, name: str, **fields: Any) -> None:
        run = Run(id=run_id, namespace="default", experiment_id="e", display_name=name, state="PENDING",
                  spec={"pipeline_spec": {}}, parameters={"lr": 0.1}, pipeline_name="sums", created_at=NOW)
        await self.database.run(lambda c: run_history.create(c, dataclasses.replace(run, **fields)))
        self.notices.publish(notices.RUNS, Key("default", run_id))

    async def end_run(self, run_id: str, *, error: str = "") -> None:
        def task(path: str, state: str, **fields: Any) -> TaskRow:
            row = TaskRow(task_id=f"{run_id}-{path}", run_id=run_id, namespace="default", path=path,
                          parent_path=path.rpartition("/")[0], name=path.rpartition("/")[2], display_name="",
                          type="RUNTIME" if "/" in path else "ROOT", state=state, created_at=NOW, started_at=NOW,
                          finished_at=NOW)
            return structs.replace(row, **fields)

        train = task("root/train", "SUCCEEDED", pod="train-pod",
                     outputs=TaskIO(parameters={"score": 0.5, "note": EVIL}, artifacts={"model": (MODEL,)}))
        await Runs(self.database).commit(Batch(
            namespace="default", run_id=run_id, artifacts=(MODEL,),
            tasks=(task("root", "FAILED" if error else "SUCCEEDED"), task("root/ingest", "CACHED"), train,
                   task("root/loop", "SUCCEEDED"), task("root/loop[10]", "SUCCEEDED", index=10),
                   task("root/loop[2]", "FAILED" if error else "SUCCEEDED", index=2, error=error)),
            events=(ArtifactEvent(task_id=train.task_id, artifact_id="art-1", type=OUTPUT, key="model"),),
            run=RunChange(expected_state="PENDING", state="FAILED" if error else "SUCCEEDED", error=error, at=NOW,
                          finished_at=NOW)))
        self.notices.publish(notices.RUNS, Key("default", run_id))

    async def add_model(self, name: str) -> None:
        row = {"namespace": "default", "name": name, "state": "LIVE", "created_at": NOW, "updated_at": NOW}

        def work(connection: Any) -> None:
            models, versions, artifacts = schema.registered_models, schema.model_versions, schema.model_artifacts
            model = connection.execute(models.insert().values(**row)).inserted_primary_key[0]
            version = connection.execute(versions.insert().values(
                **row | {"name": "7", "registered_model_id": model})).inserted_primary_key[0]
            connection.execute(artifacts.insert().values(**row | {
                "type": "model-artifact", "model_version_id": version, "uri": "minio://b/model", "run_id": "run-1"}))

        await self.database.run(work)


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Place]:
    database = Database(f"sqlite:///{directory / 'records.db'}")
    await database.migrate()
    heard, store = Notices(), LocalStore(directory / "artifacts")
    await store.put("minio://b/model/weights.bin", b"weights")
    await store.put("minio://b/model/<b>odd&name.txt", b"odd")
    streams = routes.streams(heard)
    places: list[Place] = []

    async def endpoints(namespace: str) -> Sequence[Object]:
        return places[0].endpoints

    page = routes.Page(database=database, artifacts=store, clock=SYSTEM, endpoints=endpoints, streams=streams)
    deps = Deps(database=database, notices=heard, artifacts=store, clock=SYSTEM, ids=RandomIds())
    await database.run(lambda c: experiments.create(
        c, Experiment(id="e", namespace="default", name="e", created_at=NOW)))
    try:
        async with harness.serving([*routes.routes(page), *pipelines.routes(deps)]) as site:
            places.append(Place(site, database, heard))
            yield places[0]
            streams.close()
    finally:
        await database.close()
