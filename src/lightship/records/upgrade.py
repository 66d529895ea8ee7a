"""Brings a database to this version's schema, in one transaction, and refuses what it does not know.

``database`` calls me with a connection in a transaction; I call ``schema``, and Alembic (imported late: it costs a
second) only when a migration is due. A new database gets the tables straight from ``schema``; a test holds that this
equals running every migration.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import schema

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every migration in ``migrations/versions``, oldest first."""

_POSTGRES_LOCK = 0x6C6967687473


def migrate(connection: Connection, place: str) -> str:
    """Does what is due and says what it was: ``created``, ``upgraded`` or ``current``."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
    tables = _tables(connection)
    if "alembic_version" not in tables:
        if tables & set(schema.metadata.tables):
            raise errors.StateError(f'the records in "{place}" have tables but no version',
                                    remedy="Give Lightship a database of its own")
        _create(connection)
        return "created"
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision == REVISIONS[-1]:
        return "current"
    if revision not in REVISIONS:
        raise errors.StateError(
            f'the records in "{place}" are of schema {revision}, which is newer than this Lightship knows '
            f"({REVISIONS[-1]})",
            remedy="Start the newer Lightship that wrote them, or choose another data directory")
    _back_up(connection, place, str(revision))
    run_migrations(connection)
    return "upgraded"


def run_migrations(connection: Connection) -> None:
    """Runs what migrations are due, from an empty database too."""
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def _create(connection: Connection) -> None:
    schema.metadata.create_all(connection, checkfirst=False)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISIONS[-1]})


def _tables(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    return set(connection.execute(text(query)).scalars())


def _back_up(connection: Connection, place: str, revision: str) -> None:
    """Keeps a copy of an SQLite file beside it before its schema changes; a server's backups are its owner's."""
    if connection.dialect.name != "sqlite" or not Path(place).is_file():
        return
    copy = Path(f"{place}.{revision}.backup")
    with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
