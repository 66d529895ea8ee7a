"""Events are forgotten after an hour, and the oldest when there are too many."""

from __future__ import annotations

from datetime import UTC, datetime

from lightship.cluster.builtin import events_expiry
from lightship.cluster.builtin.events_expiry import Seen, decide
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seen(count: int, age_seconds: float) -> list[Seen]:
    return [Seen(NOW.timestamp() - age_seconds, Key("default", f"{age_seconds}-{number}")) for number in range(count)]


def test_the_old_go_and_the_next_look_is_when_the_next_is_old() -> None:
    doomed, pause = decide([*seen(2, 4000), *seen(1, 3500), *seen(1, 10)], NOW)
    assert sorted(key.name for key in doomed) == ["4000-0", "4000-1"]
    assert pause == 100
    assert decide([], NOW) == ([], events_expiry.LONGEST_PAUSE_SECONDS)
    assert decide(seen(1, 3599), NOW) == ([], events_expiry.SHORTEST_PAUSE_SECONDS)


def test_of_too_many_the_oldest_go() -> None:
    doomed, _ = decide([*seen(events_expiry.LIMIT_EVENTS, 10), *seen(3, 20)], NOW)
    assert sorted(key.name for key in doomed) == ["20-0", "20-1", "20-2"]


def event(name: str, **more: object) -> Object:
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}} | more


def test_the_latest_of_its_times_counts() -> None:
    assert events_expiry.last_told(event("a", firstTimestamp="2026-01-01T00:00:00Z",
                                         series={"lastObservedTime": "2026-01-01T00:00:02.5Z"})) == (
        datetime(2026, 1, 1, 0, 0, 2, 500000, tzinfo=UTC).timestamp())
    assert events_expiry.last_told(event("a", eventTime="nonsense", lastTimestamp=None)) == 0.0


async def test_it_works_by_itself() -> None:
    clock = FakeClock()
    api = MemoryApi(clock)
    api.insert("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    api.insert(EVENTS.path(), event("old", lastTimestamp="2025-12-31T23:10:00Z"))
    api.insert(EVENTS.path(), event("new", lastTimestamp="2026-01-01T00:00:00Z"))
    for number in range(events_expiry.PAGE_EVENTS):
        api.insert(EVENTS.path(), event(f"old-{number}", lastTimestamp="2025-12-31T22:00:00Z") | {
            "metadata": {"name": f"old-{number}", "namespace": "default", "creationTimestamp": "2025-12-31T22:00:00Z"}})
    manager = Manager(api.client, clock)
    manager.add(events_expiry.controller(build.deps(manager, clock)))
    async with build.running(manager):
        await settle(2000)
        assert sorted(objects.name(found) for found in api.all(EVENTS.path())) == ["new", "old"], (
            "the creation is a time, too")
        await clock.advance(3700)
        await settle(200)
        assert api.all(EVENTS.path()) == []
