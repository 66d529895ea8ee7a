"""What runs share stays while one of them refers to it, and goes after the last; hits and deletions never cross."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from lightship.records import artifacts, garbage, run_history, schema
from lightship.records.database import Database
from lightship.records.garbage import StaleHit
from lightship.records.pipeline_rows import CACHED, Batch, CacheEntry, TaskIO
from tests.unit.records.history import T0, History, artifact

MODEL, IMPORTED = artifact("model"), artifact("data", "elsewhere")


@pytest.fixture
async def history(db: Database) -> History:
    made = History(db)
    await made.start("run-1", "run-2")
    await made.step("import", makes=(IMPORTED,))
    await made.step("train", takes=(IMPORTED,), makes=(MODEL,))
    return made


async def remove(history: History, run_id: str) -> None:
    await history.database.run(lambda c: run_history.remove(c, run_id, T0, f"minio://b/p/{run_id}"))


async def doomed(history: History) -> dict[str, str]:
    found = await history.database.run(lambda c: garbage.doom(c, "default", 100))
    return {one.artifact_id: one.run_id for one in found}


async def test_an_artifact_stays_while_a_run_refers_to_it(history: History) -> None:
    await history.step("train", makes=(MODEL,), run_id="run-2", state=CACHED)
    assert await doomed(history) == {}

    await remove(history, "run-1")
    assert await doomed(history) == {"a-data": ""}  # imported: its row may go, its content is not ours
    await remove(history, "run-2")
    assert await doomed(history) == {"a-data": "", "a-model": "run-1"}


async def test_a_hit_takes_up_what_was_let_go(history: History) -> None:
    await remove(history, "run-1")
    await history.step("train", makes=(MODEL,), run_id="run-2", state=CACHED)

    assert await doomed(history) == {"a-data": ""}
    await remove(history, "run-2")
    assert "a-model" in await doomed(history)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_hit_on_what_is_being_deleted_is_refused_and_its_entry_forgotten(history: History, gone: bool) -> None:
    entry = CacheEntry(namespace="default", key="k", task_id="t", run_id="run-1", outputs=TaskIO(), created_at=T0)
    await history.runs.commit(Batch(namespace="default", run_id="run-1", cache=(entry,)))
    await remove(history, "run-1")
    ids = list(await doomed(history))
    if gone:
        await history.database.run(lambda c: garbage.forget(c, ids))

    with pytest.raises(StaleHit):
        await history.step("train", makes=(MODEL,), run_id="run-2", state=CACHED, cache_key="k")
    assert await history.runs.cached("default", ["k"]) == {}
    loaded = await history.database.read(lambda c: run_history.details(c, "run-2"))
    assert loaded[1] == []


async def test_what_the_model_registry_names_is_kept(history: History) -> None:
    await remove(history, "run-1")

    def register(connection: object) -> None:
        connection.execute(insert(schema.model_artifacts).values(  # type: ignore[attr-defined]
            namespace="default", name="m", type="model-artifact", uri=f"{MODEL.uri}/model.pkl", created_at=T0,
            updated_at=T0))

    await history.database.run(register)
    assert await doomed(history) == {"a-data": ""}
    assert (await history.database.read(lambda c: artifacts.get(c, "a-model"))).row.uri == MODEL.uri


async def test_forgetting_drops_rows_and_spares_what_is_not_doomed(history: History) -> None:
    await remove(history, "run-1")
    ids = list(await doomed(history))
    await history.database.run(lambda c: garbage.forget(c, [*ids, "none"]))

    assert await history.database.read(lambda c: c.execute(select(schema.artifacts.c.id)).all()) == []
    assert await doomed(history) == {}


async def test_the_folder_of_a_deleted_run_is_remembered_until_it_is_cleared(history: History) -> None:
    await history.step("train", makes=(MODEL,), run_id="run-2", state=CACHED)
    await remove(history, "run-1")

    left = await history.database.read(lambda c: garbage.leftovers(c, "default", 10))
    assert [(one.run_id, one.root, at) for one, at in left] == [("run-1", "minio://b/p/run-1", T0)]
    assert await history.database.read(lambda c: garbage.kept_uris(c, "run-1")) == [MODEL.uri]
    await history.database.run(lambda c: garbage.cleared(c, "run-1"))
    assert await history.database.read(lambda c: garbage.leftovers(c, "default", 10)) == []
