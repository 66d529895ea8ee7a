"""Expectations: what was just written or deleted is known, however far behind the informer is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.runtime.expectations import Expectations
from lightship.runtime.informer import Informer
from lightship.testing.clock import settle
from lightship.testing.memory import MemoryApi


def pod(name: str, **metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"} | metadata}


class Place:
    def __init__(self) -> None:
        self.api = MemoryApi()
        self.client = self.api.client()
        self.informer = Informer(self.client, PODS)
        self.expectations = Expectations(self.informer)

    def seen(self) -> list[str]:
        return [objects.name(found) for found in self.expectations.view(self.informer.list())]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    await made.informer.start()
    await made.informer.synced.wait()
    yield made
    await made.informer.stop()


async def test_a_deletion_is_known_at_once_and_forgotten_once_it_is_seen(place: Place) -> None:
    made = await place.client.create(PODS, pod("a"))
    await settle()
    place.api.stall_watches()
    place.expectations.deleted(made, await place.client.delete(PODS, Key("default", "a")))
    assert place.seen() == [] and len(place.expectations) == 1
    assert place.informer.get(Key("default", "a")) is not None, "the informer is behind"
    place.api.resume_watches()
    await settle()
    assert place.informer.get(Key("default", "a")) is None and len(place.expectations) == 0


async def test_a_deletion_that_waits_shows_its_time(place: Place) -> None:
    made = await place.client.create(PODS, pod("a", finalizers=["keep"]))
    await settle()
    place.api.stall_watches()
    place.expectations.deleted(made, await place.client.delete(PODS, Key("default", "a")))
    [found] = place.expectations.view(place.informer.list())
    assert objects.deleting(found)


async def test_the_last_finalizer_of_a_deleted_object_ends_it(place: Place) -> None:
    await place.client.create(PODS, pod("a", finalizers=["keep"]))
    await place.client.delete(PODS, Key("default", "a"))
    await settle()
    place.api.stall_watches()
    place.expectations.wrote(await place.client.patch(PODS, Key("default", "a"), {"metadata": {"finalizers": None}}))
    assert place.seen() == []


async def test_another_of_that_name_is_another(place: Place) -> None:
    made = await place.client.create(PODS, pod("a"))
    await settle()
    place.expectations.deleted(made, await place.client.delete(PODS, Key("default", "a")))
    place.expectations.wrote(await place.client.create(PODS, pod("a")))
    assert place.seen() == ["a"]


async def test_what_was_created_is_there_at_once(place: Place) -> None:
    place.api.stall_watches()
    place.expectations.wrote(await place.client.create(PODS, pod("a")))
    assert place.seen() == ["a"]
