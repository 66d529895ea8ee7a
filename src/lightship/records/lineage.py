"""Lineage: which tasks took and made an artifact, and from there all that it came from and all that came of it.

The REST routes call me. A closure goes level by level, two or three statements a level however wide it is, and stops at
named limits; what lies beyond is said to be there (``Lineage.truncated``). Everything stays in one namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.engine import Connection

from lightship.records import artifacts, schema
from lightship.records.artifacts import Link, StoredArtifact
from lightship.records.pipeline_rows import INPUT, OUTPUT

LINEAGE_LIMIT_LEVELS = 100
LINEAGE_LIMIT_TASKS = 5_000
LINEAGE_LIMIT_ARTIFACTS = 10_000
_CHUNK_IDS = 500

_EVENTS = schema.events
_TASKS = schema.tasks

UPSTREAM = "upstream"
DOWNSTREAM = "downstream"


@dataclass(frozen=True, kw_only=True)
class LineageTask:
    """A task of the closure, with enough to show and to find it."""

    task_id: str
    run_id: str
    run_name: str
    path: str
    name: str
    type: str
    state: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A closure: its artifacts, its tasks, and every link between the two."""

    artifacts: Sequence[StoredArtifact]
    tasks: Sequence[LineageTask]
    links: Sequence[Link]
    truncated: bool


@dataclass
class _Found:
    artifacts: set[str]
    tasks: set[str] = field(default_factory=set)
    truncated: bool = False


def closure(connection: Connection, namespace: str, artifact_id: str, directions: Iterable[str],
            levels: int = LINEAGE_LIMIT_LEVELS) -> Lineage:
    """All that the artifact came from (``upstream``) and that came of it (``downstream``), ``levels`` tasks deep."""
    found = _Found({artifact_id})
    for direction in directions:
        first, then = (OUTPUT, INPUT) if direction == UPSTREAM else (INPUT, OUTPUT)
        _follow(connection, namespace, _Walk(artifact_id, first, then, min(levels, LINEAGE_LIMIT_LEVELS)), found)
    return Lineage(
        artifacts=artifacts.several(connection, namespace, sorted(found.artifacts)),
        tasks=sorted(_tasks(connection, found.tasks), key=lambda task: (task.run_id, task.path)),
        links=sorted(_links(connection, found), key=lambda link: (link.run_id, link.task_id, link.type, link.key)),
        truncated=found.truncated)


@dataclass(frozen=True)
class _Walk:
    start: str
    first: str
    """From an artifact to tasks: OUTPUT finds who made it, INPUT who took it."""
    then: str
    levels: int


def _follow(connection: Connection, namespace: str, walk: _Walk, found: _Found) -> None:
    seen_artifacts, seen_tasks, edge = {walk.start}, set[str](), {walk.start}
    for level in range(walk.levels + 1):
        tasks = _ids(connection, namespace, _EVENTS.c.task_id,
                     _EVENTS.c.type == walk.first, (_EVENTS.c.artifact_id, edge)) - seen_tasks
        if not tasks:
            return
        if level == walk.levels or len(seen_tasks) + len(tasks) > LINEAGE_LIMIT_TASKS:
            found.truncated = True
            return
        seen_tasks |= tasks
        found.tasks |= tasks
        edge = _ids(connection, namespace, _EVENTS.c.artifact_id,
                    _EVENTS.c.type == walk.then, (_EVENTS.c.task_id, tasks)) - seen_artifacts
        if len(seen_artifacts) + len(edge) > LINEAGE_LIMIT_ARTIFACTS:
            found.truncated = True
            return
        seen_artifacts |= edge
        found.artifacts |= edge


def _ids(connection: Connection, namespace: str, wanted: ColumnElement[Any], where: ColumnElement[bool],
         within: tuple[ColumnElement[Any], set[str]]) -> set[str]:
    column, ids = within
    ids_found: set[str] = set()
    for some in _chunks(sorted(ids)):
        query = (select(wanted).distinct().join(_TASKS, _TASKS.c.id == _EVENTS.c.task_id)
                 .where(column.in_(some), where, _TASKS.c.namespace == namespace))
        ids_found.update(connection.execute(query).scalars())
    return ids_found


def _tasks(connection: Connection, ids: set[str]) -> Iterator[LineageTask]:
    columns = (_TASKS.c.id, _TASKS.c.run_id, schema.runs.c.display_name, _TASKS.c.path, _TASKS.c.name,
               _TASKS.c.display_name.label("task_display_name"), _TASKS.c.type, _TASKS.c.state, _TASKS.c.started_at,
               _TASKS.c.finished_at)
    for some in _chunks(sorted(ids)):
        query = select(*columns).join(schema.runs, schema.runs.c.id == _TASKS.c.run_id).where(_TASKS.c.id.in_(some))
        for row in connection.execute(query):
            yield LineageTask(
                task_id=row.id, run_id=row.run_id, run_name=row.display_name, path=row.path,
                name=row.task_display_name or row.name, type=row.type, state=row.state, started_at=row.started_at,
                finished_at=row.finished_at)


def _links(connection: Connection, found: _Found) -> Iterator[Link]:
    """Links whose both ends were found: a neighbour that nobody asked about is left out."""
    for some in _chunks(sorted(found.tasks)):
        for link in artifacts.links_where(connection, _EVENTS.c.task_id.in_(some)):
            if link.artifact_id in found.artifacts:
                yield link


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK_IDS):
        yield ids[start:start + _CHUNK_IDS]
