"""Cron schedules: five fields, names, steps, macros and ``@every``, in any time zone. Pure; ``cronjobs`` calls me."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from lightship import errors
from lightship.kube import times

LIMIT_YEARS_AHEAD = 5
"""A schedule that does not come up for so long, such as the 30th of February, never does."""
_MACROS = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
           "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}
_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_PART = re.compile(r"(\*|\?|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When something is due. With ``every`` it is due so long after the last time, whatever the fields."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    either_day: bool = False
    """Whether day and weekday are both given: then one of them suffices."""
    every: timedelta | None = None
    zone: tzinfo = UTC

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``, in UTC; None where there is none for years."""
        if self.every is not None:
            return moment.astimezone(UTC).replace(microsecond=0) + self.every
        local = moment.astimezone(self.zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        last = local.year + LIMIT_YEARS_AHEAD
        while local.year <= last:
            found = self._on_day(local)
            if found is not None:
                due = found.replace(tzinfo=self.zone).astimezone(UTC)
                # A time that the clocks skip does not come; one that they repeat comes once.
                if due > moment and due.astimezone(self.zone).replace(tzinfo=None) == found:
                    return due
                local = found + timedelta(minutes=1)
            else:
                local = (local + timedelta(days=1)).replace(hour=0, minute=0)
        return None

    def last(self, since: datetime, until: datetime) -> datetime | None:
        """The latest time after ``since`` that is not after ``until``."""
        found = self.after(since)
        if found is None or found > until:
            return None
        if self.every is not None:
            return found + self.every * int((until - found) / self.every)
        low, high = since, until
        while high - low > timedelta(seconds=30):  # the next time after low is due, that after high is not
            middle = low + (high - low) / 2
            due = self.after(middle)
            if due is not None and due <= until:
                low, found = middle, due
            else:
                high = middle
        return found

    def _on_day(self, local: datetime) -> datetime | None:
        """The first fitting time of the day, at ``local`` or later."""
        if local.month not in self.months:
            return None
        by_day, by_weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        if not ((by_day or by_weekday) if self.either_day else (by_day and by_weekday)):
            return None
        for hour in sorted(hour for hour in self.hours if hour >= local.hour):
            least = local.minute if hour == local.hour else 0
            minute = min((minute for minute in self.minutes if minute >= least), default=None)
            if minute is not None:
                return local.replace(hour=hour, minute=minute)
        return None


def zone(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises ``errors.InvalidInput``."""
    if not name:
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise errors.InvalidInput(f"unknown time zone {name[:100]!r}") from error


def parse(text: str, time_zone: tzinfo = UTC) -> Schedule:
    """Raises ``errors.InvalidInput`` that says what is wrong with it."""
    text = text.strip().lower()
    if text.startswith("@every "):
        every = timedelta(seconds=times.parse_duration(text.removeprefix("@every ").strip()))
        if every < timedelta(seconds=1):
            every = timedelta(seconds=1)
        return Schedule(every=every, zone=time_zone)
    fields = _MACROS.get(text, text).split()
    if len(fields) != 5:
        raise errors.InvalidInput(f"expected exactly 5 fields, found {len(fields)}: {text[:100]!r}")
    minutes, hours, days, months, weekdays = fields
    found = Schedule(
        minutes=_field(minutes, 0, 59), hours=_field(hours, 0, 23), days=_field(days, 1, 31),
        months=_field(months, 1, 12, _MONTHS), weekdays=frozenset(day % 7 for day in _field(weekdays, 0, 7, _DAYS)),
        either_day=days[0] not in "*?" and weekdays[0] not in "*?", zone=time_zone)
    return found


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise errors.InvalidInput(f"could not read {part[:50]!r} in a cron schedule")
        first, last, step = match.groups()
        if first in ("*", "?"):
            start, end = low, high - (1 if names is _DAYS else 0)
        else:
            start = _number(first, names)
            end = _number(last, names) if last else high if step else start
        size = int(step or 1)
        if not low <= start <= end <= high or size < 1:
            raise errors.InvalidInput(f"{part[:50]!r} in a cron schedule is not within {low}-{high}")
        found.update(range(start, end + 1, size))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    if names is not None and text[:3] in names and text.isalpha():
        return names[text[:3]]
    if not text.isdigit():
        raise errors.InvalidInput(f"could not read {text[:50]!r} in a cron schedule")
    return int(text)
