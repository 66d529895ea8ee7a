"""Small SQL that the query modules share: insert-or-replace in either dialect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection


def upsert(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]], *, replace: bool) -> None:
    """Inserts ``rows``; one whose primary key is there replaces the old row, or with ``replace=False`` is left out."""
    values = [dict(row) for row in rows]
    if not values:
        return
    keys = [column.name for column in table.primary_key]
    statement = _insert_for_postgresql(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    if replace:
        others = {name: statement.excluded[name] for name in values[0] if name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), values)
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=keys), values)


def _insert_for_postgresql(table: Table) -> Any:
    from sqlalchemy.dialects import postgresql  # 0.04 s of import, and most never have one

    return postgresql.insert(table)
