"""The pipelines API on a real server and database, with a stand-in for the engine that ends runs at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lightship.artifacts.local import LocalStore
from lightship.domains.pipelines import names, routes
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Key
from lightship.lib.clock import SYSTEM
from lightship.lib.ids import RandomIds
from lightship.records import notices
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.pipeline_rows import (
    CACHED,
    OUTPUT,
    SUCCEEDED,
    ArtifactEvent,
    ArtifactRow,
    Batch,
    RunChange,
    TaskIO,
    TaskRow,
)
from lightship.records.runs import Runs
from tests.unit.web import harness
from tests.unit.web.harness import Site

MODEL = b"<script>not a page</script>"


@dataclass(frozen=True)
class Platform:
    site: Site
    deps: Deps
    engine: Engine


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Platform]:
    database = Database(f"sqlite:///{directory / 'records.db'}")
    await database.migrate()
    deps = Deps(database=database, notices=Notices(), artifacts=LocalStore(directory / "artifacts"), clock=SYSTEM,
                ids=RandomIds())
    engine = Engine(deps)
    try:
        async with harness.serving(routes.routes(deps)) as site:
            yield Platform(site, deps, engine)
        await engine.idle()
    finally:
        await database.close()


class Engine:
    """Ends every run that is announced: one ROOT, one cached step, one step with an artifact."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard: list[Key] = []
        self.ends_runs = True
        deps.notices.subscribe(notices.RUNS, self._hear)

    async def idle(self) -> None:
        await asyncio.gather(*self._tasks)

    def _hear(self, key: Key) -> None:
        self.heard.append(key)
        if self.ends_runs:
            self._tasks.add(asyncio.create_task(self._end(key)))

    async def _end(self, key: Key) -> None:
        runs = Runs(self._deps.database)
        loaded = await runs.load(key)
        if loaded is None or loaded[0].state != "PENDING":
            return
        now = self._deps.clock.now()
        uri = f"minio://mlpipeline/v2/{key.name}/model"
        digest = await self._deps.artifacts.put(uri, MODEL)
        model = ArtifactRow(artifact_id=names.artifact_id(uri, "t"), name="model", type_title="system.Model", uri=uri,
                            digest=digest.digest, size_bytes=digest.size_bytes, metadata={"framework": "none"})

        def task(path: str, type: str, state: str = SUCCEEDED, outputs: TaskIO | None = None) -> TaskRow:
            return TaskRow(
                task_id=names.task_id(key.name, path), run_id=key.name, namespace=key.namespace, path=path,
                parent_path=path.rpartition("/")[0], name=path.rpartition("/")[2], display_name="", type=type,
                state=state, outputs=outputs or TaskIO(), created_at=now, started_at=now, finished_at=now,
                pod=f"pod-{type.lower()}")

        train = task("root/train", "RUNTIME", outputs=TaskIO(parameters={"score": 0.5}, artifacts={"model": (model,)}))
        await runs.commit(Batch(
            namespace=key.namespace, run_id=key.name, artifacts=(model,),
            tasks=(task("root", "ROOT"), task("root/ingest", "RUNTIME", CACHED), train),
            events=(ArtifactEvent(task_id=train.task_id, artifact_id=model.artifact_id, type=OUTPUT, key="model"),),
            run=RunChange(expected_state="PENDING", state=SUCCEEDED, at=now, started_at=now, finished_at=now)))
