"""Leaders one after the other: the records take the last one's writes only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import schema
from lightship.records.database import Database
from lightship.records.fence import Deposed, Fence
from lightship.records.pipeline_rows import Batch, RunChange
from tests.unit.records.history import T0, History

NAME = "kubeflow/lightship-controllers"


def fence(token: int, lease: str = "uid-1") -> Fence:
    return Fence(name=NAME, lease=lease, token=token)


def add(digest: str) -> object:
    return lambda connection: connection.execute(insert(schema.specs).values(digest=digest, body={}))


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(schema.specs)).scalar_one())


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes on one database."""
    one, other = Database(url), Database(url)
    await one.migrate()
    yield one, other
    await one.close()
    await other.close()


async def test_a_deposed_leader_writes_nothing(two: tuple[Database, Database]) -> None:
    old, new = two
    await old.take_lead(fence(3))
    await old.lead(add("a"))  # type: ignore[arg-type]
    await new.take_lead(fence(4))

    with pytest.raises(Deposed, match=r"token 3.*another one leads \(token 4"):
        await old.lead(add("b"))  # type: ignore[arg-type]
    await new.lead(add("c"))  # type: ignore[arg-type]
    await old.run(add("d"))  # type: ignore[arg-type]
    assert await old.read(count) == 3


async def test_one_that_slept_through_another_reign_cannot_take_the_lead(two: tuple[Database, Database]) -> None:
    slow, quick = two
    await quick.take_lead(fence(5))

    with pytest.raises(Deposed):
        await slow.take_lead(fence(4))
    await quick.lead(add("a"))  # type: ignore[arg-type]


async def test_the_same_leader_takes_the_lead_again(two: tuple[Database, Database]) -> None:
    before, after = two
    await before.take_lead(fence(1))
    await after.take_lead(fence(1))
    await after.lead(add("a"))  # type: ignore[arg-type]


async def test_a_new_lease_begins_to_count_anew(two: tuple[Database, Database]) -> None:
    old, new = two
    await old.take_lead(fence(9))
    await new.take_lead(fence(0, "uid-2"))

    with pytest.raises(Deposed):
        await old.lead(add("a"))  # type: ignore[arg-type]
    await new.lead(add("b"))  # type: ignore[arg-type]


async def test_a_stale_commit_of_a_run_is_refused_whole(two: tuple[Database, Database]) -> None:
    old, new = History(two[0]), History(two[1])
    await old.start("run-1")
    await old.database.take_lead(fence(1))
    await new.database.take_lead(fence(2))
    change = RunChange(expected_state="PENDING", state="RUNNING", at=T0)

    with pytest.raises(errors.Unavailable):
        await old.step("a")
    with pytest.raises(Deposed):
        await old.runs.commit(Batch(namespace="default", run_id="run-1", run=change))
    head = await new.runs.commit(Batch(namespace="default", run_id="run-1", run=change))
    assert head is not None
    assert head.state == "RUNNING"


async def test_writes_that_race_with_a_change_of_hands_are_all_before_it_or_refused(
        two: tuple[Database, Database]) -> None:
    old, new = two
    await old.take_lead(fence(1))
    writes = [asyncio.ensure_future(old.lead(add(str(n)))) for n in range(60)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await new.take_lead(fence(2))
    seen = await new.read(count)
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert await new.read(count) == seen == sum(not isinstance(one, Deposed) for one in results)
