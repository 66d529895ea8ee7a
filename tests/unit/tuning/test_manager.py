"""Trials that report by themselves: who may, what is kept, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.tuning import kinds
from lightship.domains.tuning.collectors import manager, messages
from lightship.domains.tuning.collectors.manager import Manager, ManagerDeps
from lightship.kube import times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, Resource
from lightship.records import observations
from lightship.records.database import Database
from lightship.records.observations import Range
from lightship.records.readings import Reading
from lightship.runtime.informer import Informer
from lightship.testing.memory import MemoryApi

T0 = times.parse("2026-01-01T00:00:00.25Z")
READINGS = (Reading(time=T0, metric="loss", value="0.5"), Reading(metric="acc", value=""))


def pod(name: str, namespace: str, ip: str, phase: str = "Running") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {}, "status": {"podIP": ip, "phase": phase}}


class Scene:
    def __init__(self, database: Database) -> None:
        self.api = MemoryApi()
        self.client = self.api.client()
        self.informers = {resource: Informer(self.client, resource, EVERYTHING) for resource in (PODS, kinds.TRIALS)}
        self.database = database
        self.told: list[Key] = []

    def informer(self, resource: Resource, selection: Selection) -> Informer:
        return self.informers[resource]

    async def reported(self, key: Key, readings: Sequence[Reading]) -> None:
        self.told.append(key)

    async def start(self, *pods: Object) -> Manager:
        for namespace in ("one", "two"):
            await self.client.create(kinds.TRIALS, {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {
                "name": f"t-{namespace}", "namespace": namespace}})
        for each in pods:
            await self.client.create(PODS, each)
        for informer in self.informers.values():
            await informer.start()
            await informer.synced.wait()
        return Manager(ManagerDeps(informer=self.informer, database=self.database, reported=self.reported))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    await database.migrate()
    made = Scene(database)
    yield made
    for informer in made.informers.values():
        await informer.stop()
    await database.close()


async def test_a_pod_reports_for_trials_of_its_own_namespace_alone(scene: Scene) -> None:
    made = await scene.start(pod("a", "one", "10.244.0.2"), pod("b", "two", "10.244.0.3"))
    assert await made.report("10.244.0.2", messages.report_of("t-one", READINGS)) == b""
    assert scene.told == [Key("one", "t-one")]
    with pytest.raises(errors.NotFound, match='no trial "t-two" in the caller\'s namespace "one"'):
        await made.report("10.244.0.2", messages.report_of("t-two", READINGS))

    async def get(ip: str, trial: str) -> list[Reading]:
        return messages.readings_of(await made.get(ip, messages.report_of(trial, ())))

    assert await get("10.244.0.2", "t-one") == [READINGS[1], READINGS[0]]
    for call in (made.get, made.delete):
        with pytest.raises(errors.NotFound):
            await call("10.244.0.3", messages.report_of("t-one", ()))
    await made.delete("10.244.0.2", messages.report_of("t-one", ()))
    assert await get("10.244.0.2", "t-one") == []


async def test_who_is_no_pod_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "LIMIT_UNKNOWN_SECONDS", 0.01)
    made = await scene.start(pod("over", "one", "10.244.0.2", "Succeeded"), pod("c", "one", "10.244.0.9"),
                             pod("d", "two", "10.244.0.9"))
    for ip in ("10.244.0.2", "127.0.0.1", "10.244.0.9"):  # one that has ended, none, and two at one address
        with pytest.raises(errors.Unauthenticated, match=f"no Pod is known at {ip}"):
            await made.report(ip, messages.report_of("t-one", READINGS))
    assert await scene.database.read(lambda c: observations.log(c, "one", "t-one")) == []


async def test_a_pod_whose_address_is_not_told_yet_is_waited_for(scene: Scene) -> None:
    made = await scene.start()
    reporting = asyncio.create_task(made.report("10.244.0.2", messages.report_of("t-one", READINGS)))
    await asyncio.sleep(0)
    await scene.client.create(PODS, pod("a", "one", "10.244.0.2"))
    assert await asyncio.wait_for(reporting, 10) == b""


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x12\x02\x0a\x05", b"\x0b", b"\x12\x08\x0a\x06\x0a\x04soon"])
def test_broken_messages_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(errors.InvalidInput):
        messages.report(data)


def test_messages_read_back_what_they_say() -> None:
    assert messages.report(messages.report_of("t", READINGS)) == messages.Report(trial="t", readings=READINGS)
    asked = b"\x0a\x01t\x12\x04loss\x1a\x142026-01-01T00:00:00Z\x22\x00"
    assert messages.query(asked) == messages.Query(trial="t", wanted=Range(
        metric="loss", start=times.parse("2026-01-01T00:00:00Z")))
    assert messages.readings_of(messages.log(READINGS)) == list(READINGS)
