"""The log file: SQLite in WAL mode with ``synchronous=FULL``, opened with care.

``store`` opens me and replays; afterwards only the writer thread calls me. I raise ``errors.StateError`` for a file
that cannot be used, and let ``sqlite3.Error`` out of ``append`` for the writer to judge.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lightship import errors
from lightship.cluster.store.queries import statements

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C534F53
"""``LSOS`` in SQLite's header: tells our file from any other database."""
LIMIT_STATEMENT_ROWS = 128
LIMIT_WAL_BYTES = 64 * 1024 * 1024

Row = tuple[int, str, str, str, int, bytes]
"""revision, resource, namespace, name, deleted, value"""


class Log:
    """An open log file. Not thread-safe: one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._append: dict[int, str] = {}
        try:
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as e:
            raise _state_error(path, e) from e
        try:
            self._prepare()
        except sqlite3.Error as e:
            self._db.close()
            raise _state_error(path, e) from e
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db, sql = self._db, statements()
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not empty and application != APPLICATION_ID:
            raise errors.StateError(f"{self.path} is a database, but not Lightship's object store",
                                    remedy="Name another data directory, or move the file away")
        if version > SCHEMA_VERSION:
            raise errors.StateError(
                f"{self.path} was written by a newer Lightship (schema {version}, this one knows {SCHEMA_VERSION})",
                remedy="Install that version again, or name another data directory")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {LIMIT_WAL_BYTES}")
        db.execute("BEGIN IMMEDIATE")
        if empty:
            db.execute(sql["create_log"])
            db.execute(sql["create_facts"])
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute(sql["set_compacted"], (self.compacted(),))
        db.execute("COMMIT")
        complaint = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if complaint != "ok":
            raise errors.StateError(f"{self.path} is corrupt: {complaint}", remedy=_CORRUPT_REMEDY)

    def compacted(self) -> int:
        """The revision up to which superseded rows may be gone; 0 at first."""
        row = self._db.execute(statements()["compacted"]).fetchone()
        return int(row[0]) if row else 0

    def replay(self) -> Iterator[Row]:
        """Every row in order of revision."""
        try:
            yield from self._db.execute(statements()["replay"])
        except sqlite3.Error as e:
            raise _state_error(self.path, e) from e

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows in one durable transaction a ``LIMIT_STATEMENT_ROWS``; at most that many may be given.

        One statement, so that the interpreter lock is given up and taken back once, whatever the batch's size.
        """
        assert 0 < len(rows) <= LIMIT_STATEMENT_ROWS, len(rows)
        statement = self._append.get(len(rows))
        if statement is None:
            head, _, marks = statements()["append"].partition(" VALUES ")
            statement = f"{head} VALUES {', '.join([marks] * len(rows))}"
            self._append[len(rows)] = statement
        self._db.execute(statement, [value for row in rows for value in row])

    def forget(self, revisions: Sequence[int], compacted: int) -> None:
        """Drop superseded rows and remember how far history reaches, in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(statements()["set_compacted"], (compacted,))
            self._db.execute(statements()["forget"], (msgspec.json.encode(revisions).decode(),))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()


_CORRUPT_REMEDY = "Restore it from a backup, or move it away to start with an empty cluster"


def _state_error(path: Path, cause: sqlite3.Error) -> errors.StateError:
    text = str(cause)
    if "locked" in text or "busy" in text:
        return errors.StateError(f"{path} is in use by another process", remedy="Stop the server that holds it")
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        return errors.StateError(f"{path} is corrupt: {text}", remedy=_CORRUPT_REMEDY)
    if "full" in text:
        return errors.StateError(f"could not open {path}: {text}", remedy="Free space on that disk")
    return errors.StateError(f"could not open {path}: {text}",
                             remedy="Check that the directory is there and that you may write to it")
