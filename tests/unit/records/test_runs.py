"""The engine's store of runs, and the same rows as their users see and change them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from lightship import errors
from lightship.kube.objects import Key
from lightship.records import artifacts, experiments, listing, run_history
from lightship.records.database import Database
from lightship.records.pipeline_rows import (
    OUTPUT,
    ArtifactEvent,
    ArtifactRow,
    Batch,
    CacheEntry,
    RunChange,
    RunHead,
    TaskIO,
    TaskRow,
)
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs

T0 = datetime(2026, 11, 24, 4, 0, 0, 123456, tzinfo=UTC)
KEY = Key("default", "run-1")
SPEC = {"pipeline_spec": {"pipelineInfo": {"name": "p"}, "root": {"dag": {}}}}
MODEL = ArtifactRow(artifact_id="art-1", name="model", type_title="system.Model", uri="minio://b/m", digest="sha256:1",
                    metadata={"framework": "sklearn"}, size_bytes=7)


def run_row(number: int = 1, **changes: object) -> Run:
    run = Run(id=f"run-{number}", namespace="default", experiment_id="exp", display_name=f"run {number}", spec=SPEC,
              parameters={"x": 1.5}, pipeline_root="minio://r", state="PENDING",
              created_at=T0 + timedelta(seconds=number))
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def task(name: str, state: str = "RUNNING", **changes: object) -> TaskRow:
    row = TaskRow(task_id=f"t-{name}", run_id="run-1", namespace="default", path=f"root/{name}", parent_path="root",
                  name=name, display_name=name, type="RUNTIME", state=state, created_at=T0,
                  inputs=TaskIO(parameters={"lr": 0.1, "names": ["a"], "none": None}))
    return structs.replace(row, **changes)


@pytest.fixture
async def runs(db: Database) -> Runs:
    await db.run(lambda c: experiments.create(
        c, Experiment(id="exp", namespace="default", name="Default", created_at=T0)))
    await db.run(lambda c: run_history.create(c, run_row()))
    return Runs(db)


async def test_a_run_is_loaded_as_it_was_made(runs: Runs) -> None:
    loaded = await runs.load(KEY)

    assert loaded is not None
    run, tasks = loaded
    assert (run.spec, run.parameters, run.state, run.generation) == (SPEC, {"x": 1.5}, "PENDING", 0)
    assert (run.created_at, run.scheduled_at) == (T0 + timedelta(seconds=1),) * 2
    assert list(tasks) == []
    assert await runs.load(Key("other", "run-1")) is None
    assert await runs.head(Key("default", "none")) is None


async def test_a_batch_is_written_whole_and_read_back(runs: Runs, db: Database) -> None:
    done = task("train", "SUCCEEDED", outputs=TaskIO(artifacts={"model": (MODEL,)}), attempt=2, retries=1,
                retry_at=T0, pod="p-1", cache_key="k", started_at=T0, finished_at=T0, index=3)
    batch = Batch(
        namespace="default", run_id="run-1", tasks=(done, task("next")), artifacts=(MODEL,),
        run=RunChange(expected_state="PENDING", state="RUNNING", at=T0, started_at=T0),
        events=(ArtifactEvent(task_id="t-train", artifact_id="art-1", type=OUTPUT, key="model"),),
        cache=(CacheEntry(namespace="default", key="k", task_id="t-train", run_id="run-1", outputs=done.outputs,
                          created_at=T0),))

    assert await runs.commit(batch) == RunHead(state="RUNNING", generation=0)
    assert await runs.commit(batch) == RunHead(state="RUNNING", generation=0)  # Again: the same rows.

    loaded = await runs.load(KEY)
    assert loaded is not None
    assert list(loaded[1]) == [task("next"), done]
    assert (await runs.cached("default", ["k", "absent"]))["k"] == batch.cache[0]
    assert await runs.cached("other", ["k"]) == {}
    kept = await db.read(lambda c: artifacts.get(c, "art-1"))
    assert (kept.namespace, kept.row) == ("default", MODEL)
    assert await db.read(lambda c: artifacts.producers(c, ["art-1"])) == {"art-1": ("run-1", "t-train")}
    seen = await db.read(lambda c: run_history.get(c, "run-1"))
    assert [entry["state"] for entry in seen.state_history] == ["PENDING", "RUNNING"]
    assert seen.started_at == T0


async def test_a_task_is_replaced_not_repeated(runs: Runs) -> None:
    await runs.commit(Batch(namespace="default", run_id="run-1", tasks=(task("a"),)))
    await runs.commit(Batch(namespace="default", run_id="run-1", tasks=(task("a", "FAILED", error="boom"),)))

    loaded = await runs.load(KEY)
    assert loaded is not None
    assert [(t.state, t.error) for t in loaded[1]] == [("FAILED", "boom")]


async def test_a_terminate_that_came_between_is_not_overwritten(runs: Runs, db: Database) -> None:
    await db.run(lambda c: run_history.terminate(c, "run-1", T0))
    batch = Batch(namespace="default", run_id="run-1", tasks=(task("a"),),
                  run=RunChange(expected_state="PENDING", state="RUNNING", at=T0))

    assert await runs.commit(batch) == RunHead(state="CANCELING", generation=0)
    loaded = await runs.load(KEY)
    assert loaded is not None
    assert loaded[0].state == "CANCELING"
    assert [t.name for t in loaded[1]] == ["a"]


async def test_a_batch_for_a_deleted_run_writes_nothing(runs: Runs, db: Database) -> None:
    await db.run(lambda c: run_history.remove(c, "run-1", T0))

    assert await runs.commit(Batch(namespace="default", run_id="run-1", tasks=(task("a"),))) is None
    assert await runs.load(KEY) is None


async def test_unfinished_runs_are_found_after_a_start(runs: Runs, db: Database) -> None:
    for number in (2, 3):
        await db.run(lambda c, n=number: run_history.create(c, run_row(n)))
    end = RunChange(expected_state="PENDING", state="SUCCEEDED", at=T0, finished_at=T0)
    await runs.commit(Batch(namespace="default", run_id="run-2", run=end))

    assert await runs.unfinished() == [KEY, Key("default", "run-3")]


async def test_a_forgotten_entry_is_gone(runs: Runs) -> None:
    entry = CacheEntry(namespace="default", key="k", task_id="t", run_id="r", outputs=TaskIO(), created_at=T0)
    await runs.commit(Batch(namespace="default", run_id="run-1", cache=(entry,)))
    await runs.forget_cached("default", ["k"])

    assert await runs.cached("default", ["k"]) == {}


async def test_terminate_and_retry_keep_to_the_states(runs: Runs, db: Database) -> None:
    with pytest.raises(errors.Conflict, match="only a failed or cancelled"):
        await db.run(lambda c: run_history.retry(c, "run-1", T0))
    assert await db.run(lambda c: run_history.terminate(c, "run-1", T0)) == KEY
    assert await db.run(lambda c: run_history.terminate(c, "run-1", T0)) == KEY
    change = RunChange(expected_state="CANCELING", state="CANCELED", at=T0, finished_at=T0, error="terminated")
    await runs.commit(Batch(namespace="default", run_id="run-1", run=change))
    with pytest.raises(errors.Conflict, match="already ended"):
        await db.run(lambda c: run_history.terminate(c, "run-1", T0))

    await db.run(lambda c: run_history.retry(c, "run-1", T0))
    assert await runs.head(KEY) == RunHead(state="PENDING", generation=1)
    with pytest.raises(errors.NotFound):
        await db.run(lambda c: run_history.terminate(c, "none", T0))


async def test_pages_neither_skip_nor_repeat(runs: Runs, db: Database) -> None:
    for number in range(2, 12):
        await db.run(lambda c, n=number: run_history.create(c, run_row(n, created_at=T0 + timedelta(seconds=n // 3))))
    seen: list[str] = []
    query = listing.Query(sort="created_at", descending=True, limit=4)
    while True:
        before = db.statements
        rows, found = await db.read(lambda c, q=query: run_history.page(c, "default", q))
        assert db.statements - before == 2
        seen += [row.id for row in rows]
        assert found.total == 11
        if found.next is None:
            break
        query = dataclasses.replace(query, after=found.next)
        meanwhile = run_row(100 + len(seen), namespace="elsewhere")
        await db.run(lambda c, run=meanwhile: run_history.create(c, run))

    assert len(seen) == len(set(seen)) == 11


@pytest.mark.parametrize(("field", "operation", "values", "expected"), [
    ("display_name", "EQUALS", ("run 2",), [2]),
    ("display_name", "NOT_EQUALS", ("run 2",), [1, 3]),
    ("display_name", "IS_SUBSTRING", ("RUN",), [1, 2, 3]),
    ("display_name", "IS_SUBSTRING", ("%",), []),
    ("id", "IN", ("run-1", "run-3"), [1, 3]),
    ("created_at", "GREATER_THAN", ("2026-11-24T04:00:02Z",), [2, 3]),
    ("created_at", "LESS_THAN_EQUALS", ("2026-11-24T04:00:02.123456Z",), [1, 2]),
    ("state", "EQUALS", ("SUCCEEDED",), []),
])
async def test_predicates(runs: Runs, db: Database, field: str, operation: listing.Operation,
                          values: tuple[str, ...], expected: list[int]) -> None:
    for number in (2, 3):
        await db.run(lambda c, n=number: run_history.create(c, run_row(n)))
    query = listing.Query(predicates=(listing.Predicate(field=field, operation=operation, values=values),))
    rows, _ = await db.read(lambda c: run_history.page(c, "default", query))

    assert [row.id for row in rows] == [f"run-{number}" for number in expected]


@pytest.mark.parametrize("query", [
    listing.Query(predicates=(listing.Predicate(field="spec_digest", operation="EQUALS", values=("x",)),)),
    listing.Query(predicates=(listing.Predicate(field="created_at", operation="EQUALS", values=("soon",)),)),
    listing.Query(sort="parameters; DROP TABLE runs"),
    listing.Query(sort="created_at", after=listing.Cursor(value="x", id="y")),
])
async def test_a_query_that_does_not_fit_is_refused(runs: Runs, db: Database, query: listing.Query) -> None:
    with pytest.raises(errors.BadRequest):
        await db.read(lambda c: run_history.page(c, "default", query))


async def test_rows_without_a_value_have_their_place_in_the_order(runs: Runs, db: Database) -> None:
    for number in (2, 3):
        await db.run(lambda c, n=number: run_history.create(c, run_row(n)))
    end = RunChange(expected_state="PENDING", state="SUCCEEDED", at=T0, finished_at=T0)
    await runs.commit(Batch(namespace="default", run_id="run-2", run=end))
    seen: list[str] = []
    query = listing.Query(sort="finished_at", limit=1)
    for _ in range(3):
        rows, found = await db.read(lambda c, q=query: run_history.page(c, "default", q))
        seen += [row.id for row in rows]
        query = dataclasses.replace(query, after=found.next)

    assert seen == ["run-1", "run-3", "run-2"]


async def test_the_runs_of_an_experiment_outlive_it(runs: Runs, db: Database) -> None:
    with pytest.raises(errors.NotFound, match='no experiment "none"'):
        await db.run(lambda c: run_history.create(c, run_row(9, experiment_id="none")))
    seen = await db.read(lambda c: experiments.get(c, "exp"))
    assert seen.last_run_created_at == T0 + timedelta(seconds=1)
    await db.run(lambda c: experiments.remove(c, "exp"))
    with pytest.raises(errors.NotFound):
        await db.read(lambda c: experiments.get(c, "exp"))
    assert await db.read(lambda c: experiments.by_name(c, seen.namespace, seen.name)) is None
    assert (await db.read(lambda c: run_history.get(c, "run-1"))).experiment_id == "exp"
