"""The batcher by itself: what shares a predict, what is dropped, how batches shrink and grow."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.modelserver import errors
from lightship.modelserver.batching import Batcher, Bounds, Cost, Item, Proof, run, take

BOUNDS = Bounds(queue_requests=3, batch_rows=100)


def item(inputs: Any, key: Any = "k", *, work: Any = np.negative, told: list[Any] | None = None) -> Item:
    def done(result: Any, error: Exception | None, seconds: float) -> None:
        if told is not None:
            told.append(result if error is None else error)

    return Item(work, inputs, len(inputs), key, done)


def rows(*values: int) -> Any:
    return np.array(values)


ITEMS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["x", "y", None]), st.booleans()), max_size=20)


@given(ITEMS, st.integers(1, 8))
def test_every_item_is_taken_once_and_in_order_of_its_key(given: list[tuple[int, Any, bool]], most: int) -> None:
    items = [item(list(range(size)), key) for size, key, _ in given]
    for one, (_, _, cancelled) in zip(items, given, strict=True):
        one.cancelled = cancelled
    waiting, taken = deque(items), []
    while batch := take(waiting, most):
        assert len({one.key for one in batch}) == 1
        assert len(batch) == 1 or (batch[0].key is not None and sum(one.rows for one in batch) <= most)
        taken += batch
    alive = [one for one in items if not one.cancelled]
    assert sorted(map(id, taken)) == sorted(map(id, alive))
    for key in ("x", "y", None):
        if sum(one.rows > 1 for one in alive) == 0:
            assert [one for one in taken if one.key == key] == [one for one in alive if one.key == key]


def test_the_heads_of_the_queue_are_taken_first() -> None:
    waiting = deque([item([1], "x"), item([1], "y"), item([1], "x"), item([1], "y")])
    expected = [waiting[0], waiting[2]], [waiting[1], waiting[3]]
    assert (take(waiting, 9), take(waiting, 9)) == expected


def test_a_bad_item_fails_alone() -> None:
    def work(inputs: Any) -> Any:
        if (inputs < 0).any():
            raise ArithmeticError("negative")
        return {"double": inputs * 2}

    good, bad, other = run([item(rows(1, 2), work=work), item(rows(-1), work=work), item(rows(3), work=work)])
    assert good.result["double"].tolist() == [2, 4]
    assert isinstance(bad.error, ArithmeticError)
    assert other.result["double"].tolist() == [6]


def test_a_model_that_answers_other_rows_is_asked_one_by_one() -> None:
    outcomes = run([item(rows(1, 2), work=lambda inputs: inputs[:1]), item(rows(3), work=lambda inputs: inputs[:1])])
    assert [outcome.result.tolist() for outcome in outcomes] == [[1], [3]]


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1e3)), max_size=30))
def test_the_bound_on_rows_stays_in_bounds(predicts: list[tuple[int, float]]) -> None:
    cost = Cost()
    for taken, seconds in predicts:
        cost.learn(taken, seconds)
        assert 1 <= cost.limit(Bounds(queue_requests=1, batch_rows=1000, latency_seconds=0.1)) <= 1000
        assert cost.limit(BOUNDS) == BOUNDS.batch_rows


class Gate:
    """A predict that waits to be let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[int] = []

    def __call__(self, inputs: Any) -> Any:
        self.seen.append(len(inputs))
        assert self.open.wait(30)
        return inputs


async def test_a_full_queue_refuses_and_a_cancelled_item_makes_room() -> None:
    gate, told = Gate(), []
    batcher = Batcher(BOUNDS, name="m")
    items = [item(rows(number), work=gate, told=told) for number in range(4)]
    for one in items:
        batcher.submit(one)
        await asyncio.sleep(0)
    with pytest.raises(errors.QueueFull):
        batcher.submit(item(rows(9), work=gate, told=told))
    items[2].cancel()
    items[2].cancel()
    assert batcher.waiting == 2
    batcher.submit(item(rows(5), work=gate, told=told))
    gate.open.set()
    while len(told) < 4:  # noqa: ASYNC110  each item tells by itself
        await asyncio.sleep(0.001)
    assert [one.tolist() for one in told] == [[0], [1], [3], [5]]
    assert gate.seen == [1, 3]
    batcher.close()
    await asyncio.to_thread(batcher.join, 10)


async def test_a_queue_of_cancelled_items_does_not_grow() -> None:
    gate, told = Gate(), []
    batcher = Batcher(BOUNDS, name="m")
    batcher.submit(item(rows(0), work=gate, told=told))
    for number in range(1000):
        one = item(rows(number), work=gate, told=told)
        batcher.submit(one)
        one.cancel()
    assert len(batcher._waiting) <= 2 * BOUNDS.queue_requests + 1
    gate.open.set()
    batcher.close()
    await asyncio.to_thread(batcher.join, 10)


async def test_closing_answers_what_waits_and_takes_no_more() -> None:
    gate, told = Gate(), []
    batcher = Batcher(BOUNDS, name="m")
    for number in range(3):
        batcher.submit(item(rows(number), work=gate, told=told))
    batcher.close()
    with pytest.raises(errors.ModelNotReady):
        batcher.submit(item(rows(9)))
    gate.open.set()
    await asyncio.to_thread(batcher.join, 10)
    await asyncio.sleep(0)
    assert len(told) == 3


@pytest.mark.parametrize(("row_seconds", "largest"), [(0.0, 16), (0.1, 2)])
async def test_latency_makes_batches_smaller_where_rows_cost(row_seconds: float, largest: int) -> None:
    now = 0.0

    def predict(inputs: Any) -> Any:
        nonlocal now
        now += 1.0 + row_seconds * len(inputs)
        return inputs

    seen: list[int] = []
    told: list[Any] = []
    batcher = Batcher(Bounds(queue_requests=200, batch_rows=16, latency_seconds=0.25), name="m", observe=seen.append,
                      clock=lambda: now)
    for _ in range(200):
        batcher.submit(item(rows(1), work=predict, told=told))
    while len(told) < 200:  # noqa: ASYNC110  each item tells by itself
        await asyncio.sleep(0.001)
    assert set(seen[4:-1]) == {largest}
    batcher.close()
    await asyncio.to_thread(batcher.join, 10)


@pytest.mark.parametrize(("key", "long_from", "own_thread"), [("k", 10_000, False), (None, 10_000, True),
                                                              ("k", 0, True), ("k", 40, True)])
async def test_the_loop_runs_only_predicts_that_have_proven_short(key: Any, long_from: int, own_thread: bool) -> None:
    now, threads = 0.0, []

    def predict(inputs: Any) -> Any:
        nonlocal now
        now += 1.0 if len(threads) >= long_from else 0.0
        threads.append(threading.current_thread())
        return inputs

    batcher, told = Batcher(BOUNDS, name="m", clock=lambda: now), []
    for number in range(60):
        batcher.submit(item(rows(1), key, work=predict, told=told))
        while len(told) <= number:  # noqa: ASYNC110  each item tells by itself
            await asyncio.sleep(0.001)
    assert threads[0] is not threading.current_thread(), "nothing is proven at first"
    assert (threads[-1] is not threading.current_thread()) == own_thread
    batcher.close()
    await asyncio.to_thread(batcher.join, 10)


def test_a_large_batch_is_not_proven_by_small_ones() -> None:
    proof = Proof()
    for _ in range(Proof.NEEDED):
        assert not proof.holds(1)
        proof.learn(8, 0.0001, 0.0001)
    assert proof.holds(16)
    assert not proof.holds(17)
    proof.learn(16, 0.0001, 0.01)
    assert not proof.holds(1)
