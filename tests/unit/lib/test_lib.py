"""What could be standard library: time, ids, back-off, tasks."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from datetime import UTC, datetime

import pytest

from lightship.lib import backoff, clock, ids, tasks
from lightship.testing.clock import FakeClock, settle


def test_times_go_to_the_wire_and_back() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert clock.timestamp(moment) == "2026-01-02T03:04:05Z"
    assert clock.micro_timestamp(moment) == "2026-01-02T03:04:05.678901Z"
    assert clock.parse_timestamp(clock.micro_timestamp(moment)) == moment
    assert clock.parse_timestamp("2026-01-02T04:04:05+01:00") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with pytest.raises(ValueError, match="no zone"):
        clock.parse_timestamp("2026-01-02T03:04:05")


def test_ids_are_unlike_and_seeded_ones_repeat() -> None:
    source = ids.RandomIds()
    assert len({source.uid() for _ in range(100)}) == 100
    assert re.fullmatch(rf"[{ids.SUFFIX_ALPHABET}]{{5}}", source.suffix())
    first, second = ids.SeededIds(7), ids.SeededIds(7)
    assert [first.uid(), first.suffix(8)] == [second.uid(), second.suffix(8)]
    assert ids.SeededIds(8).uid() != ids.SeededIds(7).uid()


def test_back_off_grows_to_its_limit_and_jitter_only_shortens() -> None:
    policy = backoff.Backoff(initial_seconds=1, maximum_seconds=10)
    waits = [policy.delay_seconds(failures, random.random) for failures in (1, 2, 3, 4, 5, 10**6)]
    assert waits == [1, 2, 4, 8, 10, 10]
    shaken = backoff.Backoff(initial_seconds=1, maximum_seconds=10, jitter=0.5)
    assert shaken.delay_seconds(4, lambda: 0.0) == 8
    assert shaken.delay_seconds(4, lambda: 1.0) == 4


async def test_fake_time_wakes_sleepers_in_order() -> None:
    fake, woken = FakeClock(), []

    async def sleeper(seconds: float) -> None:
        await fake.sleep(seconds)
        woken.append((seconds, fake.monotonic()))

    waiting = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await fake.advance(2.5)
    assert woken == [(1, 1.0), (2, 2.0)]
    assert fake.sleepers == 1 and fake.next_deadline == 3
    await fake.advance(1)
    assert woken[-1] == (3, 3.0)
    assert fake.now() == datetime(2026, 1, 1, 0, 0, 3, 500000, tzinfo=UTC)
    await asyncio.gather(*waiting)


async def test_tasks_have_an_owner_that_ends_them() -> None:
    owner, ended = tasks.Tasks("test"), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    owner.spawn(work())
    owner.spawn(work())
    await settle()
    assert len(owner) == 2
    await owner.close()
    assert ended == [True, True] and len(owner) == 0


async def test_a_crashed_task_is_told_at_once_and_raised_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def crash() -> None:
        raise RuntimeError("a bug")

    owner = tasks.Tasks("test")
    with caplog.at_level(logging.ERROR):
        owner.spawn(crash(), name="crash")
        await settle()
    assert "a background task crashed" in caplog.text
    with pytest.raises(ExceptionGroup) as raised:
        await owner.close()
    assert isinstance(raised.value.exceptions[0], RuntimeError)
    await owner.close()


async def test_the_first_of_several_waits_ends_the_others() -> None:
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def soon() -> None:
        await asyncio.sleep(0)

    await tasks.first(forever, soon)
    assert cancelled.is_set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await tasks.first(forever, fail)


async def test_each_tries_all_within_its_limit_and_raises_the_first_error() -> None:
    running, most, done = 0, 0, []

    def work(number: int) -> object:
        async def run() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            if number in (3, 5):
                raise ValueError(f"number {number}")
            done.append(number)

        return run

    with pytest.raises(ValueError, match="number 3"):
        await tasks.each([work(number) for number in range(8)], at_once=3)  # type: ignore[misc]
    assert most == 3
    assert sorted(done) == [0, 1, 2, 4, 6, 7]


async def test_cancel_waits_until_the_task_is_gone() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    task = asyncio.create_task(work())
    await settle()
    await tasks.cancel(task)
    assert cleaned == [True]
