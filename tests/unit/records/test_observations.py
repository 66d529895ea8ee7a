"""The observation log, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lightship import errors
from lightship.records import observations
from lightship.records.database import Database
from lightship.records.observations import Range
from lightship.records.readings import NO_TIME, Reading

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def reading(second: int, metric: str, value: str) -> Reading:
    return Reading(time=T0 + timedelta(seconds=second), metric=metric, value=value)


async def test_readings_come_back_by_time_and_in_their_own_order(db: Database) -> None:
    given = [reading(2, "loss", "0.3"), reading(1, "loss", "0.5"), Reading(metric="loss", value="nan"),
             reading(2, "loss", "0.2"), reading(2, "accuracy", "high")]
    await db.run(lambda c: observations.report(c, "team", "t-1", given[:3]))
    await db.run(lambda c: observations.report(c, "team", "t-1", given[3:]))
    await db.run(lambda c: observations.report(c, "other", "t-1", [reading(1, "loss", "9")]))

    found = await db.read(lambda c: observations.log(c, "team", "t-1"))
    assert [(one.metric, one.value) for one in found] == [
        ("loss", "nan"), ("loss", "0.5"), ("loss", "0.3"), ("loss", "0.2"), ("accuracy", "high")]
    assert found[0].time == NO_TIME

    wanted = Range(metric="loss", start=T0 + timedelta(seconds=1), end=T0 + timedelta(seconds=1))
    assert [one.value for one in await db.read(lambda c: observations.log(c, "team", "t-1", wanted))] == ["0.5"]


async def test_replacing_a_log_twice_repeats_nothing_and_deleting_it_touches_no_other(db: Database) -> None:
    for _ in range(2):
        await db.run(lambda c: observations.replace(c, "team", "t-1", [reading(1, "loss", "0.5")]))
    await db.run(lambda c: observations.report(c, "team", "t-2", [reading(1, "loss", "0.4")]))
    assert len(await db.read(lambda c: observations.log(c, "team", "t-1"))) == 1
    await db.run(lambda c: observations.delete(c, "team", "t-1"))
    assert await db.read(lambda c: observations.log(c, "team", "t-1")) == []
    assert len(await db.read(lambda c: observations.log(c, "team", "t-2"))) == 1


async def test_a_log_is_bounded_and_says_so(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "LIMIT_READINGS_PER_TRIAL", 3)
    await db.run(lambda c: observations.report(c, "team", "t", [reading(i, "loss", str(i)) for i in range(3)]))
    with pytest.raises(errors.TooLarge, match="has 3 readings, and 3 are the most"):
        await db.run(lambda c: observations.report(c, "team", "t", [reading(4, "loss", "4")]))
    await db.run(lambda c: observations.replace(c, "team", "t", [reading(i, "loss", str(i)) for i in range(9)]))
    assert [one.value for one in await db.read(lambda c: observations.log(c, "team", "t"))] == ["6", "7", "8"]
