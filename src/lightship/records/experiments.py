"""Experiments, which group runs: the queries of their REST routes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.records import listing, recurring, schema
from lightship.records.rows import ARCHIVED, Experiment

_EXPERIMENTS = schema.experiments
_DELETED = "DELETED"
_THERE = _EXPERIMENTS.c.storage_state != _DELETED

FIELDS: listing.Fields = {
    "id": _EXPERIMENTS.c.id, "experiment_id": _EXPERIMENTS.c.id, "name": _EXPERIMENTS.c.name,
    "display_name": _EXPERIMENTS.c.name, "description": _EXPERIMENTS.c.description,
    "storage_state": _EXPERIMENTS.c.storage_state, "created_at": _EXPERIMENTS.c.created_at,
    "last_run_created_at": _EXPERIMENTS.c.last_run_created_at,
}


def create(connection: Connection, experiment: Experiment) -> Experiment:
    """Raises ``errors.AlreadyExists`` when the namespace has one of that name."""
    if by_name(connection, experiment.namespace, experiment.name) is not None:
        raise errors.AlreadyExists(f'there is already an experiment "{experiment.name}"')
    connection.execute(insert(_EXPERIMENTS).values(
        id=experiment.id, namespace=experiment.namespace, name=experiment.name, description=experiment.description,
        storage_state=experiment.storage_state, created_at=experiment.created_at))
    return experiment


def get(connection: Connection, experiment_id: str) -> Experiment:
    """Raises ``errors.NotFound``."""
    return _one(connection, _EXPERIMENTS.c.id == experiment_id, experiment_id)


def by_name(connection: Connection, namespace: str, name: str) -> Experiment | None:
    query = select(_EXPERIMENTS).where(_EXPERIMENTS.c.namespace == namespace, _EXPERIMENTS.c.name == name, _THERE)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _experiment(row)


def page(connection: Connection, namespace: str, query: listing.Query) -> tuple[list[Experiment], listing.Page]:
    statement = select(_EXPERIMENTS).where(_THERE)
    if namespace:
        statement = statement.where(_EXPERIMENTS.c.namespace == namespace)
    found = listing.page(connection, statement, FIELDS, query)
    return [_experiment(row) for row in found.rows], found


def set_storage_state(connection: Connection, experiment_id: str, state: str, at: datetime) -> None:
    """Archives or brings back an experiment.

    As upstream does, archiving takes its runs along and disables its recurring runs, and neither comes back with it.
    """
    get(connection, experiment_id)
    connection.execute(update(_EXPERIMENTS).where(_EXPERIMENTS.c.id == experiment_id).values(storage_state=state))
    if state == ARCHIVED:
        connection.execute(update(schema.runs).where(schema.runs.c.experiment_id == experiment_id)
                           .values(storage_state=state))
        recurring.disable_in(connection, experiment_id, at)


def remove(connection: Connection, experiment_id: str) -> None:
    """Its runs and recurring runs stay, as upstream's do, and keep what they refer to: a row that nobody sees.

    Raises ``errors.NotFound``.
    """
    get(connection, experiment_id)
    here = _EXPERIMENTS.c.id == experiment_id
    for table in (schema.runs, schema.recurring_runs):
        if connection.execute(select(table.c.id).where(table.c.experiment_id == experiment_id).limit(1)).first():
            # The name is free again: no other has the id for a name.
            connection.execute(update(_EXPERIMENTS).where(here).values(storage_state=_DELETED, name=experiment_id))
            return
    connection.execute(delete(_EXPERIMENTS).where(here))


def _one(connection: Connection, where: Any, name: str) -> Experiment:
    row = connection.execute(select(_EXPERIMENTS).where(where, _THERE)).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no experiment "{name}"')
    return _experiment(row)


def _experiment(row: RowMapping) -> Experiment:
    return Experiment(
        id=row["id"], namespace=row["namespace"], name=row["name"], description=row["description"],
        storage_state=row["storage_state"], created_at=row["created_at"],
        last_run_created_at=row["last_run_created_at"])
