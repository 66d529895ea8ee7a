"""The pipeline cache: what a step produced, by the key of its content. ``runs`` calls me inside its transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from lightship.records import schema, statements
from lightship.records.pipeline_rows import CacheEntry

_CACHE = schema.cache_entries


def find(connection: Connection, namespace: str, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
    """The entries there are for ``keys``, by key."""
    query = select(_CACHE).where(_CACHE.c.namespace == namespace, _CACHE.c.key.in_(keys))
    return {
        row["key"]: CacheEntry(
            namespace=row["namespace"], key=row["key"], task_id=row["task_id"], run_id=row["run_id"],
            outputs=row["outputs"], created_at=row["created_at"])
        for row in connection.execute(query).mappings()
    }


def keep(connection: Connection, entries: Iterable[CacheEntry]) -> None:
    """Stores entries; a later one of the same key replaces an earlier one."""
    statements.upsert(connection, _CACHE, (
        {"namespace": entry.namespace, "key": entry.key, "run_id": entry.run_id, "task_id": entry.task_id,
         "outputs": entry.outputs, "created_at": entry.created_at} for entry in entries), replace=True)


def forget(connection: Connection, namespace: str, keys: Sequence[str]) -> None:
    connection.execute(delete(_CACHE).where(_CACHE.c.namespace == namespace, _CACHE.c.key.in_(keys)))
