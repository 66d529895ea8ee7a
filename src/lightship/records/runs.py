"""Runs and their tasks as the pipeline engine keeps them: I implement ``domains.pipelines.ports.RunStore`` over SQL.

``app`` makes me and hands me to the engine. The REST side reads and changes the same tables through ``run_history``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship.kube.objects import Key
from lightship.records import cache, garbage, schema, statements
from lightship.records.database import Database
from lightship.records.pipeline_rows import (
    CANCELING,
    NO_IO,
    PENDING,
    RUNNING,
    ArtifactRow,
    Batch,
    CacheEntry,
    RunChange,
    RunHead,
    RunRow,
    TaskIO,
    TaskRow,
)

_RUNS = schema.runs
_TASKS = schema.tasks
HISTORY_LIMIT_STATES = 100
_TASK_FIELDS = tuple(field.name for field in msgspec.structs.fields(TaskRow))
TASK_COLUMNS = tuple(_TASKS.c[{"task_id": "id", "index": "iteration"}.get(name, name)] for name in _TASK_FIELDS)


class Runs:
    """The engine's store of runs. Every method is one transaction and may raise ``errors.Unavailable``.

    Writes are the leader's: one that was deposed gets ``fence.Deposed``, and nothing of it is written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, key: Key) -> tuple[RunRow, Sequence[TaskRow]] | None:
        """The run with all its task rows, or None if there is no such run."""
        return await self._database.read(lambda connection: _load(connection, key))

    async def head(self, key: Key) -> RunHead | None:
        """State and generation only, or None if the run is gone."""
        return await self._database.read(lambda connection: _head(connection, key))

    async def commit(self, batch: Batch) -> RunHead | None:
        """Writes the whole batch or nothing; see ``RunStore.commit``."""
        try:
            return await self._database.lead(lambda connection: _commit(connection, batch))
        except garbage.StaleHit as stale:
            # Whoever looks again must not find the same entry.
            await self.forget_cached(stale.namespace, stale.keys)
            raise

    async def unfinished(self) -> Sequence[Key]:
        """Keys of the runs that are pending, running or being cancelled, oldest first."""
        query = (select(_RUNS.c.namespace, _RUNS.c.id).where(_RUNS.c.state.in_((PENDING, RUNNING, CANCELING)))
                 .order_by(_RUNS.c.created_at, _RUNS.c.id))
        return await self._database.read(
            lambda connection: [Key(row.namespace, row.id) for row in connection.execute(query)])

    async def cached(self, namespace: str, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """The cache entries there are for ``keys``, by key."""
        return await self._database.read(lambda connection: cache.find(connection, namespace, keys))

    async def forget_cached(self, namespace: str, keys: Sequence[str]) -> None:
        """Drops entries whose artifacts turned out to be gone."""
        await self._database.lead(lambda connection: cache.forget(connection, namespace, keys))


def tasks_of(connection: Connection, run_ids: Sequence[str]) -> list[TaskRow]:
    """All tasks of the runs, oldest first within a run."""
    query = (select(*TASK_COLUMNS).where(_TASKS.c.run_id.in_(run_ids))
             .order_by(_TASKS.c.run_id, _TASKS.c.created_at, _TASKS.c.path))
    return [task_row(row) for row in connection.execute(query)]


def history_entry(state: str, at: datetime) -> dict[str, str]:
    """One entry of a run's ``state_history``."""
    return {"update_time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "state": state}


def _where(key: Key) -> Any:
    return (_RUNS.c.id == key.name) & (_RUNS.c.namespace == key.namespace)


def _load(connection: Connection, key: Key) -> tuple[RunRow, Sequence[TaskRow]] | None:
    query = select(_RUNS, schema.specs.c.body).join(schema.specs).where(_where(key))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    run = RunRow(
        namespace=row["namespace"], run_id=row["id"], name=row["display_name"], state=row["state"],
        generation=row["generation"], spec=row["body"], parameters=row["parameters"],
        pipeline_root=row["pipeline_root"], service_account=row["service_account"], error=row["error"],
        created_at=row["created_at"], scheduled_at=row["scheduled_at"] or row["created_at"],
        started_at=row["started_at"], finished_at=row["finished_at"])
    return run, tasks_of(connection, [key.name])


def _head(connection: Connection, key: Key) -> RunHead | None:
    row = connection.execute(select(_RUNS.c.state, _RUNS.c.generation).where(_where(key))).one_or_none()
    return None if row is None else RunHead(state=row.state, generation=row.generation)


def _commit(connection: Connection, batch: Batch) -> RunHead | None:
    key = Key(batch.namespace, batch.run_id)
    columns = (_RUNS.c.state, _RUNS.c.generation, _RUNS.c.state_history, _RUNS.c.created_at)
    query = select(*columns).where(_where(key)).with_for_update()
    run = connection.execute(query).mappings().one_or_none()
    if run is None:
        return None
    state = str(run["state"])
    if batch.run is not None and state == batch.run.expected_state:
        state = batch.run.state
        connection.execute(update(_RUNS).where(_where(key)).values(**_moved(run, batch.run)))
    garbage.take_up(connection, batch)
    statements.upsert(connection, _TASKS, map(_task_values, batch.tasks), replace=True)
    # What a batch brings was made by the tasks in it; an artifact that is there already keeps its first time.
    made_at = max((task.finished_at or task.created_at for task in batch.tasks), default=run["created_at"])
    statements.upsert(connection, schema.artifacts, (
        _artifact_values(batch, row, made_at) for row in batch.artifacts), replace=False)
    statements.upsert(connection, schema.events, (
        {"run_id": batch.run_id, "task_id": event.task_id, "type": event.type, "key": event.key,
         "artifact_id": event.artifact_id} for event in batch.events), replace=False)
    cache.keep(connection, batch.cache)
    return RunHead(state=state, generation=run["generation"])


def _moved(run: RowMapping, change: RunChange) -> dict[str, Any]:
    values: dict[str, Any] = {"state": change.state, "error": change.error}
    if change.state != run["state"]:
        history = [*run["state_history"], history_entry(change.state, change.at)]
        values["state_history"] = history[-HISTORY_LIMIT_STATES:]
    if change.started_at is not None:
        values["started_at"] = change.started_at
    if change.finished_at is not None:
        values["finished_at"] = change.finished_at
    return values


def _artifact_values(batch: Batch, row: ArtifactRow, made_at: datetime) -> dict[str, Any]:
    return {
        "id": row.artifact_id, "namespace": batch.namespace, "name": row.name, "type_title": row.type_title,
        "type_version": row.type_version, "uri": row.uri, "custom_path": row.custom_path, "digest": row.digest,
        "size_bytes": row.size_bytes, "metadata": dict(row.metadata), "created_at": made_at,
        "run_id": garbage.maker(batch.run_id, row.uri),
    }


def _task_values(task: TaskRow) -> dict[str, Any]:
    return {
        "id": task.task_id, "namespace": task.namespace, "run_id": task.run_id, "path": task.path,
        "parent_path": task.parent_path, "name": task.name, "display_name": task.display_name, "type": task.type,
        "iteration": task.index, "state": task.state, "error": task.error, "attempt": task.attempt,
        "retries": task.retries, "retry_at": task.retry_at, "pod": task.pod, "cache_key": task.cache_key,
        "cached_from": task.cached_from, "inputs": _stored(task.inputs), "outputs": _stored(task.outputs),
        "created_at": task.created_at, "started_at": task.started_at, "finished_at": task.finished_at,
    }


def task_row(row: Sequence[Any]) -> TaskRow:
    """A task from the columns of ``TASK_COLUMNS``, in their order."""
    values = dict(zip(_TASK_FIELDS, row, strict=True))
    if values["inputs"] is None:
        values["inputs"] = NO_IO
    if values["outputs"] is None:
        values["outputs"] = NO_IO
    return TaskRow(**values)


def _stored(io: TaskIO) -> TaskIO | None:
    """A task's inputs or outputs as stored: None where there are none."""
    return None if io == NO_IO else io
