"""The model registry's rows: the same queries over each of its tables, since its things are all alike.

``domains/registry`` calls me with a table of ``schema``. A row is given and returned as a mapping of its columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, and_, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.records import listing, schema

Row = Mapping[str, Any]

LINEAGE = ("digest", "run_id", "task_id", "artifact_id")
"""The columns of ``model_artifacts`` that say where the bytes came from."""


def create(connection: Connection, table: Table, values: Row, unique: Sequence[str]) -> Row:
    """A new row. Raises ``errors.AlreadyExists`` when a row with the same ``unique`` columns is there."""
    _check_free(connection, table, values, unique)
    statement = insert(table).values(**values).returning(table)
    return dict(connection.execute(statement).mappings().one())


def get(connection: Connection, table: Table, namespace: str, row_id: int) -> Row:
    """Raises ``errors.NotFound``."""
    row = connection.execute(_within(table, namespace).where(table.c.id == row_id)).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f"no {what(table)} {row_id}")
    return dict(row)


def find(connection: Connection, table: Table, namespace: str, where: Row) -> Row:
    """The newest row whose columns have these values. Raises ``errors.NotFound``."""
    query = _within(table, namespace).where(_all(table, where)).order_by(table.c.id.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        given = ", ".join(f'{key} "{value}"' for key, value in where.items())
        raise errors.NotFound(f"no {what(table)} with {given}")
    return dict(row)


def page(connection: Connection, table: Table, namespace: str, where: Row, query: listing.Query) -> listing.Page:
    fields: listing.Fields = {
        "id": table.c.id, "name": table.c.name, "externalId": table.c.external_id, "state": table.c.state,
        "created_at": table.c.created_at, "updated_at": table.c.updated_at,
        **({"uri": table.c.uri, "artifactType": table.c.type} if "uri" in table.c else {}),
    }
    return listing.page(connection, _within(table, namespace).where(_all(table, where)), fields, query)


def change(connection: Connection, table: Table, row: Row, values: Row) -> Row:
    """The row with some columns changed. ``fields`` is merged into what is there; None in it removes."""
    changed = dict(values)
    if "fields" in changed:
        merged = {**(row["fields"] or {}), **changed["fields"]}
        changed["fields"] = {key: value for key, value in merged.items() if value is not None}
    statement = update(table).where(table.c.id == row["id"]).values(**changed).returning(table)
    return dict(connection.execute(statement).mappings().one())


def lineage_of(connection: Connection, namespace: str, uri: str) -> Row:
    """What the records know of the bytes at ``uri``: digest, artifact, and the run and task that made it."""
    artifacts, events = schema.artifacts, schema.events
    query = (
        select(artifacts.c.id.label("artifact_id"), artifacts.c.digest, events.c.run_id, events.c.task_id)
        .outerjoin(events, and_(events.c.artifact_id == artifacts.c.id, events.c.type == "OUTPUT"))
        .where(artifacts.c.namespace == namespace, artifacts.c.uri == uri)
        .order_by(artifacts.c.created_at.desc()).limit(1))
    row = connection.execute(query).mappings().one_or_none()
    return {} if row is None else {key: value for key, value in row.items() if value}


def latest(connection: Connection, namespace: str, limit: int) -> list[RowMapping]:
    """The newest model versions with their model's name and their newest artifact: what the page lists."""
    versions, models, artifacts = schema.model_versions, schema.registered_models, schema.model_artifacts
    newest = (select(artifacts.c.id).where(artifacts.c.model_version_id == versions.c.id)
              .order_by(artifacts.c.id.desc()).limit(1).correlate(versions).scalar_subquery())
    query = (
        select(versions.c.id, versions.c.name, versions.c.state, versions.c.created_at,
               versions.c.registered_model_id, models.c.name.label("model"), artifacts.c.uri, artifacts.c.run_id)
        .join(models, versions.c.registered_model_id == models.c.id)
        .outerjoin(artifacts, artifacts.c.id == newest)
        .where(versions.c.namespace == namespace)
        .order_by(versions.c.created_at.desc(), versions.c.id.desc()).limit(limit))
    return list(connection.execute(query).mappings())


def stamped(values: Row, namespace: str, at: datetime) -> dict[str, Any]:
    """``values`` of a new row with its namespace and times."""
    return {"namespace": namespace, "created_at": at, "updated_at": at, **values}


def what(table: Table) -> str:
    """What a row of the table is called in messages: ``registered model``."""
    return table.name.replace("_", " ").removesuffix("s")


def _check_free(connection: Connection, table: Table, values: Row, unique: Sequence[str]) -> None:
    wanted = {column: values.get(column) for column in unique}
    if not unique or any(value is None for value in wanted.values()):
        return
    taken = select(table.c.id).where(table.c.namespace == values["namespace"], _all(table, wanted)).limit(1)
    if connection.execute(taken).first():
        raise errors.AlreadyExists(f'there is already a {what(table)} named "{values["name"]}"')


def _within(table: Table, namespace: str) -> Select[Any]:
    return select(table).where(table.c.namespace == namespace)


def _all(table: Table, where: Row) -> Any:
    return and_(True, *(table.c[column] == value for column, value in where.items()))
