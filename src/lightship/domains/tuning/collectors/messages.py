"""The messages of Katib's ``api.v1.beta1.DBManager``, in protobuf's wire format. Pure; ``manager`` calls me.

Unknown fields are passed over, as protobuf has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lightship import errors
from lightship.kube import times
from lightship.lib import protowire
from lightship.records.observations import Range
from lightship.records.readings import NO_TIME, Reading

SERVICE = "api.v1.beta1.DBManager"
LIMIT_READINGS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """``ReportObservationLogRequest``."""

    trial: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, kw_only=True)
class Query:
    """``GetObservationLogRequest``."""

    trial: str
    wanted: Range


def report(data: bytes) -> Report:
    """Raises ``errors.InvalidInput`` for bytes that are no such message, or a time that is none."""
    trial, readings = "", list[Reading]()
    for number, value in _fields(data):
        if number == 1:
            trial = protowire.text(value)
        elif number == 2:
            readings.extend(_reading(log) for kind, log in _fields(protowire.message(value)) if kind == 1)
    if len(readings) > LIMIT_READINGS_AT_ONCE:
        raise errors.TooLarge(f"a report of {len(readings)} readings; {LIMIT_READINGS_AT_ONCE} are the most at once")
    return Report(trial=trial, readings=tuple(readings))


def query(data: bytes) -> Query:
    """Raises ``errors.InvalidInput``."""
    texts = {number: protowire.text(value) for number, value in _fields(data) if number in (1, 2, 3, 4)}
    start, end = (times.parse(texts[number]) if texts.get(number) else None for number in (3, 4))
    return Query(trial=texts.get(1, ""), wanted=Range(metric=texts.get(2, ""), start=start, end=end))


def trial(data: bytes) -> str:
    """The trial of a ``DeleteObservationLogRequest``."""
    return next((protowire.text(value) for number, value in _fields(data) if number == 1), "")


def log(readings: Iterable[Reading]) -> bytes:
    """A ``GetObservationLogReply``."""
    return protowire.field(1, b"".join(
        protowire.field(1, protowire.string(1, _text(reading.time)) + protowire.field(
            2, protowire.string(1, reading.metric) + protowire.string(2, reading.value))) for reading in readings))


def report_of(trial_name: str, readings: Iterable[Reading]) -> bytes:
    """A ``ReportObservationLogRequest``, for whoever reports."""
    logs = protowire.message(next(value for _, value in _fields(log(readings))))
    return protowire.string(1, trial_name) + protowire.field(2, logs)


def readings_of(data: bytes) -> list[Reading]:
    """What a ``GetObservationLogReply`` has."""
    return [_reading(protowire.message(each)) for number, value in _fields(data) if number == 1
            for kind, each in _fields(protowire.message(value)) if kind == 1]


def _fields(data: int | bytes) -> list[tuple[int, int | bytes]]:
    try:
        return [(number, value) for number, _, value in protowire.fields(protowire.message(data))]
    except protowire.Broken as problem:
        raise errors.BadRequest(f"the message cannot be read: {problem}") from problem


def _reading(data: int | bytes) -> Reading:
    time, metric, value = NO_TIME, "", ""
    for number, field in _fields(data):
        if number == 1:
            text = protowire.text(field)
            time = times.parse(text) if text else NO_TIME
        elif number == 2:
            found = {kind: protowire.text(part) for kind, part in _fields(field) if kind in (1, 2)}
            metric, value = found.get(1, ""), found.get(2, "")
    return Reading(time=time, metric=metric, value=value)


def _text(time: datetime) -> str:
    """RFC 3339, of years before 1000 too."""
    return time.replace(tzinfo=None).isoformat(timespec="microseconds" if time.microsecond else "seconds") + "Z"
