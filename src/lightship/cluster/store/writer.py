"""The one thread that writes the log, with group commit.

``store`` hands me batches from its loop; I append what has piled up in one transaction and report back to the loop:
committed, or failed with everything that was queued behind it (its revisions were counted on top of the failure).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightship.cluster.store.broadcast import EventType, Key
from lightship.cluster.store.log import LIMIT_STATEMENT_ROWS, Log

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Write:
    """A write on its way to the disk. ``epoch`` counts failures: a write of an old epoch is void."""

    epoch: int
    revision: int
    type: EventType
    key: Key
    value: bytes
    done: asyncio.Future[None]
    waiters: list[asyncio.Future[None]] | None = None


@dataclass(frozen=True, slots=True)
class Compaction:
    """Rows to drop, and the revision that history then reaches back to."""

    revisions: Sequence[int]
    compacted: int


Committed = Callable[[list[Write]], None]
Failed = Callable[[list[Write], Exception], None]


class Writer:
    """Owns the thread. ``committed`` and ``failed`` are called on the loop, in order."""

    def __init__(self, log: Log, committed: Committed, failed: Failed) -> None:
        self._log = log
        self._committed, self._failed = committed, failed
        self._inbox: queue.SimpleQueue[list[Write] | Compaction | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._failed_epoch = -1
        self._stopped = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="object-store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: list[Write] | Compaction) -> None:
        self._inbox.put(work)

    async def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._inbox.put(None)
        await self._stopped
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch: list[Write] = []
            work = self._inbox.get()
            while True:
                if work is None:
                    stopping = True
                    break
                if isinstance(work, Compaction):
                    self._flush(batch)
                    batch = []
                    self._compact(work)
                else:
                    batch.extend(work)
                if len(batch) >= LIMIT_STATEMENT_ROWS or self._inbox.empty():
                    break
                work = self._inbox.get()
            self._flush(batch)
        self._loop.call_soon_threadsafe(self._stopped.set_result, None)

    def _flush(self, batch: list[Write]) -> None:
        for start in range(0, len(batch), LIMIT_STATEMENT_ROWS):
            self._commit(batch[start:start + LIMIT_STATEMENT_ROWS])

    def _commit(self, writes: list[Write]) -> None:
        if writes[0].epoch <= self._failed_epoch:
            void = [write for write in writes if write.epoch <= self._failed_epoch]
            self._loop.call_soon_threadsafe(self._failed, void, RuntimeError("an earlier write failed"))
            writes = writes[len(void):]
            if not writes:
                return
        try:
            self._log.append([(write.revision, *write.key, write.type == "DELETED", write.value)
                              for write in writes])
        except Exception as e:
            self._failed_epoch = writes[-1].epoch
            self._roll_back()
            self._loop.call_soon_threadsafe(self._failed, writes, e)
            return
        self._loop.call_soon_threadsafe(self._committed, writes)

    def _compact(self, work: Compaction) -> None:
        try:
            self._log.forget(work.revisions, work.compacted)
        except sqlite3.Error as e:
            # The rows stay until the next start, which finds them superseded and queues them again.
            _log.warning("could not compact the object store", extra={"error": str(e)})

    def _roll_back(self) -> None:
        try:
            self._log.roll_back()
        except sqlite3.Error as e:
            _log.warning("could not roll back a failed write", extra={"error": str(e)})
