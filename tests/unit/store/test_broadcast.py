"""Paced delivery: what a watcher sees, whatever the rounds are, and how often it is woken for it."""

from __future__ import annotations

import asyncio
import random

import pytest

from lightship.cluster.store import broadcast
from lightship.cluster.store.broadcast import Event, History, Hub, Key, Watcher
from lightship.cluster.store.errors import WatchEnded


class Bench:
    """A hub and its history, fed as the store does."""

    def __init__(self) -> None:
        self.hub, self.history = Hub(asyncio.get_running_loop()), History(0)
        self.revision = 0

    def publish(self, count: int, namespace: str = "a") -> None:
        events = []
        for _ in range(count):
            self.revision += 1
            events.append(Event(self.revision, "ADDED", Key("pods", namespace, f"p{self.revision}"), b"", None))
            self.history.append(events[-1])
        self.hub.publish(events)

    def watch(self, since: int, namespace: str = "") -> Watcher:
        return self.hub.subscribe("pods", namespace, list(self.history.after(since))[::-1])


@pytest.mark.parametrize("seed", range(20))
async def test_every_watcher_sees_every_event_once_and_in_order(seed: int) -> None:
    dice, bench = random.Random(seed), Bench()
    seen: dict[Watcher, tuple[int, str, list[int]]] = {}
    for _ in range(300):
        match dice.randrange(6):
            case 0 | 1:
                bench.publish(dice.randint(1, 3), dice.choice("ab"))
            case 2:
                since, namespace = dice.randint(0, bench.revision), dice.choice(("", "a", "b"))
                for _ in range(dice.choice((1, 40))):
                    seen[bench.watch(since, namespace)] = (since, namespace, [])
            case 3 | 4 if seen:
                watcher = dice.choice(list(seen))
                seen[watcher][2].extend(event.revision for event in await watcher.next(0))
            case _:
                await asyncio.sleep(0)
    for watcher, (since, namespace, revisions) in seen.items():
        while batch := await watcher.next(0):
            revisions += [event.revision for event in batch]
        assert revisions == [event.revision for event in list(bench.history.after(since))[::-1]
                             if not namespace or event.key.namespace == namespace]


async def test_under_load_a_watcher_is_woken_for_batches_and_after_a_quiet_while_at_once() -> None:
    bench, wakes = Bench(), 0
    watchers = [bench.watch(0) for _ in range(500)]

    async def read(watcher: Watcher) -> None:
        nonlocal wakes
        received = 0
        while received < 201:
            received += len(await watcher.next())
            wakes += 1

    readers = [asyncio.create_task(read(watcher)) for watcher in watchers]
    await asyncio.sleep(0)
    bench.publish(1)
    assert watchers[0]._queue, "the first of all does not wait"
    for _ in range(200):
        bench.publish(1)
        await asyncio.sleep(0)
    await asyncio.gather(*readers)
    assert wakes <= 20 * len(watchers)


async def test_no_answer_after_a_timeout_means_that_nothing_waits() -> None:
    bench = Bench()
    watchers = [bench.watch(0) for _ in range(100)]
    bench.publish(1)
    bench.publish(1)
    assert [event.revision for event in await watchers[-1].next(0)] == [1, 2]
    assert await watchers[-1].next(0) == []


async def test_the_end_comes_after_what_was_published_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "WATCHERS_A_TURN", 1)
    bench = Bench()
    watchers = [bench.watch(0) for _ in range(3)]
    bench.publish(1)
    bench.publish(1)
    bench.hub.end("closing")
    for watcher in watchers:
        assert [event.revision for event in await watcher.next()] == [1, 2]
        with pytest.raises(WatchEnded, match="closing"):
            await watcher.next()
