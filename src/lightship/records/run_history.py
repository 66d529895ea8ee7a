"""Runs as their users see and change them: created, listed, archived, terminated, deleted.

The REST side and the page call me. The engine moves the same rows through ``runs``; what is asked for here (a
termination, a retry) it finds in the run's state and generation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.kube.objects import Key
from lightship.records import garbage, listing, schema, specs
from lightship.records.pipeline_rows import CANCELING, FINAL, PENDING, TaskRow
from lightship.records.rows import Run
from lightship.records.runs import history_entry, tasks_of

_RUNS = schema.runs

FIELDS: listing.Fields = {
    "id": _RUNS.c.id, "run_id": _RUNS.c.id, "name": _RUNS.c.display_name, "display_name": _RUNS.c.display_name,
    "description": _RUNS.c.description, "state": _RUNS.c.state, "status": _RUNS.c.state,
    "storage_state": _RUNS.c.storage_state, "created_at": _RUNS.c.created_at, "scheduled_at": _RUNS.c.scheduled_at,
    "finished_at": _RUNS.c.finished_at, "experiment_id": _RUNS.c.experiment_id,
    "pipeline_id": _RUNS.c.pipeline_id, "pipeline_version_id": _RUNS.c.pipeline_version_id,
    "recurring_run_id": _RUNS.c.recurring_run_id, "service_account": _RUNS.c.service_account,
}


def create(connection: Connection, run: Run) -> Run:
    """Stores a new run with its specification, in state PENDING. Raises ``errors.NotFound`` for its experiment."""
    touched = connection.execute(
        update(schema.experiments).where(schema.experiments.c.id == run.experiment_id)
        .values(last_run_created_at=run.created_at))
    if touched.rowcount == 0:
        raise errors.NotFound(f'no experiment "{run.experiment_id}"')
    connection.execute(insert(_RUNS).values(
        id=run.id, namespace=run.namespace, experiment_id=run.experiment_id, display_name=run.display_name,
        description=run.description, pipeline_id=run.pipeline_id, pipeline_version_id=run.pipeline_version_id,
        pipeline_name=run.pipeline_name, recurring_run_id=run.recurring_run_id,
        spec_digest=specs.keep(connection, run.spec), parameters=dict(run.parameters),
        pipeline_root=run.pipeline_root, service_account=run.service_account, state=PENDING,
        state_history=[history_entry(PENDING, run.created_at)], created_at=run.created_at,
        scheduled_at=run.scheduled_at or run.created_at))
    return get(connection, run.id)


def get(connection: Connection, run_id: str) -> Run:
    """The run with its specification. Raises ``errors.NotFound``."""
    query = select(_RUNS, schema.specs.c.body).join(schema.specs).where(_RUNS.c.id == run_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no run "{run_id}"')
    return _run(row)


def details(connection: Connection, run_id: str) -> tuple[Run, list[TaskRow]]:
    """The run and all its tasks. Raises ``errors.NotFound``."""
    return get(connection, run_id), tasks_of(connection, [run_id])


def page(connection: Connection, namespace: str, query: listing.Query) -> tuple[list[Run], listing.Page]:
    """Runs without their specifications."""
    statement = select(_RUNS)
    if namespace:
        statement = statement.where(_RUNS.c.namespace == namespace)
    found = listing.page(connection, statement, FIELDS, query)
    return [_run(row) for row in found.rows], found


def set_storage_state(connection: Connection, run_id: str, state: str) -> Key:
    return _change(connection, run_id, storage_state=state)


def terminate(connection: Connection, run_id: str, at: datetime) -> Key:
    """Moves the run to CANCELING, which the engine carries out. Raises ``errors.Conflict`` when it has ended."""
    row = _row(connection, run_id)
    if row["state"] in FINAL:
        raise errors.Conflict(f'run "{run_id}" has already ended: {row["state"]}')
    if row["state"] == CANCELING:
        return Key(row["namespace"], run_id)
    return _change(connection, run_id, state=CANCELING,
                   state_history=[*row["state_history"], history_entry(CANCELING, at)])


def retry(connection: Connection, run_id: str, at: datetime) -> Key:
    """Opens an ended run for another generation. Raises ``errors.Conflict`` unless it failed or was cancelled."""
    row = _row(connection, run_id)
    if row["state"] not in ("FAILED", "CANCELED"):
        raise errors.Conflict(f'run "{run_id}" is {row["state"]}: only a failed or cancelled run can be retried')
    return _change(connection, run_id, state=PENDING, generation=row["generation"] + 1, error="", finished_at=None,
                   state_history=[*row["state_history"], history_entry(PENDING, at)])


def remove(connection: Connection, run_id: str, at: datetime, root: str = "") -> Key:
    """Deletes the run with its tasks and their lineage, and marks what only it used. Raises ``errors.NotFound``.

    ``root`` is the folder of the run's files, which the collector of garbage clears.
    """
    row = _row(connection, run_id)
    used = list(connection.execute(
        select(schema.events.c.artifact_id).where(schema.events.c.run_id == run_id).distinct()).scalars())
    connection.execute(delete(_RUNS).where(_RUNS.c.id == run_id))
    garbage.let_go(connection, used, at)
    if root:
        garbage.leave(connection, row["namespace"], garbage.Leftover(run_id=run_id, root=root), at)
    return Key(row["namespace"], run_id)


def _row(connection: Connection, run_id: str) -> RowMapping:
    query = (select(_RUNS.c.namespace, _RUNS.c.state, _RUNS.c.generation, _RUNS.c.state_history)
             .where(_RUNS.c.id == run_id).with_for_update())
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no run "{run_id}"')
    return row


def _change(connection: Connection, run_id: str, **values: Any) -> Key:
    row = _row(connection, run_id)
    connection.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(**values))
    return Key(row["namespace"], run_id)


def _run(row: RowMapping) -> Run:
    return Run(
        id=row["id"], namespace=row["namespace"], experiment_id=row["experiment_id"],
        display_name=row["display_name"], description=row["description"], pipeline_id=row["pipeline_id"],
        pipeline_version_id=row["pipeline_version_id"], pipeline_name=row["pipeline_name"],
        recurring_run_id=row["recurring_run_id"], spec=row.get("body") or {}, parameters=row["parameters"],
        pipeline_root=row["pipeline_root"], service_account=row["service_account"], state=row["state"],
        state_history=tuple(row["state_history"]), error=row["error"], storage_state=row["storage_state"],
        created_at=row["created_at"], scheduled_at=row["scheduled_at"], started_at=row["started_at"],
        finished_at=row["finished_at"])
