"""Events are counted, not repeated, and never get in the way; finalizers are shared with others."""

from __future__ import annotations

import logging

import pytest

from lightship import errors
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, EVENTS
from lightship.runtime import finalizers
from lightship.runtime.events import COMBINED, LIMIT_BURST_EVENTS, LIMIT_MESSAGE_CHARACTERS, REFILL_SECONDS, Recorder
from lightship.testing.clock import FakeClock
from lightship.testing.memory import MemoryApi, Write
from tests.unit.builtin import build

POD = build.pod("a") | {"metadata": {"name": "a", "namespace": "default", "uid": "pod-uid", "resourceVersion": "7"}}


async def test_an_event_says_of_whom_what_when_and_how_often() -> None:
    clock, api = FakeClock(), MemoryApi()
    recorder = Recorder(api.client(), "scheduler", clock)
    await recorder.event(POD, "Warning", "FailedScheduling", "no room")
    await clock.advance(60)
    for _ in range(2):
        await recorder.event(POD, "Warning", "FailedScheduling", "no room")
    await recorder.event(POD, "Normal", "Scheduled", "found room")
    first, second = api.all(EVENTS.path())
    assert first["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": "a", "namespace": "default",
                                       "uid": "pod-uid", "resourceVersion": "7"}
    assert (first["count"], first["firstTimestamp"], first["lastTimestamp"]) == (
        3, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    assert (first["type"], first["reason"], first["message"], first["source"]) == (
        "Warning", "FailedScheduling", "no room", {"component": "scheduler"})
    assert objects.namespace(first) == "default"
    assert (second["reason"], second["count"]) == ("Scheduled", 1)


async def test_counting_goes_on_after_a_restart_and_anew_after_expiry() -> None:
    api = MemoryApi()
    await Recorder(api.client(), "x").event(POD, "Normal", "R", "m")
    recorder = Recorder(api.client(), "x")
    await recorder.event(POD, "Normal", "R", "m")
    event = api.all(EVENTS.path())[0]
    assert event["count"] == 2
    await api.client().delete(EVENTS, objects.key(event))
    await recorder.event(POD, "Normal", "R", "m")
    assert api.all(EVENTS.path())[0]["count"] == 1


async def test_an_event_of_a_cluster_scoped_object_lies_in_default_and_messages_are_bounded() -> None:
    api = MemoryApi()
    await Recorder(api.client(), "x").event(build.node(), "Normal", "R", "m" * 5000)
    event = api.all(EVENTS.path())[0]
    assert objects.namespace(event) == "default" and "namespace" not in event["involvedObject"]
    assert len(event["message"]) == LIMIT_MESSAGE_CHARACTERS


async def test_one_that_cannot_be_written_is_logged_and_forgiven(caplog: pytest.LogCaptureFixture) -> None:
    api = MemoryApi()
    api.fault = lambda write: errors.Unavailable("full")
    with caplog.at_level(logging.WARNING):
        await Recorder(api.client(), "x").event(POD, "Normal", "R", "m")
    assert "could not record an event" in caplog.text


def config_map(**metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"} | metadata}


async def test_finalizers_are_added_and_removed_beside_others() -> None:
    api = MemoryApi()
    stale = api.insert(CONFIGMAPS.path(), config_map(finalizers=["other/one"]))
    client = api.client()
    await client.patch(CONFIGMAPS, Key("default", "a"), {"metadata": {"finalizers": ["other/one", "other/two"]}})
    held = await finalizers.add(client, CONFIGMAPS, stale, "ours")
    assert objects.finalizers(held) == ["other/one", "other/two", "ours"], "the conflict was read again"
    assert await finalizers.add(client, CONFIGMAPS, held, "ours") is held
    await finalizers.remove(client, CONFIGMAPS, stale | held, "ours")
    await finalizers.remove(client, CONFIGMAPS, held, "ours")
    assert objects.finalizers(api.all(CONFIGMAPS.path())[0]) == ["other/one", "other/two"]


async def test_what_is_going_cannot_be_held_and_what_is_gone_needs_no_letting_go() -> None:
    api = MemoryApi()
    client = api.client()
    going = api.insert(CONFIGMAPS.path(), config_map(finalizers=["x"], deletionTimestamp="2026-01-01T00:00:00Z"))
    assert await finalizers.add(client, CONFIGMAPS, going, "ours") is going
    await finalizers.remove(client, CONFIGMAPS, going, "x")
    assert api.all(CONFIGMAPS.path()) == [], "the last finalizer gone, it is gone"
    await finalizers.remove(client, CONFIGMAPS, going, "x")


async def test_one_that_others_keep_writing_is_given_up_with_a_conflict() -> None:
    api = MemoryApi()
    there = api.insert(CONFIGMAPS.path(), config_map(finalizers=["ours"]))

    def busy(write: Write) -> errors.LightshipError:
        return errors.Conflict("changed")

    api.fault = busy
    with pytest.raises(errors.Conflict, match="others keep writing"):
        await finalizers.remove(api.client(), CONFIGMAPS, there, "ours")
    assert len(api.writes) == finalizers.LIMIT_TRIES


async def test_many_that_differ_in_their_words_are_combined() -> None:
    clock, api = FakeClock(), MemoryApi()
    recorder = Recorder(api.client(), "x", clock)
    for number in range(14):
        await recorder.event(POD, "Normal", "Made", f"made number {number}")
    told = api.all(EVENTS.path())
    assert len(told) == 11
    combined = next(event for event in told if event["message"].startswith(COMBINED))
    assert (combined["message"], combined["count"]) == (f"{COMBINED}made number 13", 4)
    await clock.advance(601)
    await recorder.event(POD, "Normal", "Made", "made number 20")
    assert api.all(EVENTS.path())[-1]["message"] == "made number 20"


async def test_an_object_that_tells_too_much_is_heard_now_and_then() -> None:
    clock, api = FakeClock(), MemoryApi()
    recorder = Recorder(api.client(), "x", clock)
    for _ in range(LIMIT_BURST_EVENTS + 20):
        await recorder.event(POD, "Warning", "BackOff", "again")
    assert api.all(EVENTS.path())[0]["count"] == LIMIT_BURST_EVENTS
    await recorder.event(build.node(), "Normal", "Other", "another object is heard")
    assert len(api.all(EVENTS.path())) == 2
    await clock.advance(REFILL_SECONDS)
    await recorder.event(POD, "Warning", "BackOff", "again")
    await recorder.event(POD, "Warning", "BackOff", "again")
    assert api.all(EVENTS.path())[0]["count"] == LIMIT_BURST_EVENTS + 1
