"""Recurring runs: the queries of their REST routes, and those of the controller that makes their runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.kube.objects import Key
from lightship.records import listing, schema, specs
from lightship.records.pipeline_rows import CANCELING, PENDING, RUNNING
from lightship.records.rows import RecurringRun

_RECURRING = schema.recurring_runs
_RUNS = schema.runs

FIELDS: listing.Fields = {
    "id": _RECURRING.c.id, "recurring_run_id": _RECURRING.c.id, "name": _RECURRING.c.display_name,
    "display_name": _RECURRING.c.display_name, "description": _RECURRING.c.description,
    "created_at": _RECURRING.c.created_at, "updated_at": _RECURRING.c.updated_at,
    "experiment_id": _RECURRING.c.experiment_id, "pipeline_id": _RECURRING.c.pipeline_id,
    "pipeline_version_id": _RECURRING.c.pipeline_version_id, "service_account": _RECURRING.c.service_account,
    "max_concurrency": _RECURRING.c.max_concurrency,
}
_SCHEDULE_FIELDS = ("enabled", "last_index", "counted_from", "next_at", "error", "updated_at")


def create(connection: Connection, row: RecurringRun) -> RecurringRun:
    values = _values(row, [field.name for field in dataclasses.fields(row) if field.name != "spec"])
    values["spec_digest"] = specs.keep(connection, row.spec) if row.spec else None
    values["parameters"] = dict(row.parameters)
    connection.execute(insert(_RECURRING).values(**values))
    return row


def get(connection: Connection, recurring_run_id: str, *, lock: bool = False) -> RecurringRun:
    """The recurring run with its specification; ``lock`` keeps others off it. Raises ``errors.NotFound``."""
    query = (select(_RECURRING, schema.specs.c.body)
             .join(schema.specs, _RECURRING.c.spec_digest == schema.specs.c.digest, isouter=True)
             .where(_RECURRING.c.id == recurring_run_id))
    row = connection.execute(query.with_for_update(of=_RECURRING) if lock else query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no recurring run "{recurring_run_id}"')
    return _recurring(row)


def page(connection: Connection, namespace: str, query: listing.Query) -> tuple[list[RecurringRun], listing.Page]:
    """Recurring runs without their specifications."""
    statement = select(_RECURRING)
    if namespace:
        statement = statement.where(_RECURRING.c.namespace == namespace)
    found = listing.page(connection, statement, FIELDS, query)
    return [_recurring(row) for row in found.rows], found


def remove(connection: Connection, recurring_run_id: str) -> None:
    """Deletes it; the runs that it made stay. Raises ``errors.NotFound``."""
    if connection.execute(delete(_RECURRING).where(_RECURRING.c.id == recurring_run_id)).rowcount == 0:
        raise errors.NotFound(f'no recurring run "{recurring_run_id}"')


def move(connection: Connection, row: RecurringRun) -> None:
    """Stores where the schedule stands, and whether it is enabled."""
    connection.execute(update(_RECURRING).where(_RECURRING.c.id == row.id).values(**_values(row, _SCHEDULE_FIELDS)))


def enabled(connection: Connection, namespace: str, due_by: datetime | None = None) -> Sequence[Key]:
    """Keys of the namespace's enabled ones that have a next time; with ``due_by`` those that are due by then."""
    where: list[ColumnElement[bool]] = [_RECURRING.c.namespace == namespace, _RECURRING.c.enabled == 1]
    where.append(_RECURRING.c.next_at.is_not(None) if due_by is None else _RECURRING.c.next_at <= due_by)
    query = select(_RECURRING.c.namespace, _RECURRING.c.id).where(*where).order_by(_RECURRING.c.next_at)
    return [Key(row.namespace, row.id) for row in connection.execute(query)]


def active_runs(connection: Connection, recurring_run_id: str, limit: int) -> Sequence[Key]:
    """Keys of its runs that have not ended, at most ``limit``."""
    query = select(_RUNS.c.namespace, _RUNS.c.id).where(
        _RUNS.c.recurring_run_id == recurring_run_id, _RUNS.c.state.in_((PENDING, RUNNING, CANCELING))).limit(limit)
    return [Key(row.namespace, row.id) for row in connection.execute(query)]


def disable_in(connection: Connection, experiment_id: str, at: datetime) -> None:
    """Disables all of an experiment, which is being archived."""
    connection.execute(update(_RECURRING).where(_RECURRING.c.experiment_id == experiment_id, _RECURRING.c.enabled == 1)
                       .values(enabled=0, next_at=None, updated_at=at))


def _values(row: RecurringRun, names: Iterable[str]) -> dict[str, Any]:
    """The columns; PostgreSQL takes no truth values for numbers."""
    values = {name: getattr(row, name) for name in names}
    return {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}


def _recurring(row: RowMapping) -> RecurringRun:
    values = {field.name: row[field.name] for field in dataclasses.fields(RecurringRun) if field.name != "spec"}
    values["enabled"], values["no_catchup"] = bool(row["enabled"]), bool(row["no_catchup"])
    return RecurringRun(**values, spec=row.get("body") or {})
