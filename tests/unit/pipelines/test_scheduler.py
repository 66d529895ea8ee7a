"""The runs of recurring runs are made when they are due: none lost, none twice, never more at once than may be."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update

from lightship.domains.pipelines import launcher_config
from lightship.domains.pipelines.recurring import decide, scheduler
from lightship.kube.objects import Key
from lightship.records import experiments, listing, notices, pipelines, recurring, run_history, schema
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.rows import Experiment, Pipeline, PipelineVersion, RecurringRun, Run
from lightship.testing.clock import EPOCH, FakeClock

SPEC = {"pipeline_spec": {"pipelineInfo": {"name": "p"}, "root": {"inputDefinitions": {"parameters": {
    "n": {"parameterType": "NUMBER_INTEGER"}}}}}}
MINUTE = timedelta(minutes=1)


@dataclasses.dataclass
class Place:
    """A scheduler on a database; ``woken`` are the keys that asked for another pass."""

    database: Database
    clock: FakeClock
    notices: Notices
    woken: list[Key] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = scheduler.Scheduler(self.database, self.notices, self.clock, self.woken.append)

    async def add(self, **fields: Any) -> RecurringRun:
        row = RecurringRun(**{
            "id": "r", "namespace": "default", "experiment_id": "e", "display_name": "nightly", "spec": SPEC,
            "parameters": {"n": "[[Index]]"}, "trigger": {"periodic_schedule": {"interval_second": "60"}},
            "counted_from": EPOCH, "created_at": EPOCH, "updated_at": EPOCH} | fields)
        row = dataclasses.replace(row, next_at=decide.next_at(row))
        await self.database.run(lambda c: recurring.create(c, row))
        return row

    async def look(self) -> float | None:
        """One pass, and those that it asks for at once; the seconds until the next."""
        while True:
            result = await self.scheduler.reconcile(Key("default", "r"))
            if result.requeue_after_seconds != 0:
                return result.requeue_after_seconds

    async def runs(self) -> list[Run]:
        query = listing.Query(sort="scheduled_at", limit=200)
        return (await self.database.read(lambda c: run_history.page(c, "default", query)))[0]

    async def end(self, run: Run) -> None:
        values = update(schema.runs).where(schema.runs.c.id == run.id).values(state="SUCCEEDED")
        await self.database.run(lambda c: c.execute(values))
        self.notices.publish(notices.ENDED_RUNS, Key(run.namespace, run.id))

    async def row(self) -> RecurringRun:
        return await self.database.read(lambda c: recurring.get(c, "r"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    sqlite = request.param == "sqlite"
    database = Database(f"sqlite:///{tmp_path / 'records.db'}" if sqlite else request.getfixturevalue("postgres_url"))
    await database.migrate()
    await database.run(lambda c: experiments.create(
        c, Experiment(id="e", namespace="default", name="e", created_at=EPOCH)))
    yield Place(database, FakeClock(), Notices())
    await database.close()


def minutes(runs: list[Run]) -> list[float]:
    return [((run.scheduled_at or EPOCH) - EPOCH) / MINUTE for run in runs]


async def test_it_sleeps_until_the_next_is_due_and_then_makes_its_run(place: Place) -> None:
    await place.add()

    assert await place.look() == 60
    await place.clock.advance(60)
    assert await place.look() == 60
    (run,) = await place.runs()
    assert (run.id, run.recurring_run_id) == (decide.run_id("r", 1), "r")
    assert (run.display_name, run.parameters, run.pipeline_name) == ("nightly-1", {"n": 1}, "p")
    row = await place.row()
    assert (row.last_index, row.next_at) == (1, EPOCH + 2 * MINUTE)


async def test_it_waits_for_the_end_of_a_run_where_as_many_run_as_may(place: Place) -> None:
    await place.add(max_concurrency=2)
    await place.clock.advance(5 * 60)

    assert await place.look() is None
    assert minutes(await place.runs()) == [1, 2]
    await place.end((await place.runs())[0])
    assert place.woken == [Key("default", "r")]
    await place.look()
    assert minutes(await place.runs()) == [1, 2, 3]


async def test_missed_times_are_made_up_for_one_after_another(place: Place) -> None:
    await place.add(max_concurrency=10)
    await place.clock.advance(4 * 60 + 30)

    assert await place.look() == 30
    assert minutes(await place.runs()) == [1, 2, 3, 4]


async def test_without_catching_up_only_the_latest_is_made_up_for(place: Place) -> None:
    await place.add(max_concurrency=10, no_catchup=True)
    await place.clock.advance(24 * 3600 + 30)

    assert await place.look() == 30
    assert minutes(await place.runs()) == [24 * 60]
    assert (await place.row()).last_index == 1


async def test_a_clock_that_goes_back_makes_nothing_twice(place: Place) -> None:
    await place.add(max_concurrency=10)
    await place.clock.advance(120)
    await place.look()
    earlier = Place(place.database, FakeClock(EPOCH), place.notices)

    assert await earlier.look() == 180
    assert minutes(await place.runs()) == [1, 2]


async def test_a_disabled_one_makes_nothing(place: Place) -> None:
    await place.add(enabled=False)
    await place.clock.advance(600)

    assert await place.look() is None
    assert await place.runs() == []


async def test_a_run_is_never_lost_or_doubled_wherever_the_server_ends(
        place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run and index are one transaction: what fails in it leaves nothing, and the next pass makes the same run."""
    await place.add()
    await place.clock.advance(60)

    def fail(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(recurring, "move", fail)
        with pytest.raises(RuntimeError):
            await place.look()
    assert (await place.runs(), (await place.row()).last_index) == ([], 0)
    fresh = Place(place.database, place.clock, place.notices)
    await fresh.look()
    await fresh.look()
    assert [run.id for run in await place.runs()] == [decide.run_id("r", 1)]


async def test_each_run_takes_the_newest_version_where_only_a_pipeline_is_named(place: Place) -> None:
    await place.add(spec={}, pipeline_id="p")
    await place.clock.advance(60)
    await place.look()
    row = await place.row()
    assert "could not be made" in row.error
    assert await place.runs() == []

    await place.database.run(lambda c: pipelines.create(c, Pipeline(
        id="p", namespace="default", name="p", display_name="p", created_at=EPOCH)))
    await place.database.run(lambda c: pipelines.create_version(c, PipelineVersion(
        id="v1", namespace="default", pipeline_id="p", name="v1", display_name="v1", spec=SPEC, created_at=EPOCH)))
    await place.clock.advance(60)
    await place.look()
    (run,) = await place.runs()
    assert (run.pipeline_version_id, minutes([run])) == ("v1", [2])
    assert (await place.row()).error == ""


async def test_each_run_lies_where_the_namespace_says_when_it_is_made(place: Place) -> None:
    said = {"defaultPipelineRoot": "minio://b/one"}
    stores = cast(Any, SimpleNamespace(config=lambda namespace: launcher_config.parse(said)))
    place.scheduler = scheduler.Scheduler(place.database, place.notices, place.clock, place.woken.append, stores)
    await place.add(max_concurrency=10)
    roots = ["minio://b/one", "minio://b/two"]
    for root in roots:
        said["defaultPipelineRoot"] = root
        await place.clock.advance(60)
        await place.look()
    said["defaultPipelineRoot"] = "file:///nowhere"
    await place.clock.advance(60)
    await place.look()
    assert [run.pipeline_root for run in await place.runs()] == roots
    assert "defaultPipelineRoot" in (await place.row()).error


async def test_a_start_takes_up_all_and_later_only_what_is_due(place: Place) -> None:
    await place.add()
    await place.add(id="off", enabled=False)
    woken: list[Key] = []
    resync = scheduler.Resync(database=place.database, clock=place.clock, wake=woken.append)

    await resync.reconcile(Key("", "default"))
    assert woken == [Key("default", "r")]
    await resync.reconcile(Key("", "default"))
    assert len(woken) == 1
    await place.clock.advance(24 * 3600)  # the clock jumped, or the machine slept
    await resync.reconcile(Key("", "default"))
    assert len(woken) == 2


def test_the_end_of_a_schedule_is_the_end() -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    trigger = {"cron_schedule": {"cron": "@daily", "end_time": "2026-01-02T00:00:00Z"}}
    row = RecurringRun(id="r", namespace="n", experiment_id="e", display_name="d", counted_from=made, created_at=made,
                       updated_at=made, trigger=trigger)

    assert decide.decide(row, made + timedelta(days=9), 0) == decide.Fire(scheduled=made + timedelta(days=1), index=1)
    after = dataclasses.replace(row, counted_from=made + timedelta(days=1))
    assert decide.decide(after, made + timedelta(days=9), 0) == decide.Wait()
