"""The work queue: nothing lost, nothing twice at once, delays and back-off on virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightship.lib.backoff import Backoff
from lightship.runtime.queue import Closed, WorkQueue
from lightship.testing.clock import FakeClock, settle

STEADY = Backoff(initial_seconds=1, maximum_seconds=8)


async def test_a_key_waits_once_and_comes_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock())
    for key in ("a", "b", "a", "c", "b"):
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]
    assert len(queue) == 0


async def test_what_is_added_while_it_is_worked_on_comes_back_after() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock())
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0, "nobody else may get it meanwhile"
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_delays_ring_on_time_the_earliest_wish_counting() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("late", 10)
    queue.add_after("late", 60)
    queue.add_after("soon", 5)
    queue.add_after("soon", 2)
    await clock.advance(1.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert await queue.get() == "soon"
    await clock.advance(8)
    assert await queue.get() == "late"
    await clock.advance(100)
    assert len(queue) == 0
    await queue.close()


async def test_a_pass_supersedes_the_delay_of_its_key() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 5)
    queue.add("a")
    queue.done(await queue.get())
    await clock.advance(10)
    assert len(queue) == 0
    await queue.close()


async def test_failures_back_off_until_a_success() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock, backoff=STEADY)
    assert [queue.add_failed("a") for _ in range(5)] == [1, 2, 4, 8, 8]
    assert queue.add_failed("b") == 1, "each key has its own"
    queue.succeeded("a")
    assert queue.add_failed("a") == 1
    await queue.close()


async def test_no_timer_where_nothing_is_delayed() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    await settle()
    assert clock.sleepers == 0
    await queue.close()


async def test_close_sends_workers_home_and_drops_what_waits() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock())
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await settle()
    await queue.close()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, Closed) for result in results)
    queue.add("late")
    with pytest.raises(Closed):
        await queue.get()


async def test_a_worker_that_leaves_passes_its_wakeup_on() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock())
    leaving, staying = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await settle()
    queue.add("a")
    leaving.cancel()
    await settle()
    assert staying.done() and await staying == "a"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), keys=st.integers(1, 6), workers=st.integers(1, 5))
def test_every_change_is_followed_by_a_pass_and_no_key_runs_twice_at_once(seed: int, keys: int, workers: int) -> None:
    """The promise of the queue, whatever the interleaving: after an add, a pass begins that sees it."""
    asyncio.run(_storm(random.Random(seed), keys, workers))


async def _storm(dice: random.Random, keys: int, workers: int) -> None:
    clock = FakeClock()
    queue: WorkQueue[int] = WorkQueue(clock, backoff=STEADY)
    wanted = dict.fromkeys(range(keys), 0)
    seen = dict.fromkeys(range(keys), 0)
    running: set[int] = set()

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except Closed:
                return
            assert key not in running
            running.add(key)
            version = wanted[key]
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            running.discard(key)
            if dice.random() < 0.2:
                queue.add_failed(key)
            else:
                seen[key] = version
                queue.succeeded(key)
            queue.done(key)

    crew = [asyncio.create_task(work()) for _ in range(workers)]
    for _ in range(40):
        key = dice.randrange(keys)
        wanted[key] += 1
        if dice.random() < 0.3:
            queue.add_after(key, dice.random() * 3)
        else:
            queue.add(key)
        if dice.random() < 0.5:
            await clock.advance(dice.random())
    for _ in range(40):
        await clock.advance(10)
    assert seen == wanted
    await queue.close()
    await asyncio.gather(*crew)
