"""Seeded storms over the object store: concurrent writers, full disks, slow and vanishing watchers, restarts.

Every choice comes from the seed, which a failure prints; how writes fall into batches is the disk thread's own. A model
knows what each writer was told; when the storm is over the store must hold exactly that, and every watcher that lasted
must have seen exactly the history.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from lightship import errors
from lightship.cluster.store import broadcast
from lightship.cluster.store import log as logs
from lightship.cluster.store.broadcast import Key, Watcher
from lightship.cluster.store.errors import Overloaded, RevisionConflict, WatchEnded, WriteFailed
from lightship.cluster.store.store import Store

SEEDS = range(15)
LIVES, WRITERS, WRITES_A_LIFE = 4, 8, 150
RESOURCES, NAMES = ("pods", "jobs"), ("a", "b", "c", "d", "e")
FULL_DISK = 0.2
Seen = tuple[int, str, str, str]


class World:
    """One data directory, and what everybody was told of it."""

    def __init__(self, seed: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dice, self.path, disk = random.Random(seed), path, random.Random(~seed)
        self.told: dict[Key, tuple[int, bytes]] = {}
        self.history: list[Seen] = []
        self.failures = 0
        append = logs.Log.append

        def perhaps(log: logs.Log, rows: Sequence[logs.Row]) -> None:
            if disk.random() < FULL_DISK:
                raise sqlite3.OperationalError("database or disk is full")
            append(log, rows)

        monkeypatch.setattr(logs.Log, "append", perhaps)
        monkeypatch.setattr(broadcast, "LIMIT_WATCHER_EVENTS", 60)
        monkeypatch.setattr(broadcast, "WATCHERS_A_TURN", 2)

    async def live(self) -> None:
        """Open, storm, close."""
        store = await Store.open(self.path)
        self.check(store)
        watches = [asyncio.create_task(self.watch(store, resource, slow)) for resource in RESOURCES
                   for slow in (False, False, True)]
        numbers = iter(range(WRITES_A_LIFE))
        await asyncio.gather(*(self.write(store, numbers) for _ in range(WRITERS)))
        self.check(store)
        await store.close()
        await asyncio.gather(*watches)

    async def write(self, store: Store, numbers: object) -> None:
        for number in numbers:  # type: ignore[attr-defined]
            key = Key(self.dice.choice(RESOURCES), self.dice.choice(("", "x")), self.dice.choice(NAMES))
            entry = store.get(key)
            there = entry.revision if entry else 0
            delete = entry is not None and self.dice.random() < 0.3
            value = f"{number}".encode()
            try:
                if delete:
                    done = await store.delete(key, lambda revision, value=value: value, there)
                else:
                    done = await store.put(key, lambda revision, value=value: value, there)
            except WriteFailed:
                self.failures += 1
                continue
            except (RevisionConflict, errors.AlreadyExists, errors.NotFound, Overloaded):
                continue
            assert done.value == value
            known = self.told.get(key, (0, b""))
            if done.revision > known[0]:
                self.told[key] = (done.revision, b"" if delete else value)
            kind = "DELETED" if delete else "MODIFIED" if there else "ADDED"
            self.history.append((done.revision, kind, "/".join(key), value.decode()))
            await asyncio.sleep(0)

    async def watch(self, store: Store, resource: str, slow: bool) -> None:
        since, watcher = store.revision, store.watch(resource, store.revision)
        seen: list[Seen] = []
        try:
            while True:
                for _ in range(self.dice.randrange(30) if slow else 0):
                    await asyncio.sleep(0)
                await self.take(watcher, seen)
        except WatchEnded:
            closed = store._closed
        last = seen[-1][0] if seen else since
        expected = [event for event in sorted(self.history) if event[2].startswith(resource)
                    and since < event[0] and (closed or event[0] <= last)]
        assert seen == expected[:len(seen)]
        assert not closed or len(seen) == len(expected) or slow

    async def take(self, watcher: Watcher, seen: list[Seen]) -> None:
        for event in await watcher.next():
            seen.append((event.revision, event.type, "/".join(event.key), event.value.decode()))

    def check(self, store: Store) -> None:
        """The store holds what was told, no more and no less."""
        held = {Key(resource, item.namespace, item.name): (item.entry.revision, item.entry.value)
                for resource in RESOURCES for item in store.snapshot(resource).items}
        assert held == {key: told for key, told in self.told.items() if told[1]}


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_store_keeps_its_word(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed, tmp_path / "cluster.db", monkeypatch)
    for _ in range(LIVES):
        await world.live()
    revisions = [event[0] for event in world.history]
    assert len(revisions) == len(set(revisions)), "two writes were told the same revision"
    assert world.failures, "the disk was never full: the storm was none"
