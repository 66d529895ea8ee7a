"""When a recurring run is due: a cron expression or a period, between a start and an end. Pure arithmetic in UTC.

``decide`` and ``routes`` call me. A period counts from its start time, or from when the recurring run was made, and
keeps to that beat whatever happened in between; as upstream has it, neither kind is due at the start time itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lightship import errors
from lightship.domains.pipelines.recurring import cron
from lightship.kube.objects import Object

LIMIT_INTERVAL_SECONDS = cron.LIMIT_EVERY_SECONDS
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Period:
    """Every so many seconds, counted from ``base``."""

    interval: timedelta
    base: datetime

    def after(self, moment: datetime) -> datetime | None:
        beats = max(0, (moment - self.base) // self.interval) + 1
        try:
            return self.base + beats * self.interval
        except OverflowError:
            return None

    def until(self, moment: datetime, since: datetime) -> datetime | None:
        beats = (moment - self.base) // self.interval
        found = self.base + beats * self.interval
        return found if beats >= 1 and found > since else None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Times on a rule, after ``start`` and up to ``end``, where these are given."""

    rule: cron.Cron | Period
    start: datetime | None = None
    end: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``; None where none comes any more."""
        found = self.rule.after(self._begun(moment))
        return None if found is None or (self.end is not None and found > self.end) else found

    def until(self, moment: datetime, since: datetime) -> datetime | None:
        """The last time after ``since`` that is not after ``moment``; None where there is none."""
        last = moment if self.end is None else min(moment, self.end)
        since = self._begun(since)
        return self.rule.until(last, since) if last > since else None

    def _begun(self, moment: datetime) -> datetime:
        return moment if self.start is None else max(moment, self.start)


def parse(trigger: Object, made_at: datetime) -> Schedule:
    """The schedule of a trigger as REST has it, for a recurring run made at ``made_at``.

    Raises ``errors.InvalidInput`` naming the field.
    """
    by_cron, by_period = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    if (by_cron is None) == (by_period is None):
        raise errors.InvalidInput("a trigger needs either a cron_schedule or a periodic_schedule", field="trigger")
    name = "cron_schedule" if by_cron is not None else "periodic_schedule"
    given = by_cron if by_cron is not None else by_period
    if not isinstance(given, dict):
        raise errors.InvalidInput(f'"{name}" must be an object', field=f"trigger.{name}")
    start, end = (_time(given, f"trigger.{name}", each) for each in ("start_time", "end_time"))
    if start is not None and end is not None and end < start:
        raise errors.InvalidInput("the schedule ends before it starts", field=f"trigger.{name}.end_time")
    if name == "periodic_schedule":
        return Schedule(rule=_period(_interval(given), start, made_at), start=start, end=end)
    text = given.get("cron")
    if not isinstance(text, str) or not text.strip():
        raise errors.InvalidInput("a cron schedule needs an expression", field="trigger.cron_schedule.cron",
                                  remedy='Give "cron", such as "0 30 3 * * *": half past three each night')
    rule = cron.parse(text)
    if isinstance(rule, int):
        return Schedule(rule=_period(rule, start, made_at), start=start, end=end)
    return Schedule(rule=rule, start=start, end=end)


def normal(trigger: Object) -> Object:
    """A trigger that passed ``parse``, with only what is known, as it is stored and shown."""
    for name, own in (("cron_schedule", "cron"), ("periodic_schedule", "interval_second")):
        given = trigger.get(name)
        if given is not None:
            shown = {key: given[key] for key in ("start_time", "end_time", own) if given.get(key) is not None}
            if own == "interval_second":
                shown[own] = str(shown[own])
            return {name: shown}
    return {}


def _period(seconds: int, start: datetime | None, made_at: datetime) -> Period:
    return Period(interval=timedelta(seconds=seconds), base=start or made_at.replace(microsecond=0))


def _interval(given: Object) -> int:
    value: Any = given.get("interval_second")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LIMIT_INTERVAL_SECONDS:
        raise errors.InvalidInput(
            f"the interval of a periodic schedule is a number of seconds from 1 to {LIMIT_INTERVAL_SECONDS}",
            field="trigger.periodic_schedule.interval_second")
    return value


def _time(given: Object, place: str, name: str) -> datetime | None:
    text = given.get(name)
    if text in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        moment = moment and moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not _FIRST <= moment < _LAST:
        raise errors.InvalidInput(f'"{str(text)[:60]}" is no RFC 3339 time', field=f"{place}.{name}")
    return moment
