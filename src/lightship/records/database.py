"""A relational database by URL: transactions in worker threads, errors in our words, the schema brought up to date.

``app`` makes one; domains call the query modules of this room, which call ``run`` and ``read``. SQLite has one
writing thread (``writer``) and a few reading ones over a write-ahead log with ``synchronous=FULL``: what ``run``
returned is on disk, whatever is killed next. PostgreSQL (the extra ``postgres``) has a pool of connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import create_engine, event, exc, make_url
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from lightship import errors
from lightship.records import claim, faults, upgrade
from lightship.records.fence import Fence
from lightship.records.writer import Writer

T = TypeVar("T")

READER_THREADS = 2
POSTGRES_CONNECTIONS = 8
REPEAT_LIMIT_TIMES = 5
_BUSY_SECONDS = 10
_READ_ONLY = "lightship_read_only"


class Database:
    """``run`` writes, ``read`` reads; each is one transaction and gets a SQLAlchemy ``Connection``.

    ``statements`` counts the statements sent, so that tests can hold a page to its number of queries.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.sqlite = self._url.get_backend_name() == "sqlite"
        self.place = str(self._url.database or ":memory:") if self.sqlite else self._url.render_as_string()
        self.statements = 0
        self._fence: Fence | None = None
        self._in_memory = self.sqlite and self._url.database in (None, "", ":memory:")
        self._engine = self._sqlite_engine() if self.sqlite else self._postgres_engine()
        event.listen(self._engine, "before_cursor_execute", self._count)
        self._writer = Writer(self._engine.connect, self._translate) if self.sqlite else None
        threads = READER_THREADS if self.sqlite else POSTGRES_CONNECTIONS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="records")
        self._local = threading.local()
        self._connections: list[Connection] = []

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` as one transaction; when this returns, what it wrote is durable.

        ``work`` may run twice where the database asks for it, so it must do nothing but talk to the connection.
        Raises what ``work`` raises; the database's own errors as ``errors.Conflict`` (a constraint), ``StateError``
        (damaged, not writable) or ``Unavailable``.
        """
        if self._writer is not None:
            result: T = await self._writer.run(work)
            return result
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._transaction, work)

    async def lead(self, work: Callable[[Connection], T]) -> T:
        """``run`` for what only the leader of the controllers may write.

        Raises ``fence.Deposed`` where another process leads since. Before ``take_lead`` nobody is kept out: a database
        without controllers, or a test.
        """
        fence = self._fence
        return await self.run(work if fence is None else lambda connection: _fenced(connection, fence, work))

    async def claim(self, cluster: str) -> None:
        """These records are the cluster's until I am closed. Raises ``claim.ClaimedElsewhere``; see there."""
        if not self.sqlite:
            await asyncio.to_thread(self._claim, cluster)

    async def take_lead(self, fence: Fence) -> None:
        """From now on this process writes as the leader, and earlier leaders no longer do. Raises ``fence.Deposed``."""
        await self.run(fence.raise_)
        self._fence = fence

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` on one consistent view of the data, beside the writer. It must not write."""
        if self._in_memory:
            return await self.run(work)  # The one connection is the database.
        call = self._view if self.sqlite else self._transaction
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, work)

    async def migrate(self) -> str:
        """Brings the schema to this version's; returns what it did: ``created``, ``upgraded`` or ``current``.

        Raises ``errors.StateError`` for a damaged or unwritable database and for one of a newer version.
        """
        if self._in_memory:
            return await self.run(lambda connection: upgrade.migrate(connection, self.place))
        return await asyncio.to_thread(self._migrate)

    async def close(self) -> None:
        """Ends the threads and connections; what was queued is finished first."""
        if self._writer is not None:
            await self._writer.close()
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._engine.dispose()

    def _claim(self, cluster: str) -> None:
        try:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connections.append(connection)
            claim.hold(connection, cluster, self.place)
        except exc.SQLAlchemyError as error:
            raise self._translate(error) from error

    def _migrate(self) -> str:
        """On a connection of its own, since SQLite rebuilds tables with foreign keys off, or rows would cascade."""
        try:
            with self._engine.connect() as connection:
                if self.sqlite:
                    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                    connection.rollback()
                with connection.begin():
                    return upgrade.migrate(connection, self.place)
        except exc.SQLAlchemyError as error:
            raise self._translate(error) from error

    def _view(self, work: Callable[[Connection], T]) -> T:
        """A read transaction on this thread's own SQLite connection."""
        try:
            connection: Connection | None = getattr(self._local, "connection", None)
            if connection is None or connection.closed:
                connection = self._engine.connect().execution_options(**{_READ_ONLY: True})
                self._local.connection = connection
                self._connections.append(connection)
            with connection.begin() as transaction:
                result = work(connection)
                transaction.rollback()
            return result
        except exc.SQLAlchemyError as error:
            raise self._translate(error) from error

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        """A transaction on a pooled PostgreSQL connection, repeated where the database says that may help."""
        for attempt in range(REPEAT_LIMIT_TIMES):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except exc.DBAPIError as error:
                if not faults.repeatable(error) or attempt + 1 == REPEAT_LIMIT_TIMES:
                    raise self._translate(error) from error
            except exc.SQLAlchemyError as error:
                raise self._translate(error) from error
        raise AssertionError("unreachable")

    def _translate(self, error: exc.SQLAlchemyError) -> errors.LightshipError:
        return faults.translate(error, self.place)

    def _count(self, *_: Any) -> None:
        self.statements += 1

    def _sqlite_engine(self) -> Engine:
        engine = create_engine(self._url, poolclass=NullPool, connect_args={
            "check_same_thread": False, "timeout": _BUSY_SECONDS, "isolation_level": None})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgres_engine(self) -> Engine:
        try:
            return create_engine(self._url.set(drivername="postgresql+psycopg"), pool_size=POSTGRES_CONNECTIONS,
                                 pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise errors.StateError(
                f'records at "{self.place}" need PostgreSQL\'s driver', remedy="Install lightship[postgres]") from error


def _fenced(connection: Connection, fence: Fence, work: Callable[[Connection], T]) -> T:
    fence.check(connection)
    return work(connection)


def _configure_sqlite(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY",
                   "journal_size_limit=16777216"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: a transaction that begins by reading could not be promoted later."""
    read_only = connection.get_execution_options().get(_READ_ONLY)
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.cursor().execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
