"""Adaptive micro-batching without a timer: one predict at a time, and whatever queued meanwhile is the next batch.

``models`` makes one ``Batcher`` a model and submits prepared inputs; a thread of the batcher's own runs the model's
predict, so that a slow model holds up neither health checks nor other models. A single request never waits for
company. Only inputs of the same key (columns and type) share a predict; order is kept otherwise.

Where predicts have proven to be much shorter than the time slices in which Python's threads take turns, the loop runs
them itself: to hand them over would cost more than they do, and what arrives meanwhile is the next batch all the same.
``Proof`` decides; only inputs that may share a predict count, whose cost is their rows' and nothing else's.

The batcher field's ``maxBatchSize`` bounds a batch's rows. Its ``maxLatency`` bounds how much longer than alone a
predict may take for the sake of its batch: what a row costs is learnt, and batches are no larger than that allows. It
is never waited for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lightship.modelserver import errors

Work = Callable[[Any], Any]


class Done(Protocol):
    """Told once on the loop's thread: the item's own part of the result, or the error, and the predict's seconds."""

    def __call__(self, result: Any, error: Exception | None, seconds: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much one batcher may hold and do at once."""

    queue_requests: int
    batch_rows: int
    latency_seconds: float = float("inf")


class Item:
    """One request's prepared inputs; ``key`` None means that they must be predicted alone."""

    __slots__ = ("_batcher", "cancelled", "done", "inputs", "key", "rows", "work")

    def __init__(self, work: Work, inputs: Any, rows: int, key: Hashable | None, done: Done) -> None:
        self.work, self.inputs, self.rows, self.key, self.done = work, inputs, rows, key, done
        self.cancelled = False
        self._batcher: Batcher | None = None

    def enter(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def leave(self) -> None:
        """It is being predicted: too late to cancel."""
        self._batcher = None

    def cancel(self) -> None:
        """The client has left: do not predict it, and do not tell."""
        if self._batcher is not None and not self.cancelled:
            self._batcher.forget()
        self.cancelled = True


class Batcher:
    """Owns the queue and the thread of one model."""

    def __init__(self, bounds: Bounds, *, name: str, observe: Callable[[int], None] = lambda rows: None,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self._bounds = bounds
        self._name = name
        self._observe = observe
        self._clock = clock
        self._waiting: deque[Item] = deque()
        self._live = 0
        self._batch_rows = bounds.batch_rows
        self._cost = Cost()
        self._busy = self._closing = self._scheduled = False
        self._proof = Proof()
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"predict-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for a predict."""
        return self._live

    def submit(self, item: Item) -> None:
        """Predict ``item`` with the next batch. Raises ``QueueFull`` and ``ModelNotReady``."""
        most = self._bounds.queue_requests
        if self._closing:
            raise errors.ModelNotReady(f'model "{self._name}" is being unloaded')
        if self._live >= most:
            raise errors.QueueFull(f'model "{self._name}" has {most} requests waiting',
                                   remedy="Send fewer at once, or raise --max_queue or the number of replicas")
        if len(self._waiting) > 2 * most:
            self._waiting = deque(one for one in self._waiting if not one.cancelled)
        item.enter(self)
        self._waiting.append(item)
        self._live += 1
        self._schedule()

    def forget(self) -> None:
        """A waiting item was cancelled."""
        self._live -= 1

    def close(self) -> None:
        """Take no more, and end the thread once what waits is predicted."""
        self._closing = True
        self._schedule()

    def join(self, seconds: float) -> None:
        """Wait, in another thread than the loop's, until the thread has ended; no longer than this."""
        self._thread.join(seconds)

    def _schedule(self) -> None:
        """Have the next batch begun once the loop has read all that came with this request."""
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        batch = take(self._waiting, self._batch_rows)
        if not batch:
            if self._closing and not self._busy:
                self._busy = True
                self._jobs.put(None)
            return
        self._live -= len(batch)
        rows = 0
        for item in batch:
            item.leave()
            rows += item.rows
        if batch[0].key is not None and self._proof.holds(rows):
            self._tell(batch, self._timed(batch), rows)
            if self._waiting or self._closing:
                self._schedule()
        else:
            self._busy = True
            self._jobs.put(batch)

    def _work(self) -> None:
        while (batch := self._jobs.get()) is not None:
            predict = self._timed(batch)
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, predict)
            except RuntimeError:
                return  # The loop is closed: the process is ending and nobody waits for this answer.

    def _timed(self, batch: list[Item]) -> Predict:
        start, start_cpu = self._clock(), time.thread_time()
        outcomes = run(batch)
        return Predict(outcomes, self._clock() - start, time.thread_time() - start_cpu)

    def _finish(self, batch: list[Item], predict: Predict) -> None:
        # The next predict starts before these answers are encoded: the two overlap.
        self._busy = False
        self._begin()
        self._tell(batch, predict, sum(item.rows for item in batch))

    def _tell(self, batch: list[Item], predict: Predict, rows: int) -> None:
        seconds = predict.seconds
        if batch[0].key is not None:
            self._proof.learn(rows, seconds, predict.cpu_seconds)
        if self._bounds.latency_seconds != float("inf"):
            self._cost.learn(rows, seconds)
            self._batch_rows = self._cost.limit(self._bounds)
        self._observe(rows)
        for item, outcome in zip(batch, predict.outcomes, strict=True):
            if not item.cancelled:
                item.done(outcome.result, outcome.error, seconds)


@dataclass(slots=True)
class Outcome:
    """One item's result or error."""

    result: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class Predict:
    """One predict of a batch: what came of it, and how long it took, by the clock and of its thread's CPU."""

    outcomes: list[Outcome]
    seconds: float
    cpu_seconds: float


class Proof:
    """Whether a model's predicts are so short that the loop may run them itself."""

    CPU_SECONDS = 0.0005
    SECONDS = 0.005
    """By the clock, which counts what other processes take too; Python's threads take turns of this length anyway."""
    NEEDED = 16

    def __init__(self) -> None:
        self._short = 0
        self._rows = 0

    def holds(self, rows: int) -> bool:
        """Whether so many rows may be predicted on the loop: not more than twice what was seen to be short."""
        return self._short >= self.NEEDED and rows <= 2 * self._rows

    def learn(self, rows: int, seconds: float, cpu_seconds: float) -> None:
        """Take one predict into account; a long one takes all proof away."""
        if cpu_seconds > self.CPU_SECONDS or seconds > self.SECONDS:
            self._short = self._rows = 0
            return
        self._short += 1
        self._rows = max(self._rows, rows)


class Cost:
    """What a row adds to a predict, in seconds: the slope through the latest predicts, older ones weighing less."""

    _KEEP = 0.9
    _LEAST_VARIANCE = 0.25
    """Predicts of one size tell nothing about what rows cost: what was learnt before holds, or at first that rows are
    all that costs, so that the next batches are smaller and tell."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0
        self._learnt = False
        self.row_seconds = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Take one predict into account."""
        self._weight = self._weight * self._KEEP + 1
        self._rows = self._rows * self._KEEP + rows
        self._seconds = self._seconds * self._KEEP + seconds
        self._squares = self._squares * self._KEEP + rows * rows
        self._products = self._products * self._KEEP + rows * seconds
        mean = self._rows / self._weight
        variance = self._squares / self._weight - mean * mean
        if variance > self._LEAST_VARIANCE:
            covariance = self._products / self._weight - mean * self._seconds / self._weight
            self.row_seconds, self._learnt = max(0.0, covariance / variance), True
        elif not self._learnt and rows > 1:
            self.row_seconds = seconds / rows

    def limit(self, bounds: Bounds) -> int:
        """How many rows add no more than the bound on latency."""
        if self.row_seconds * bounds.batch_rows <= bounds.latency_seconds:
            return bounds.batch_rows
        return max(1, int(bounds.latency_seconds / self.row_seconds))


def take(waiting: deque[Item], batch_rows: int) -> list[Item]:
    """Remove the next batch from the queue: its head and, in order, all that may share a predict with it."""
    while waiting and waiting[0].cancelled:
        waiting.popleft()
    if not waiting:
        return []
    head = waiting.popleft()
    batch, rows = [head], head.rows
    if head.key is None:
        return batch
    kept: list[Item] = []
    while waiting and rows < batch_rows:
        item = waiting.popleft()
        if item.cancelled:
            continue
        if item.key == head.key and item.work == head.work and rows + item.rows <= batch_rows:
            batch.append(item)
            rows += item.rows
        else:
            kept.append(item)
    waiting.extendleft(reversed(kept))
    return batch


def run(batch: Sequence[Item]) -> list[Outcome]:
    """Predict a batch at once; where that fails or gives the wrong number of rows, each item alone.

    So one bad input never fails the requests that happened to be beside it.
    """
    together = _together(batch) if len(batch) > 1 else None
    return [_alone(item) for item in batch] if together is None else together


def _together(batch: Sequence[Item]) -> list[Outcome] | None:
    try:
        return _split(batch[0].work(_join([item.inputs for item in batch])), batch)
    except Exception:
        return None  # Not lost: predicting each alone raises it again for the item at fault.


def _alone(item: Item) -> Outcome:
    try:
        return Outcome(result=item.work(item.inputs))
    except Exception as problem:
        return Outcome(error=problem)


def _join(inputs: list[Any]) -> Any:
    if isinstance(inputs[0], dict):
        return {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
    return np.concatenate(inputs)


def _split(result: Any, batch: Sequence[Item]) -> list[Outcome]:
    """Each item's rows. Raises ``ValueError`` where the model gave another number of rows than it was asked for."""
    arrays = result.values() if isinstance(result, dict) else (result,)
    total = sum(item.rows for item in batch)
    if any(len(array) != total for array in arrays):
        raise ValueError("the model answered another number of rows")
    outcomes, start = [], 0
    for item in batch:
        end = start + item.rows
        part = ({name: array[start:end] for name, array in result.items()} if isinstance(result, dict)
                else result[start:end])
        outcomes.append(Outcome(result=part))
        start = end
    return outcomes
