"""The one thread that writes to an SQLite database: transactions one after another, committed in groups.

``database`` calls me. SQLite lets one writer in at a time, and each commit waits for the disk; so the work that has
queued up while one commit waited runs as one group: each piece in a savepoint of its own, all made durable by one
commit. A piece that raises undoes only itself; nobody is told of success before the commit is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import Connection

from lightship import errors

GROUP_LIMIT_PIECES = 64
QUEUE_LIMIT_PIECES = 10_000


@dataclass(frozen=True)
class _Piece:
    work: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if self.future.done():
                return
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)

        # A closed loop has nobody left who waits for the answer.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle)


class Writer:
    """Owns the thread and its connection. ``translate`` makes our errors of the database's."""

    def __init__(self, connect: Callable[[], Connection],
                 translate: Callable[[exc.SQLAlchemyError], errors.LightshipError]) -> None:
        self._connect = connect
        self._translate = translate
        self._pieces: queue.Queue[_Piece | None] = queue.Queue(QUEUE_LIMIT_PIECES)
        self._connection: Connection | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="records-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Connection], Any]) -> Any:
        if self._closed:
            raise errors.Unavailable("the records are closed")
        loop = asyncio.get_running_loop()
        piece = _Piece(work, loop, loop.create_future())
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            raise errors.Unavailable(f"more than {QUEUE_LIMIT_PIECES} writes wait for the records") from None
        return await piece.future

    async def close(self) -> None:
        """Finishes what was queued, then ends the thread. Safe to repeat."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._pieces.put, None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                self._commit(group)
            if last:
                break
        if self._connection is not None:
            self._connection.close()

    def _next_group(self) -> tuple[list[_Piece], bool]:
        """What waits, at least one piece; and whether the writer was told to end after it."""
        group: list[_Piece] = []
        piece = self._pieces.get()
        while piece is not None:
            group.append(piece)
            if len(group) >= GROUP_LIMIT_PIECES:
                return group, False
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Piece]) -> None:
        done: list[tuple[_Piece, Any]] = []
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.begin():
                for piece in group:
                    _run_piece(self._connection, piece, done, self._translate)
        except exc.SQLAlchemyError as error:
            failure = self._translate(error)
            failure.__cause__ = error
            for piece in group:
                piece.settle(None, failure)
            self._forget_connection()
        else:
            for piece, result in done:
                piece.settle(result, None)

    def _forget_connection(self) -> None:
        """Drops a connection that failed as a whole; the next group opens a fresh one."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _run_piece(connection: Connection, piece: _Piece, done: list[tuple[_Piece, Any]],
               translate: Callable[[exc.SQLAlchemyError], errors.LightshipError]) -> None:
    """One piece in a savepoint: its result joins ``done``, its error goes to its caller now."""
    savepoint = connection.begin_nested()
    try:
        result = piece.work(connection)
    except exc.SQLAlchemyError as error:
        savepoint.rollback()
        failure = translate(error)
        failure.__cause__ = error
        piece.settle(None, failure)
    except BaseException as error:
        savepoint.rollback()
        piece.settle(None, error)
    else:
        savepoint.commit()
        done.append((piece, result))
