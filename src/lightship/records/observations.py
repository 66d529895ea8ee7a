"""The observation log: what trials have measured, reading by reading. The tuning domain's collectors call me.

A trial's log is replaced as a whole by whoever reads it off a Pod, so that to read it again repeats nothing; a trial
that reports by itself adds to its log. It goes with its trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import schema
from lightship.records.readings import Reading

_LOGS = schema.observation_logs

LIMIT_READINGS_PER_TRIAL = 100_000
LIMIT_METRIC_CHARACTERS = 255
LIMIT_VALUE_CHARACTERS = 255


@dataclass(frozen=True, kw_only=True)
class Range:
    """What of a log is wanted: one metric or all (empty), from and until a time, both included."""

    metric: str = ""
    start: datetime | None = None
    end: datetime | None = None


ALL = Range()


def report(connection: Connection, namespace: str, trial: str, readings: Sequence[Reading]) -> None:
    """Adds to the trial's log. Raises ``errors.TooLarge`` where it would be longer than its limit."""
    there = connection.execute(select(func.count()).where(
        _LOGS.c.namespace == namespace, _LOGS.c.trial == trial)).scalar_one()
    if there + len(readings) > LIMIT_READINGS_PER_TRIAL:
        raise errors.TooLarge(
            f'the log of trial "{namespace}/{trial}" has {there} readings, and {LIMIT_READINGS_PER_TRIAL} are the most',
            remedy="Report less often, for example once an epoch")
    if readings:
        connection.execute(insert(_LOGS), [
            {"namespace": namespace, "trial": trial, "metric": reading.metric[:LIMIT_METRIC_CHARACTERS],
             "time": reading.time, "value": reading.value[:LIMIT_VALUE_CHARACTERS]} for reading in readings])


def replace(connection: Connection, namespace: str, trial: str, readings: Sequence[Reading]) -> None:
    """The trial's log is ``readings`` and no others, its last ones where there are too many."""
    delete(connection, namespace, trial)
    report(connection, namespace, trial, readings[-LIMIT_READINGS_PER_TRIAL:])


def log(connection: Connection, namespace: str, trial: str, wanted: Range = ALL) -> list[Reading]:
    """The readings by time; those of one time in the order in which they came."""
    query = select(_LOGS.c.time, _LOGS.c.metric, _LOGS.c.value).where(
        _LOGS.c.namespace == namespace, _LOGS.c.trial == trial)
    if wanted.metric:
        query = query.where(_LOGS.c.metric == wanted.metric)
    if wanted.start is not None:
        query = query.where(_LOGS.c.time >= wanted.start)
    if wanted.end is not None:
        query = query.where(_LOGS.c.time <= wanted.end)
    rows = connection.execute(query.order_by(_LOGS.c.time, _LOGS.c.id))
    return [Reading(time=row.time, metric=row.metric, value=row.value) for row in rows]


def delete(connection: Connection, namespace: str, trial: str) -> None:
    """The trial is gone, and so is its log."""
    connection.execute(delete_rows(_LOGS).where(_LOGS.c.namespace == namespace, _LOGS.c.trial == trial))
