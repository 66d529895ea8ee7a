"""Cron expressions as KFP reads them, which is robfig/cron's first version: the seconds come first. Pure.

``schedule`` calls me. Fields are seconds, minutes, hours, days of the month, months and (optional) days of the week;
``@hourly`` and its like stand for whole expressions. A leading ``TZ=Europe/Berlin`` names the zone, else it is UTC.
Where both kinds of days are restricted, a day of either kind counts.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from lightship import errors

LIMIT_CHARACTERS = 1000
LIMIT_DAYS = 9 * 366
"""How far to look for a day: from one 29 February to the next there may be eight years."""

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}
_EVERY = "@every "
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|µs|ns|m|s)")
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
LIMIT_EVERY_SECONDS = 100 * 366 * 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Cron:
    """A parsed expression. Times of the day are sorted; days of the week count from Sunday, 0."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Both kinds of days are restricted: one of them suffices."""
    zone: tzinfo = UTC

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment`` (aware, whole seconds), in UTC; None where none comes."""
        while (found := self._next(moment)) is not None:
            if self._offset(found) == self._offset(moment):
                return found
            change = _change(self.zone, moment, found)  # The clocks change before it: go on from there.
            if self._at(change) is not None:
                return change
            moment = change
        return None

    def until(self, moment: datetime, since: datetime) -> datetime | None:
        """The last time that is after ``since`` and not after ``moment``; None where there is none."""
        if self.zone is not UTC:
            return self._until_by_steps(moment, since)
        found = self._last(moment)
        return found if found is not None and found > since else None

    def _until_by_steps(self, moment: datetime, since: datetime) -> datetime | None:
        """Looks back over growing spans, so that neither a dense nor a rare schedule takes long."""
        span = timedelta(minutes=1)
        while True:
            begin = max(since, moment - span)
            last, following = None, self.after(begin)
            while following is not None and following <= moment:
                last, following = following, self.after(following)
            if last is not None or begin == since:
                return last
            span *= 4

    def _next(self, moment: datetime) -> datetime | None:
        offset = self._offset(moment)
        local = (moment.astimezone(UTC) + offset).replace(tzinfo=None) + _SECOND
        if self._on(local.date()) and (at := self._from(local.time())) is not None:
            return _moment(local.date(), at, offset)
        for day in _days(local.date(), _DAY):
            if self._on(day):
                return _moment(day, time(self.hours[0], self.minutes[0], self.seconds[0]), offset)
        return None

    def _last(self, moment: datetime) -> datetime | None:
        local = moment.astimezone(UTC).replace(tzinfo=None)
        if self._on(local.date()) and (at := self._to(local.time())) is not None:
            return _moment(local.date(), at, timedelta())
        for day in _days(local.date(), -_DAY):
            if self._on(day):
                return _moment(day, time(self.hours[-1], self.minutes[-1], self.seconds[-1]), timedelta())
        return None

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def _at(self, moment: datetime) -> datetime | None:
        """``moment`` itself, where it is one of the times."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        return moment if self._on(local.date()) and self._from(local.time()) == local.time() else None

    def _on(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (by_month or by_week if self.either_day else by_month and by_week)

    def _from(self, at: time) -> time | None:
        """The first time of the day that is not before ``at``."""
        for hour in (each for each in self.hours if each >= at.hour):
            if hour > at.hour:
                return time(hour, self.minutes[0], self.seconds[0])
            for minute in (each for each in self.minutes if each >= at.minute):
                if minute > at.minute:
                    return time(hour, minute, self.seconds[0])
                for second in (each for each in self.seconds if each >= at.second):
                    return time(hour, minute, second)
        return None

    def _to(self, at: time) -> time | None:
        """The last time of the day that is not after ``at``."""
        for hour in (each for each in reversed(self.hours) if each <= at.hour):
            if hour < at.hour:
                return time(hour, self.minutes[-1], self.seconds[-1])
            for minute in (each for each in reversed(self.minutes) if each <= at.minute):
                if minute < at.minute:
                    return time(hour, minute, self.seconds[-1])
                for second in (each for each in reversed(self.seconds) if each <= at.second):
                    return time(hour, minute, second)
        return None


@lru_cache(maxsize=256)
def parse(text: str) -> Cron | int:
    """The expression, or the seconds of an ``@every``. Raises ``errors.InvalidInput`` saying which field is wrong."""
    if len(text) > LIMIT_CHARACTERS:
        raise _wrong(text, f"it has more than {LIMIT_CHARACTERS} characters")
    zone, expression = _zone(text.strip())
    if expression.startswith(_EVERY):
        return _every(expression.removeprefix(_EVERY).strip(), text)
    if expression.startswith("@"):
        if expression not in _DESCRIPTORS:
            raise _wrong(text, f'there is no "{expression}"', f"Use one of {', '.join(_DESCRIPTORS)}, @every 1h30m")
        expression = _DESCRIPTORS[expression]
    fields = expression.split()
    if len(fields) == 5:
        fields.append("*")
    if len(fields) != 6:
        raise _wrong(text, f"it has {len(fields)} fields", "Give seconds, minutes, hours, days of the month, months "
                     'and, if you like, days of the week: "0 30 3 * * *" is half past three each night')
    second, minute, hour, day, month, weekday = fields
    return Cron(
        seconds=_times(second, 59, "seconds"), minutes=_times(minute, 59, "minutes"), hours=_times(hour, 23, "hours"),
        days=_values(day, 1, 31, "days of the month"), months=_values(month, 1, 12, "months", _MONTHS),
        weekdays=_values(weekday, 0, 6, "days of the week", _WEEKDAYS),
        either_day=not _starred(day) and not _starred(weekday), zone=zone)


def _zone(text: str) -> tuple[tzinfo, str]:
    name, _, rest = text.partition(" ")
    for prefix in ("TZ=", "CRON_TZ="):
        if name.startswith(prefix):
            return _named_zone(name.removeprefix(prefix), text), rest.strip()
    return UTC, text


def _named_zone(name: str, text: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name in ("UTC", "Etc/UTC", ""):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _wrong(text, f'there is no time zone "{name}"', "Write it as in TZ=Europe/Berlin") from error


def _every(text: str, whole: str) -> int:
    found = _DURATION.findall(text)
    if not found or "".join(found) != text:
        raise _wrong(whole, f'"{text}" is no duration', "Write it as in @every 1h30m")
    seconds = 0.0
    for each in found:
        number = each.rstrip("hmsuµn")
        seconds += float(number) * _UNITS[each.removeprefix(number)]
    if seconds > LIMIT_EVERY_SECONDS:
        raise _wrong(whole, f'"{text}" is longer than a hundred years')
    return max(1, int(seconds))


def _times(text: str, greatest: int, what: str) -> tuple[int, ...]:
    return tuple(sorted(_values(text, 0, greatest, what)))


def _values(text: str, least: int, greatest: int, what: str, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part:
            found.update(_range(part, least, greatest, what, names or {}))
    if not found:
        raise _wrong(text, f"the {what} are empty")
    return frozenset(found)


def _range(part: str, least: int, greatest: int, what: str, names: dict[str, int]) -> range:
    span, slash, step_text = part.partition("/")
    low, dash, high = span.partition("-")
    if low in ("*", "?") and not dash:
        begin, end = least, greatest
    else:
        begin = _number(low, what, names)
        end = _number(high, what, names) if dash else begin
        if slash and not dash:
            end = greatest  # "5/15" means from 5 on
    step = _number(step_text, what, {}) if slash else 1
    if begin < least or end > greatest:
        raise _wrong(part, f"the {what} go from {least} to {greatest}")
    if begin > end:
        raise _wrong(part, f"its beginning is after its end, in the {what}")
    if step == 0:
        raise _wrong(part, f"a step of 0, in the {what}")
    return range(begin, end + 1, step)


def _number(text: str, what: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise _wrong(text, f"that is no number, in the {what}")
    return int(text)


def _starred(text: str) -> bool:
    """Whether a part of the field begins with ``*`` or ``?``, with a step or without: then it restricts nothing."""
    return any(part.partition("/")[0] in ("*", "?") for part in text.split(","))


def _wrong(text: str, why: str, remedy: str = "") -> errors.InvalidInput:
    return errors.InvalidInput(f'"{text[:100]}" is no cron expression: {why}', remedy=remedy,
                               field="trigger.cron_schedule.cron")


def _days(day: date, step: timedelta) -> Iterator[date]:
    for _ in range(LIMIT_DAYS):
        try:
            day += step
        except OverflowError:
            return
        yield day


def _moment(day: date, at: time, offset: timedelta) -> datetime:
    return datetime.combine(day, at, UTC) - offset


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The first second between the two at which the zone's offset is another than ``before``, by bisection."""
    old = before.astimezone(zone).utcoffset()
    low, high = before, after
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle <= low:
            middle = low + _SECOND
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high
