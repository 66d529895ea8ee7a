"""The informer against a server that drops watches, forgets history, and changes behind its back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.client.transport import Request, Response
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, PODS
from lightship.runtime.informer import Informer, InformerOptions
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi

MAPS = "/api/v1/configmaps"


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


class Flaky:
    """A transport that fails while ``down`` is set."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.down: errors.LightshipError | None = None
        self.asked = 0

    async def send(self, request: Request) -> Response:
        self.asked += 1
        if self.down is not None:
            raise self.down
        return await self.api.send(request)

    async def close(self) -> None:
        return None


class Seen:
    """Writes down what a subscriber is told, as words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, old: Object | None, new: Object | None) -> None:
        verb = "added" if old is None else "deleted" if new is None else "changed"
        self.words.append(f"{verb} {objects.name(new or old or {})}")


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def informer(api: MemoryApi, clock: FakeClock) -> AsyncIterator[Informer]:
    made = Informer(api.client(), CONFIGMAPS, clock=clock)
    yield made
    await made.stop()


async def started(informer: Informer) -> Informer:
    await informer.start()
    await asyncio.wait_for(informer.synced.wait(), 5)
    await settle()
    return informer


async def test_lists_in_pages_then_follows_changes(api: MemoryApi, clock: FakeClock) -> None:
    for number in range(7):
        api.insert(MAPS, config_map(f"m{number}"))
    informer = Informer(api.client(), CONFIGMAPS, clock=clock, options=InformerOptions(page_objects=3))
    await started(informer)
    assert api.lists_served == 3
    assert sorted(objects.name(obj) for obj in informer.list()) == [f"m{number}" for number in range(7)]

    seen = Seen()
    informer.subscribe(seen)
    seen.words.clear()
    client = api.client()
    await client.create(CONFIGMAPS, config_map("new"))
    await client.patch(CONFIGMAPS, Key("default", "m1"), {"data": {"a": "b"}})
    await client.delete(CONFIGMAPS, Key("default", "m2"))
    await settle()
    assert seen.words == ["added new", "changed m1", "deleted m2"]
    assert informer.get(Key("default", "m2")) is None
    assert (informer.get(Key("default", "m1")) or {})["data"] == {"a": "b"}
    await informer.stop()
    assert api.watches_open == 0


async def test_a_list_whose_pages_are_compacted_away_starts_anew_without_pages(
        api: MemoryApi, clock: FakeClock) -> None:
    for number in range(4):
        api.insert(MAPS, config_map(f"m{number}"))
    asked: list[str] = []

    class Compacting(Flaky):
        async def send(self, request: Request) -> Response:
            asked.append(request.query)
            response = await super().send(request)
            if len(asked) == 1:
                api.insert(MAPS, config_map("late"))
                api.forget_history()
            return response

    informer = Informer(Client(Compacting(api)), CONFIGMAPS, clock=clock, options=InformerOptions(page_objects=2))
    await started(informer)
    assert "limit=2" in asked[0] and "continue" in asked[1] and asked[2] == ""
    assert len(informer.list()) == 5
    await informer.stop()


async def test_resumes_a_dropped_watch_without_a_new_list(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    await started(informer)
    seen = Seen()
    informer.subscribe(seen)
    api.break_watches()
    api.insert(MAPS, config_map("meanwhile"))
    await clock.advance(2)
    assert seen.words == ["added meanwhile"]
    assert (api.lists_served, api.watches_open) == (1, 1)


async def test_410_lists_again_and_tells_of_what_vanished(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    api.insert(MAPS, config_map("stays"))
    gone = api.insert(MAPS, config_map("goes"))
    replaced = api.insert(MAPS, config_map("replaced"))
    await started(informer)
    seen = Seen()
    informer.subscribe(seen)
    seen.words.clear()
    api.break_watches()
    await settle()
    client = api.client()
    await client.delete(CONFIGMAPS, objects.key(gone))
    await client.delete(CONFIGMAPS, objects.key(replaced))
    await client.create(CONFIGMAPS, config_map("replaced"))
    api.forget_history()
    await clock.advance(5)
    assert seen.words == ["deleted goes", "deleted replaced", "added replaced"]
    assert api.lists_served == 2
    await client.create(CONFIGMAPS, config_map("after"))
    await settle()
    assert seen.words[-1] == "added after"


async def test_bookmarks_move_the_revision_so_that_compaction_does_not_hurt(
        api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    await started(informer)
    api.insert("/api/v1/pods", {"metadata": {"name": "noise", "namespace": "default"}})
    api.bookmark(MAPS, "v1", "ConfigMap")
    await settle()
    api.forget_history()
    await clock.advance(5)
    assert api.lists_served == 1
    assert api.watches_open == 1


async def test_an_unreachable_server_is_asked_less_and_less_and_reads_stay_possible(
        api: MemoryApi, clock: FakeClock) -> None:
    api.insert(MAPS, config_map("kept"))
    flaky = Flaky(api)
    informer = Informer(Client(flaky), CONFIGMAPS, clock=clock)
    await started(informer)
    flaky.down = errors.Unavailable("nobody is there")
    api.break_watches()
    await clock.advance(10)
    early = flaky.asked
    await clock.advance(100)
    assert 0 < flaky.asked - early <= 20
    assert [objects.name(obj) for obj in informer.list()] == ["kept"]
    flaky.down = None
    api.insert(MAPS, config_map("back"))
    await clock.advance(31)
    assert len(informer.list()) == 2
    await informer.stop()


async def test_a_refusal_is_retried_and_syncs_once_it_is_lifted(api: MemoryApi, clock: FakeClock) -> None:
    flaky = Flaky(api)
    flaky.down = errors.Forbidden("not yours")
    informer = Informer(Client(flaky), CONFIGMAPS, clock=clock)
    await informer.start()
    await clock.advance(1)
    assert not informer.synced.is_set()
    flaky.down = None
    await clock.advance(31)
    assert informer.synced.is_set()
    await informer.stop()


async def test_a_watch_that_ends_at_once_is_not_retried_in_a_spin(api: MemoryApi, clock: FakeClock) -> None:
    class Closing(Flaky):
        async def send(self, request: Request) -> Response:
            response = await super().send(request)
            return Response(status=200) if "watch=true" in request.query else response

    transport = Closing(api)
    informer = Informer(Client(transport), CONFIGMAPS, clock=clock)
    await started(informer)
    await clock.advance(60)
    assert transport.asked < 15
    await informer.stop()


async def test_idle_it_sleeps_on_its_stream(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    await started(informer)
    assert clock.sleepers == 0


async def test_indexes_follow_owners_and_labels(api: MemoryApi, clock: FakeClock) -> None:
    informer = Informer(api.client(), PODS, clock=clock)
    informer.index_label("run")

    def pod(name: str, owner: str, run: str) -> Object:
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": name, "namespace": "default", "labels": {"run": run}, "ownerReferences": [{"uid": owner}]}}

    api.insert("/api/v1/pods", pod("a", "owner-1", "r1"))
    api.insert("/api/v1/pods", pod("b", "owner-1", "r2"))
    await started(informer)
    assert [objects.name(obj) for obj in informer.owned_by("owner-1")] == ["a", "b"]
    await api.client().patch(PODS, Key("default", "b"),
                             {"metadata": {"labels": {"run": "r1"}, "ownerReferences": [{"uid": "owner-2"}]}})
    await settle()
    assert [objects.name(obj) for obj in informer.owned_by("owner-1")] == ["a"]
    assert [objects.name(obj) for obj in informer.labelled("run", "r1")] == ["a", "b"]
    assert informer.labelled("run", "r2") == []
    await informer.stop()


async def test_reads_its_own_writes_and_never_goes_back(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    await started(informer)
    client = api.client()
    made = await client.create(CONFIGMAPS, config_map("own"))
    informer.observe(made)
    assert informer.get(Key("default", "own")) is not None
    await settle()
    await client.delete(CONFIGMAPS, Key("default", "own"))
    await settle()
    informer.observe(made)  # an answer that comes late must not bring the dead back
    assert informer.get(Key("default", "own")) is None


async def test_a_write_is_published_once(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    await started(informer)
    seen = Seen()
    informer.subscribe(seen)
    informer.observe(await api.client().create(CONFIGMAPS, config_map("own")))
    await settle()
    assert seen.words == ["added own"]


async def test_a_subscriber_that_raises_does_not_stop_the_others(
        api: MemoryApi, clock: FakeClock, informer: Informer, caplog: pytest.LogCaptureFixture) -> None:
    def bad(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("a bug")

    seen = Seen()
    informer.subscribe(bad)
    informer.subscribe(seen)
    await started(informer)
    api.insert(MAPS, config_map("a"))
    await settle()
    assert seen.words == ["added a"]
    assert "a subscriber raised" in caplog.text


async def test_one_namespace_and_a_label_selector(api: MemoryApi, clock: FakeClock) -> None:
    api.insert(MAPS, config_map("in") | {"metadata": {"name": "in", "namespace": "a", "labels": {"x": "1"}}})
    api.insert(MAPS, config_map("other", namespace="a"))
    api.insert(MAPS, config_map("elsewhere", namespace="b"))
    informer = Informer(api.client(), CONFIGMAPS, Selection(namespace="a", labels="x=1"), clock)
    await started(informer)
    assert [objects.name(obj) for obj in informer.list("a")] == ["in"]
    await informer.stop()


async def test_managed_fields_are_not_kept(api: MemoryApi, clock: FakeClock, informer: Informer) -> None:
    obj: dict[str, Any] = config_map("a")
    obj["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    api.insert(MAPS, obj)
    await started(informer)
    assert "managedFields" not in objects.meta(informer.list()[0])
