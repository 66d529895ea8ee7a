"""The manager: shared informers, exclusion of a key, retries, waking, an orderly stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, PODS
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi

MAPS = "/api/v1/configmaps"


def config_map(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


class Recording:
    """A reconciler that writes down its passes and does what it is told."""

    def __init__(self, act: Callable[[Key], object] = lambda key: None) -> None:
        self.passes: list[str] = []
        self.act = act

    async def reconcile(self, key: Key) -> Result:
        self.passes.append(key.name)
        result = self.act(key)
        if isinstance(result, Exception):
            raise result
        return result if isinstance(result, Result) else DONE


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[Manager]:
    task = asyncio.create_task(manager.run())
    try:
        await asyncio.wait_for(manager.synced.wait(), 5)
        await settle()
        yield manager
    finally:
        await manager.stop()
        await asyncio.wait_for(task, 5)


def on_maps(reconciler: Recording, *, name: str = "maps", workers: int = 4) -> Controller:
    return Controller(name=name, reconciler=reconciler, watches=(Watch(resource=CONFIGMAPS),), workers=workers)


async def test_every_object_gets_a_first_pass_and_every_change_another(api: MemoryApi, clock: FakeClock) -> None:
    api.insert(MAPS, config_map("there"))
    reconciler = Recording()
    manager = Manager(api.client, clock)
    manager.add(on_maps(reconciler))
    async with running(manager):
        assert reconciler.passes == ["there"]
        api.insert(MAPS, config_map("new"))
        await settle()
        await api.client().delete(CONFIGMAPS, Key("default", "there"))
        await settle()
        assert reconciler.passes == ["there", "new", "there"]
        assert manager.idle()
        assert manager.counters()["maps"].passes == 3


async def test_controllers_share_one_informer(api: MemoryApi, clock: FakeClock) -> None:
    manager = Manager(api.client, clock)
    manager.add(on_maps(Recording(), name="one"))
    manager.add(on_maps(Recording(), name="two"))
    assert manager.informer(CONFIGMAPS) is manager.informer(CONFIGMAPS)
    async with running(manager):
        assert (api.lists_served, api.watches_open) == (1, 1)
    assert api.watches_open == 0


async def test_a_child_wakes_its_owner_also_when_it_changes_hands(api: MemoryApi, clock: FakeClock) -> None:
    reconciler = Recording()
    manager = Manager(api.client, clock)
    manager.add(Controller(name="owner", reconciler=reconciler,
                           watches=(Watch(resource=PODS, keys=owner_key("Job")),)))

    def owned(name: str) -> list[dict[str, object]]:
        return [{"kind": "Job", "name": name, "uid": name, "controller": True}]

    async with running(manager):
        api.insert("/api/v1/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": "p", "namespace": "default", "ownerReferences": owned("first")}})
        await settle()
        assert reconciler.passes == ["first"]
        await api.client().patch(PODS, Key("default", "p"), {"metadata": {"ownerReferences": owned("second")}})
        await settle()
        assert sorted(reconciler.passes[1:]) == ["first", "second"]


async def test_one_key_never_runs_twice_at_once(api: MemoryApi, clock: FakeClock) -> None:
    inside: set[Key] = set()
    together = 0

    class Slow:
        def __init__(self) -> None:
            self.go = asyncio.Event()
            self.passes = 0

        async def reconcile(self, key: Key) -> Result:
            nonlocal together
            assert key not in inside
            inside.add(key)
            together = max(together, len(inside))
            self.passes += 1
            await self.go.wait()
            inside.discard(key)
            return DONE

    slow = Slow()
    manager = Manager(api.client, clock)
    manager.add(Controller(name="maps", reconciler=slow, watches=(Watch(resource=CONFIGMAPS),), workers=8))
    async with running(manager):
        for name in ("a", "b", "c"):
            api.insert(MAPS, config_map(name))
        for number in range(5):
            await settle()
            await api.client().patch(CONFIGMAPS, Key("default", "a"), {"data": {"n": str(number)}})
            manager.wake("maps", Key("default", "a"))
        await settle()
        assert slow.passes == 3 and together == 3
        slow.go.set()
        await settle()
        assert slow.passes == 4, "the changes during the pass make one more, together"


async def test_a_failing_pass_is_logged_with_its_key_and_retried(
        api: MemoryApi, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    failures = [errors.Unavailable("the store is away"), ValueError("a bug")]
    reconciler = Recording(lambda key: failures.pop(0) if failures else None)
    manager = Manager(api.client, clock)
    manager.add(on_maps(reconciler))
    api.insert(MAPS, config_map("a"))
    with caplog.at_level(logging.WARNING):
        async with running(manager):
            await clock.advance(1)
            assert reconciler.passes == ["a", "a", "a"]
            assert manager.counters()["maps"].failures == 2
    records = [record for record in caplog.records if record.getMessage() == "a pass failed; will try again"]
    assert [vars(record)["key"] for record in records] == ["default/a", "default/a"]
    assert records[1].exc_info is not None, "a bug shows where it is"


async def test_a_conflict_is_retried_quietly(
        api: MemoryApi, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    failures = [errors.Conflict("someone was faster")]
    reconciler = Recording(lambda key: failures.pop(0) if failures else None)
    manager = Manager(api.client, clock)
    manager.add(on_maps(reconciler))
    api.insert(MAPS, config_map("a"))
    with caplog.at_level(logging.INFO):
        async with running(manager):
            await clock.advance(1)
    assert reconciler.passes == ["a", "a"]
    assert not [record for record in caplog.records if "pass failed" in record.getMessage()]
    assert manager.counters()["maps"].conflicts == 1


async def test_requeue_after_brings_the_key_back_on_time(api: MemoryApi, clock: FakeClock) -> None:
    reconciler = Recording(lambda key: Result(requeue_after_seconds=30) if len(reconciler.passes) == 1 else None)
    manager = Manager(api.client, clock)
    manager.add(on_maps(reconciler))
    api.insert(MAPS, config_map("a"))
    async with running(manager):
        await clock.advance(29)
        assert len(reconciler.passes) == 1
        await clock.advance(1)
        assert len(reconciler.passes) == 2
        await clock.advance(100)
        assert len(reconciler.passes) == 2


async def test_it_is_asleep_when_there_is_nothing_to_do(api: MemoryApi, clock: FakeClock) -> None:
    api.insert(MAPS, config_map("a"))
    manager = Manager(api.client, clock)
    manager.add(on_maps(Recording()))
    async with running(manager):
        assert clock.sleepers == 0


async def test_stop_lets_a_pass_finish_and_starts_no_other(api: MemoryApi, clock: FakeClock) -> None:
    finished: list[str] = []
    go = asyncio.Event()

    class Slow:
        async def reconcile(self, key: Key) -> Result:
            await go.wait()
            finished.append(key.name)
            return DONE

    manager = Manager(api.client, clock)
    manager.add(Controller(name="maps", reconciler=Slow(), watches=(Watch(resource=CONFIGMAPS),), workers=1))
    api.insert(MAPS, config_map("a"))
    api.insert(MAPS, config_map("b"))
    run = asyncio.create_task(manager.run())
    await manager.synced.wait()
    await settle()
    stop = asyncio.create_task(manager.stop())
    await settle()
    assert not stop.done()
    go.set()
    await asyncio.wait_for(asyncio.gather(stop, run), 5)
    assert finished == ["a"]


async def test_each_controller_acts_as_itself(api: MemoryApi, clock: FakeClock) -> None:
    asked: list[str] = []

    def client_for(name: str) -> Client:
        asked.append(name)
        return api.client(name)

    manager = Manager(client_for, clock)
    manager.add(on_maps(Recording()))
    assert manager.client_for("maps").field_manager == "maps"
    assert asked == ["informers", "maps"]


async def test_an_informer_asked_for_later_runs_too(api: MemoryApi, clock: FakeClock) -> None:
    manager = Manager(api.client, clock)
    async with running(manager):
        api.insert(MAPS, config_map("a"))
        late = manager.informer(CONFIGMAPS)
        await asyncio.wait_for(late.synced.wait(), 5)
        assert [objects.name(obj) for obj in late.list()] == ["a"]


async def test_two_controllers_of_one_name_are_refused(api: MemoryApi, clock: FakeClock) -> None:
    manager = Manager(api.client, clock)
    manager.add(on_maps(Recording()))
    with pytest.raises(ValueError, match='named "maps"'):
        manager.add(on_maps(Recording()))
