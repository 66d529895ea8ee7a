"""Artifacts and their links to tasks, as their users see them: one, several, lists.

The REST routes and ``lineage`` call me. The engine writes the same rows through ``runs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.records import listing, schema
from lightship.records.pipeline_rows import OUTPUT, ArtifactRow

_ARTIFACTS = schema.artifacts
_EVENTS = schema.events
_TASKS = schema.tasks
_IDS_AT_ONCE = 500

FIELDS: listing.Fields = {
    "id": _ARTIFACTS.c.id, "artifact_id": _ARTIFACTS.c.id, "name": _ARTIFACTS.c.name, "type": _ARTIFACTS.c.type_title,
    "uri": _ARTIFACTS.c.uri, "digest": _ARTIFACTS.c.digest, "created_at": _ARTIFACTS.c.created_at,
    "size_bytes": _ARTIFACTS.c.size_bytes, "run_id": _ARTIFACTS.c.run_id,
}


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """An artifact with what the records know of it besides."""

    row: ArtifactRow
    namespace: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Link:
    """One event: the task took (INPUT) or made (OUTPUT) the artifact under the name ``key``.

    ``producer`` is the name of the task that made it in the same run, where one did; ``iteration`` its index in a loop.
    """

    task_id: str
    run_id: str
    artifact_id: str
    type: str
    key: str
    task_name: str
    iteration: int | None


def get(connection: Connection, artifact_id: str) -> StoredArtifact:
    """Raises ``errors.NotFound``."""
    query = select(_ARTIFACTS).where(_ARTIFACTS.c.id == artifact_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no artifact "{artifact_id}"')
    return _stored(row)


def several(connection: Connection, namespace: str, ids: Sequence[str]) -> list[StoredArtifact]:
    """Those of the artifacts that are in the namespace, oldest first."""
    found: list[StoredArtifact] = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        query = select(_ARTIFACTS).where(
            _ARTIFACTS.c.id.in_(ids[start:start + _IDS_AT_ONCE]), _ARTIFACTS.c.namespace == namespace)
        found += [_stored(row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda artifact: (artifact.created_at, artifact.row.artifact_id))


def page(connection: Connection, namespace: str,
         query: listing.Query) -> tuple[list[StoredArtifact], listing.Page]:
    statement = select(_ARTIFACTS)
    if namespace:
        statement = statement.where(_ARTIFACTS.c.namespace == namespace)
    found = listing.page(connection, statement, FIELDS, query)
    return [_stored(row) for row in found.rows], found


def producers(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Which run and task made each artifact, by artifact: of several that hold it, the one that wrote its content."""
    query = (select(_EVENTS.c.artifact_id, _EVENTS.c.run_id, _EVENTS.c.task_id)
             .join(_ARTIFACTS, _ARTIFACTS.c.id == _EVENTS.c.artifact_id)
             .where(_EVENTS.c.artifact_id.in_(ids), _EVENTS.c.type == OUTPUT)
             .order_by(case((_ARTIFACTS.c.run_id == _EVENTS.c.run_id, 1), else_=0), _EVENTS.c.task_id))
    return {row.artifact_id: (row.run_id, row.task_id) for row in connection.execute(query)}


def links_where(connection: Connection, *where: ColumnElement[bool]) -> list[Link]:
    """Links that fulfil all of ``where``, in no order."""
    return [_link(row) for row in connection.execute(_linked().where(*where)).mappings()]


_LINK_ID = _EVENTS.c.task_id + "/" + _EVENTS.c.type + "/" + _EVENTS.c.key + "/" + _EVENTS.c.artifact_id
LINK_FIELDS: listing.Fields = {
    "id": _LINK_ID, "task_id": _EVENTS.c.task_id, "run_id": _EVENTS.c.run_id,
    "artifact_id": _EVENTS.c.artifact_id, "type": _EVENTS.c.type, "key": _EVENTS.c.key,
    "created_at": _TASKS.c.created_at,
}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Which links are asked for: those of any of these artifacts, tasks and runs. What is empty does not count."""

    artifact_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()


def namespaces_of(connection: Connection, ends: Ends) -> set[str]:
    """Where the named artifacts, tasks and runs are: what an access review asks about."""
    found: set[str] = set()
    for column, ids, namespace in (
        (_ARTIFACTS.c.id, ends.artifact_ids, _ARTIFACTS.c.namespace), (_TASKS.c.id, ends.task_ids, _TASKS.c.namespace),
        (schema.runs.c.id, ends.run_ids, schema.runs.c.namespace),
    ):
        if ids:
            found.update(connection.execute(select(namespace).distinct().where(column.in_(ids))).scalars())
    return found


def link_page(connection: Connection, ends: Ends, query: listing.Query) -> tuple[list[Link], listing.Page]:
    statement = _linked()
    for column, ids in ((_EVENTS.c.artifact_id, ends.artifact_ids), (_EVENTS.c.task_id, ends.task_ids),
                        (_EVENTS.c.run_id, ends.run_ids)):
        if ids:
            statement = statement.where(column.in_(ids))
    found = listing.page(connection, statement, LINK_FIELDS, query)
    return [_link(row) for row in found.rows], found


def _linked() -> Any:
    return select(_EVENTS, _LINK_ID.label("id"), _TASKS.c.name.label("task_name"), _TASKS.c.iteration).join(
        _TASKS, _TASKS.c.id == _EVENTS.c.task_id)


def _link(row: RowMapping) -> Link:
    return Link(task_id=row["task_id"], run_id=row["run_id"], artifact_id=row["artifact_id"], type=row["type"],
                key=row["key"], task_name=row["task_name"], iteration=row["iteration"])


def _stored(row: RowMapping) -> StoredArtifact:
    return StoredArtifact(namespace=row["namespace"], created_at=row["created_at"], row=ArtifactRow(
        artifact_id=row["id"], name=row["name"], type_title=row["type_title"], type_version=row["type_version"],
        uri=row["uri"], metadata=row["metadata"] or {}, digest=row["digest"], size_bytes=row["size_bytes"],
        custom_path=row["custom_path"]))
