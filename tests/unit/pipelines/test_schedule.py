"""When recurring runs are due: cron expressions as robfig/cron reads them, periods, starts and ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightship import errors
from lightship.domains.pipelines.recurring import cron, macros, schedule

MADE = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rule(text: str) -> cron.Cron:
    parsed = cron.parse(text)
    assert isinstance(parsed, cron.Cron)
    return parsed


# What robfig/cron's own tests expect of the first version, and what follows from its documentation.
@pytest.mark.parametrize(("after", "expression", "expected"), [
    ("2012-07-09T14:45:00", "0 0/15 * * *", "2012-07-09T15:00:00"),
    ("2012-07-09T14:59:59", "0 0/15 * * *", "2012-07-09T15:00:00"),
    ("2012-07-09T15:45:00", "0 20-35/15 * * *", "2012-07-09T16:20:00"),
    ("2012-07-09T23:46:00", "0 */15 * * *", "2012-07-10T00:00:00"),
    ("2012-07-09T23:45:00", "0 20-35/15 * * *", "2012-07-10T00:20:00"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 * * *", "2012-07-10T00:20:15"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 1/2 * *", "2012-07-10T01:20:15"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 10-12 * *", "2012-07-10T10:20:15"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 1/2 */2 * *", "2012-07-11T01:20:15"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 * 9-20 * *", "2012-07-10T00:20:15"),
    ("2012-07-09T23:35:51", "15/35 20-35/15 * 9-20 Jul *", "2012-07-10T00:20:15"),
    ("2012-07-09T23:35:00", "0 0 0 9 Apr-Oct ?", "2012-08-09T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 */5 Apr,Aug,Oct Mon", "2012-08-06T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 */5 Oct Mon", "2012-10-01T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 * Feb Mon", "2013-02-04T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 * Feb Mon/2", "2013-02-01T00:00:00"),
    ("2012-12-31T23:59:45", "0 * * * * *", "2013-01-01T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 29 Feb ?", "2016-02-29T00:00:00"),
    ("2012-07-09T23:35:00", "0 0 0 30 Feb ?", None),
    ("2012-07-09T23:35:00", "0 0 0 31 Apr ?", None),
    ("2012-07-15T10:00:00", "0 0 0 1,15 * Sun", "2012-07-22T00:00:00"),  # either kind of day
    ("2012-07-15T10:00:00", "0 0 0 1,15 * *", "2012-08-01T00:00:00"),
    ("2012-07-15T10:00:00", "@hourly", "2012-07-15T11:00:00"),
    ("2012-07-15T10:00:00", "@daily", "2012-07-16T00:00:00"),
    ("2012-07-15T10:00:00", "@weekly", "2012-07-22T00:00:00"),
    ("2012-07-15T10:00:00", "@monthly", "2012-08-01T00:00:00"),
    ("2012-07-15T10:00:00", "@annually", "2013-01-01T00:00:00"),
    ("2026-01-05T10:00:00", "TZ=Asia/Tokyo 0 30 9 * * *", "2026-01-06T00:30:00"),
    ("2026-03-29T00:00:00", "TZ=Europe/Berlin 0 30 2 * * *", "2026-03-30T00:30:00"),  # 02:30 is skipped on the 29th
    ("2026-10-25T00:29:59", "TZ=Europe/Berlin 0 30 2 * * *", "2026-10-25T00:30:00"),  # and comes twice here
    ("2026-10-25T00:30:00", "TZ=Europe/Berlin 0 30 2 * * *", "2026-10-25T01:30:00"),
    ("2026-10-25T01:30:00", "TZ=Europe/Berlin 0 30 2 * * *", "2026-10-26T01:30:00"),
])
def test_the_time_after(after: str, expression: str, expected: str | None) -> None:
    assert rule(expression).after(at(after)) == (at(expected) if expected else None)


@pytest.mark.parametrize("expression", [
    "", "* * * *", "* * * * * * *", "60 * * * * *", "* 60 * * * *", "* * 24 * * *", "* * * 0 * *", "* * * 32 * *",
    "* * * * 13 *", "* * * * * 7", "5-2 * * * * *", "*/0 * * * * *", "a * * * * *", "@never", "@every", "@every x",
    "1--2 * * * * *", "-1 * * * * *", "* * * * Feb/x *", "TZ=Nowhere/City * * * * * *", "² * * * * *", "9" * 2000,
])
def test_what_is_no_expression_is_refused_with_the_reason(expression: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        cron.parse(expression)

    assert caught.value.field == "trigger.cron_schedule.cron"


@pytest.mark.parametrize(("text", "seconds"), [
    ("@every 90s", 90), ("@every 1h30m", 5400), ("@every 1.5h", 5400), ("@every 10ms", 1), ("@every 2m1.9s", 121)])
def test_every_so_often(text: str, seconds: int) -> None:
    assert cron.parse(text) == seconds


def fields(least: int, greatest: int) -> st.SearchStrategy[str]:
    value = st.integers(least, greatest)
    pair = st.tuples(value, value).map(sorted)
    return st.one_of(
        st.just("*"), value.map(str), pair.map(lambda p: f"{p[0]}-{p[1]}"),
        st.integers(1, greatest).map(lambda n: f"*/{n}"),
        st.tuples(value, st.integers(1, 20)).map("{0[0]}/{0[1]}".format),
        st.lists(value, min_size=1, max_size=4).map(lambda found: ",".join(map(str, found))))


expressions = st.tuples(fields(0, 59), fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 6)).map(
    " ".join)
moments = st.integers(0, 4_000_000_000).map(lambda n: datetime.fromtimestamp(n, UTC))


@given(expressions, moments, st.integers(1, 40 * 24 * 3600))
@settings(max_examples=300)
def test_both_directions_agree(expression: str, moment: datetime, span: int) -> None:
    """The next time is strictly later; nothing lies between; the last time before it is not after the moment."""
    found = rule(expression).after(moment)
    since = moment - timedelta(seconds=span)
    last = rule(expression).until(moment, since)
    if found is not None:
        assert found > moment
        assert rule(expression).until(found, moment) == found
        assert rule(expression).until(found - timedelta(seconds=1), moment) is None
    if last is not None:
        assert since < last <= moment
        assert rule(expression).after(last) == found
    else:
        first = rule(expression).after(since)
        assert first is None or first > moment


@given(moments, st.integers(1, 10**7), st.integers(0, 10**9))
def test_periods_keep_their_beat(base: datetime, seconds: int, later: int) -> None:
    period = schedule.Period(interval=timedelta(seconds=seconds), base=base)
    moment = base + timedelta(seconds=later)

    found = period.after(moment)

    assert found is not None
    assert moment < found <= moment + period.interval
    assert (found - base) % period.interval == timedelta()
    assert period.until(found, moment) == found


def trigger(**fields: Any) -> dict[str, Any]:
    return {"cron_schedule" if "cron" in fields else "periodic_schedule": fields}


def test_a_period_counts_from_its_start_or_its_making() -> None:
    assert schedule.parse(trigger(interval_second="60"), MADE).after(MADE) == MADE + timedelta(seconds=60)
    begun = schedule.parse(trigger(interval_second=3600, start_time="2026-02-28T00:00:00Z"), MADE)
    assert begun.after(at("2026-02-28T00:00:00")) == at("2026-02-28T01:00:00")
    assert begun.after(MADE) == at("2026-03-01T13:00:00")


def test_nothing_is_due_before_the_start_or_after_the_end() -> None:
    times = schedule.parse(trigger(cron="0 0 * * * *", start_time="2026-03-02T00:00:00Z",
                                   end_time="2026-03-02T02:00:00+00:00"), MADE)
    assert times.after(MADE) == at("2026-03-02T01:00:00")  # as upstream: not at the start itself
    assert times.after(at("2026-03-02T01:00:00")) == at("2026-03-02T02:00:00")
    assert times.after(at("2026-03-02T02:00:00")) is None
    assert times.until(at("2027-01-01T00:00:00"), MADE) == at("2026-03-02T02:00:00")
    assert times.until(at("2026-03-02T00:30:00"), MADE) is None


@pytest.mark.parametrize(("given", "field"), [
    ({}, "trigger"),
    ({"cron_schedule": {"cron": "@daily"}, "periodic_schedule": {"interval_second": 1}}, "trigger"),
    ({"cron_schedule": []}, "trigger.cron_schedule"), ({"cron_schedule": {}}, "trigger.cron_schedule.cron"),
    *(({"periodic_schedule": {"interval_second": value}}, "trigger.periodic_schedule.interval_second")
      for value in (0, -1, "x", 1.5, True, None, "9" * 30)),
    (trigger(cron="@daily", start_time="yesterday"), "trigger.cron_schedule.start_time"),
    (trigger(cron="@daily", end_time=5), "trigger.cron_schedule.end_time"),
    (trigger(cron="@daily", start_time="2026-03-02T00:00:00Z", end_time="2026-03-01T00:00:00Z"),
     "trigger.cron_schedule.end_time"),
])
def test_a_wrong_trigger_is_refused_by_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        schedule.parse(given, MADE)

    assert caught.value.field == field


def test_macros_are_filled_in_wherever_text_stands() -> None:
    values = macros.Macros(run_id="r-1", now=at("2026-03-01T13:05:09"), scheduled=at("2026-03-01T13:00:00"), index=7)
    given = {"a": "x-[[Index]]-[[RunUUID]]", "b": ["[[ScheduledTime]]", {"c": "[[CurrentTime]]"}], "d": 5,
             "e": "[[ScheduledTime.2006-01-02T15:04:05Z07:00]] [[CurrentTime.Mon, 2 Jan 06 3:04pm]]", "f": "[[Other]]"}

    assert macros.expand(given, values) == {
        "a": "x-7-r-1", "b": ["20260301130000", {"c": "20260301130509"}], "d": 5,
        "e": "2026-03-01T13:00:00Z Sun, 1 Mar 26 1:05pm", "f": "[[Other]]"}


def test_macros_without_a_schedule_leave_what_they_do_not_know() -> None:
    values = macros.Macros(run_id="r-1", now=MADE)

    assert macros.expand({"a": "[[Index]] [[ScheduledTime]] [[RunUUID]]"}, values) == {
        "a": "[[Index]] [[ScheduledTime]] r-1"}


def test_a_number_that_was_text_is_a_number_where_the_pipeline_wants_one() -> None:
    spec = {"pipeline_spec": {"root": {"inputDefinitions": {"parameters": {
        "n": {"parameterType": "NUMBER_INTEGER"}, "s": {"parameterType": "STRING"}}}}}}
    given = {"n": "[[Index]]", "s": "[[Index]]"}
    filled = macros.expand(given, macros.Macros(run_id="r", now=MADE, index=3))

    assert macros.typed(filled, given, spec) == {"n": 3, "s": "3"}
