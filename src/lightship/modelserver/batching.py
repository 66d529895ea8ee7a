"""Adaptive micro-batching without a timer: one predict at a time, and whatever queued meanwhile is the next batch.

``models`` makes one ``Batcher`` a model and submits prepared inputs; a thread of the batcher's own runs the model's
predict, so that a slow model holds up neither health checks nor other models. A single request never waits for
company. Only inputs of the same key (columns and type) share a predict; order is kept otherwise.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightship.modelserver import errors

Done = Callable[[Any, Exception | None, float], None]
"""Told once on the loop's thread: the item's own part of the result, or the error, and predict's seconds."""


@dataclass(slots=True)
class Item:
    """One request's prepared inputs; ``key`` None means that they must be predicted alone."""

    inputs: Any
    rows: int
    key: Hashable | None
    done: Done
    gone: Callable[[], bool]
    """Whether the client has left: such an item is dropped before it costs a predict."""


class Batcher:
    """Owns the queue and the thread of one model."""

    def __init__(self, predict: Callable[[Any], Any], *, queue_requests: int, batch_rows: int, name: str) -> None:
        self._predict = predict
        self._queue_requests = queue_requests
        self._batch_rows = batch_rows
        self._name = name
        self._waiting: deque[Item] = deque()
        self._busy = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"predict-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for a predict."""
        return len(self._waiting)

    def submit(self, item: Item) -> None:
        """Predict ``item`` with the next batch. Raises ``QueueFull``."""
        if len(self._waiting) >= self._queue_requests:
            raise errors.QueueFull(f'model "{self._name}" has {self._queue_requests} requests waiting',
                                   remedy="Send fewer at once, or raise --max_queue or the number of replicas")
        self._waiting.append(item)
        if not self._busy:
            self._dispatch()

    def close(self) -> None:
        """End the thread once its current predict returns."""
        self._jobs.put(None)

    def _dispatch(self) -> None:
        batch = take(self._waiting, self._batch_rows)
        self._busy = bool(batch)
        if batch:
            self._jobs.put(batch)

    def _work(self) -> None:
        clock = self._loop.time
        while (batch := self._jobs.get()) is not None:
            start = clock()
            outcomes = run(self._predict, batch)
            seconds = clock() - start
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, outcomes, seconds)
            except RuntimeError:
                return  # The loop is closed: the process is ending and nobody waits for this answer.

    def _finish(self, batch: list[Item], outcomes: list[Outcome], seconds: float) -> None:
        # The next predict starts before these answers are encoded: the two overlap.
        self._dispatch()
        for item, outcome in zip(batch, outcomes, strict=True):
            item.done(outcome.result, outcome.error, seconds)


@dataclass(slots=True)
class Outcome:
    """One item's result or error."""

    result: Any = None
    error: Exception | None = None


def take(waiting: deque[Item], batch_rows: int) -> list[Item]:
    """Remove the next batch from the queue: its head and, in order, all that may share a predict with it."""
    while waiting and waiting[0].gone():
        waiting.popleft()
    if not waiting:
        return []
    head = waiting.popleft()
    batch, rows = [head], head.rows
    if head.key is None:
        return batch
    kept: list[Item] = []
    while waiting:
        item = waiting.popleft()
        if item.gone():
            continue
        if item.key == head.key and rows + item.rows <= batch_rows:
            batch.append(item)
            rows += item.rows
        else:
            kept.append(item)
    waiting.extend(kept)
    return batch


def run(predict: Callable[[Any], Any], batch: Sequence[Item]) -> list[Outcome]:
    """Predict a batch at once; where that fails or gives the wrong number of rows, each item alone.

    So one bad input never fails the requests that happened to be beside it.
    """
    if len(batch) > 1:
        try:
            together = predict(np.concatenate([item.inputs for item in batch]))
        except Exception:
            # Not lost: predicting each alone raises it again for the item at fault.
            together = None
        if together is not None and len(together) == sum(item.rows for item in batch):
            return _split(together, batch)
    return [_alone(predict, item) for item in batch]


def _alone(predict: Callable[[Any], Any], item: Item) -> Outcome:
    try:
        return Outcome(result=predict(item.inputs))
    except Exception as problem:
        return Outcome(error=problem)


def _split(result: Any, batch: Sequence[Item]) -> list[Outcome]:
    outcomes, start = [], 0
    for item in batch:
        outcomes.append(Outcome(result=result[start:start + item.rows]))
        start += item.rows
    return outcomes
