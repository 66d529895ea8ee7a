"""Tasks of runs as their users see them: pages of them, and one. The REST routes call me."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import listing, runs, schema
from lightship.records.pipeline_rows import TaskRow

_TASKS = schema.tasks

FIELDS: listing.Fields = {
    "id": _TASKS.c.id, "task_id": _TASKS.c.id, "name": _TASKS.c.name, "display_name": _TASKS.c.display_name,
    "state": _TASKS.c.state, "status": _TASKS.c.state, "type": _TASKS.c.type, "scope_path": _TASKS.c.path,
    "pod": _TASKS.c.pod, "cache_fingerprint": _TASKS.c.cache_key, "created_at": _TASKS.c.created_at,
    "create_time": _TASKS.c.created_at, "start_time": _TASKS.c.started_at, "end_time": _TASKS.c.finished_at,
}


def namespace_of(connection: Connection, run_id: str) -> str:
    """Where a run is. Raises ``errors.NotFound``."""
    found = connection.execute(select(schema.runs.c.namespace).where(schema.runs.c.id == run_id)).scalar_one_or_none()
    if found is None:
        raise errors.NotFound(f'no run "{run_id}"')
    return str(found)


def page(connection: Connection, run_id: str, parent_id: str,
         query: listing.Query) -> tuple[list[TaskRow], listing.Page]:
    """Tasks of the run; with ``parent_id`` only that task's children."""
    statement = select(*runs.TASK_COLUMNS).where(_TASKS.c.run_id == run_id)
    if parent_id:
        path = select(_TASKS.c.path).where(_TASKS.c.run_id == run_id, _TASKS.c.id == parent_id).scalar_subquery()
        statement = statement.where(_TASKS.c.parent_path == path)
    found = listing.page(connection, statement, FIELDS, query)
    # The page's rows hold the sort value after ours.
    return [runs.task_row(tuple(row.values())[:len(runs.TASK_COLUMNS)]) for row in found.rows], found


def get(connection: Connection, run_id: str, task_id: str) -> TaskRow:
    """Raises ``errors.NotFound``."""
    query = select(*runs.TASK_COLUMNS).where(_TASKS.c.run_id == run_id, _TASKS.c.id == task_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise errors.NotFound(f'run "{run_id}" has no task "{task_id}"')
    return runs.task_row(row)


def ids_of_paths(connection: Connection, run_id: str, paths: Sequence[str]) -> Mapping[str, str]:
    """The ids of the run's tasks at ``paths``."""
    query = select(_TASKS.c.path, _TASKS.c.id).where(_TASKS.c.run_id == run_id, _TASKS.c.path.in_(paths))
    return {row.path: row.id for row in connection.execute(query)}
