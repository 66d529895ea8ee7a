"""The collector over a real store and database: what nobody uses goes, what another run uses stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship import errors
from lightship.artifacts.local import LocalStore
from lightship.domains.pipelines.garbage import Collector
from lightship.kube.objects import Key
from lightship.records import run_history
from lightship.records.database import Database
from lightship.records.pipeline_rows import CACHED
from lightship.testing.clock import FakeClock
from tests.unit.records.history import History, artifact

ROOT = "minio://b/p/run-1"
MODEL, PLOT = artifact("model"), artifact("plot")
NAMESPACE = Key("", "default")


class World:
    def __init__(self, history: History, store: LocalStore, clock: FakeClock) -> None:
        self.history, self.store, self.clock = history, store, clock
        self.collector = Collector(database=history.database, artifacts=store, clock=clock)

    async def remove(self, run_id: str) -> None:
        now = self.clock.now()
        await self.history.database.run(lambda c: run_history.remove(c, run_id, now, f"minio://b/p/{run_id}"))

    async def files(self) -> list[str]:
        return [entry.uri.removeprefix("minio://b/p/") for entry in await self.store.list("minio://b")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database("sqlite://")
    await database.migrate()
    world = World(History(database), LocalStore(tmp_path / "artifacts", durable=False), FakeClock())
    await world.history.start("run-1", "run-2")
    await world.history.step("train", makes=(MODEL, PLOT))
    await world.history.step("train", makes=(MODEL,), run_id="run-2", state=CACHED)
    for uri in (f"{MODEL.uri}/weights", PLOT.uri, f"{ROOT}/train/1/commit.json", f"{ROOT}/.logs/pod.log",
                "minio://b/p/run-2/other/commit.json"):
        await world.store.put(uri, b"1")
    yield world
    await database.close()


async def test_what_only_the_deleted_run_used_goes_at_once_its_other_files_after_a_rest(world: World) -> None:
    await world.remove("run-1")
    result = await world.collector.reconcile(NAMESPACE)
    assert await world.files() == ["run-1/.logs/pod.log", "run-1/model/weights", "run-1/train/1/commit.json",
                                   "run-2/other/commit.json"]
    assert result.requeue_after_seconds == 60

    await world.clock.advance(60)
    await world.collector.reconcile(NAMESPACE)
    assert await world.files() == ["run-1/model/weights", "run-2/other/commit.json"]


async def test_after_the_last_run_nothing_is_left(world: World) -> None:
    await world.remove("run-1")
    await world.remove("run-2")
    await world.clock.advance(60)
    await world.collector.reconcile(NAMESPACE)
    await world.collector.reconcile(NAMESPACE)
    assert await world.files() == []


async def test_a_store_that_is_away_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.remove("run-1")

    async def away(self: LocalStore, uri: str) -> None:
        raise errors.Unavailable("no")

    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "delete", away)
        await world.collector.reconcile(NAMESPACE)
    assert PLOT.uri.removeprefix("minio://b/p/") in await world.files()
    await world.collector.reconcile(NAMESPACE)
    assert PLOT.uri.removeprefix("minio://b/p/") not in await world.files()
