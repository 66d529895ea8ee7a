"""The pipeline cache: what a step produced, by the key of its content.

``runs`` calls me inside its transactions; the REST routes list and clear what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.engine import Connection, RowMapping

from lightship.records import listing, schema, statements
from lightship.records.pipeline_rows import CacheEntry

_CACHE = schema.cache_entries
_TASKS = schema.tasks
LIMIT_KEYS_A_STATEMENT = 500

FIELDS: listing.Fields = {
    "id": _CACHE.c.key, "key": _CACHE.c.key, "run_id": _CACHE.c.run_id, "task_id": _CACHE.c.task_id,
    "task": func.coalesce(_TASKS.c.name, ""), "created_at": _CACHE.c.created_at,
}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An entry, and the name of the task that made it: empty where its run is gone."""

    entry: CacheEntry
    task: str


def find(connection: Connection, namespace: str, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
    """The entries there are for ``keys``, by key."""
    query = select(_CACHE).where(_CACHE.c.namespace == namespace, _CACHE.c.key.in_(keys))
    return {row["key"]: _entry(row) for row in connection.execute(query).mappings()}


def keep(connection: Connection, entries: Iterable[CacheEntry]) -> None:
    """Stores entries; a later one of the same key replaces an earlier one."""
    statements.upsert(connection, _CACHE, (
        {"namespace": entry.namespace, "key": entry.key, "run_id": entry.run_id, "task_id": entry.task_id,
         "outputs": entry.outputs, "created_at": entry.created_at} for entry in entries), replace=True)


def forget(connection: Connection, namespace: str, keys: Sequence[str]) -> None:
    connection.execute(delete(_CACHE).where(_CACHE.c.namespace == namespace, _CACHE.c.key.in_(keys)))


def page(connection: Connection, namespace: str, query: listing.Query) -> tuple[list[Listed], listing.Page]:
    """The namespace's entries, or everybody's where it is empty."""
    statement = (select(_CACHE, _CACHE.c.key.label("id"), func.coalesce(_TASKS.c.name, "").label("task"))
                 .outerjoin(_TASKS, _TASKS.c.id == _CACHE.c.task_id).where(*_within(namespace)))
    found = listing.page(connection, statement, FIELDS, query)
    return [Listed(entry=_entry(row), task=row["task"]) for row in found.rows], found


def clear(connection: Connection, namespace: str, predicates: Iterable[listing.Predicate]) -> int:
    """Drops the entries that fulfil all ``predicates``; how many there were. What they refer to stays with its runs."""
    wanted = [listing.condition(FIELDS, predicate) for predicate in predicates]
    keys = (select(_CACHE.c.namespace, _CACHE.c.key).outerjoin(_TASKS, _TASKS.c.id == _CACHE.c.task_id)
            .where(*_within(namespace), *wanted))
    return _delete(connection, [(row.namespace, row.key) for row in connection.execute(keys)])


def remove(connection: Connection, namespace: str, key: str) -> bool:
    """Drops one entry; whether there was one."""
    return bool(connection.execute(
        delete(_CACHE).where(_CACHE.c.namespace == namespace, _CACHE.c.key == key)).rowcount)


def _delete(connection: Connection, keys: Sequence[tuple[str, str]]) -> int:
    by_namespace: dict[str, list[str]] = {}
    for namespace, key in keys:
        by_namespace.setdefault(namespace, []).append(key)
    for namespace, named in by_namespace.items():
        for start in range(0, len(named), LIMIT_KEYS_A_STATEMENT):
            forget(connection, namespace, named[start:start + LIMIT_KEYS_A_STATEMENT])
    return len(keys)


def _within(namespace: str) -> list[ColumnElement[bool]]:
    return [_CACHE.c.namespace == namespace] if namespace else []


def _entry(row: RowMapping) -> CacheEntry:
    return CacheEntry(namespace=row["namespace"], key=row["key"], task_id=row["task_id"], run_id=row["run_id"],
                      outputs=row["outputs"], created_at=row["created_at"])
