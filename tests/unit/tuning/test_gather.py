"""Gathering against an API in memory that serves logs: live, broken off, read again, and settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lightship.client.client import EVERYTHING, Client, Selection
from lightship.client.transport import Request, Response
from lightship.domains.tuning import kinds
from lightship.domains.tuning.collectors import gather
from lightship.domains.tuning.collectors.gather import CollectorDeps, Collectors
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, Resource
from lightship.lib.clock import SYSTEM
from lightship.records import observations
from lightship.records.database import Database
from lightship.records.readings import Reading
from lightship.runtime.informer import Informer
from lightship.testing.memory import MemoryApi

STAMP = b"2026-01-01T00:00:0%d.000000000Z "


class LogApi(MemoryApi):
    """Serves logs: each request takes the next script of its container, a list of chunks, errors and events."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: dict[str, list[list[Any]]] = {}
        self.asked: list[str] = []
        self.page = b""

    async def send(self, request: Request) -> Response:
        if request.path.endswith("/log"):
            name = request.path.split("/")[-2]
            self.asked.append(f"{name}?{request.query}")
            scripts = self.scripts.get(name, [[]])
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
            return Response(status=200, headers={}, body=_play(script))
        if "/proxy" in request.path:
            self.asked.append(request.path)
            return Response(status=200, headers={}, body=self.page)
        return await super().send(request)


async def _play(script: list[Any]) -> AsyncIterator[bytes]:
    for step in script:
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, Exception):
            raise step
        else:
            yield step


def line(text: str, second: int = 0) -> bytes:
    return STAMP % second + text.encode() + b"\n"


def trial(name: str = "t", kind: str = "StdOut", **more: Any) -> Object:
    spec = {"objective": {"type": "maximize", "objectiveMetricName": "acc", "additionalMetricNames": ["loss"],
                          "metricStrategies": [{"name": "acc", "value": "max"}]},
            "metricsCollector": {"collector": {"kind": kind}}, "primaryContainerName": "main"} | more
    return {"metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}"}, "spec": spec}


def pod(name: str = "t-pod", phase: str = "Running", **more: Any) -> Object:
    over = {"terminated": {"exitCode": 0 if phase == "Succeeded" else 1}}
    state = {"running": {}} if phase == "Running" else over
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "team", "labels": {"katib.kubeflow.org/trial": "t"} | more},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": phase, "containerStatuses": [{"name": "main", "state": state}]}}


class Scene:
    def __init__(self, database: Database) -> None:
        self.api = LogApi()
        self.client: Client = self.api.client()
        self.pods = Informer(self.client, PODS, EVERYTHING)
        self.trials = Informer(self.client, kinds.TRIALS, EVERYTHING)
        self.database = database
        self.woken: list[Key] = []

    def informer(self, resource: Resource, selection: Selection) -> Informer:
        return self.pods if resource == PODS else self.trials

    async def start(self) -> Collectors:
        for informer in (self.pods, self.trials):
            await informer.start()
            await informer.synced.wait()
        return Collectors(CollectorDeps(client=self.client, informer=self.informer, database=self.database,
                                        clock=SYSTEM, wake=self.woken.append))

    async def put(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        seen = asyncio.Event()
        stop = self.pods.subscribe(lambda old, new: seen.set() if new and new["metadata"]["name"] == name and
                                   new["status"]["phase"] == obj["status"]["phase"] else None)
        try:
            await self.client.create(PODS, obj)
        except Exception:
            await self.client.patch(PODS, Key("team", name), {"status": obj["status"]}, subresource="status")
        await asyncio.wait_for(seen.wait(), 10)
        stop()

    async def log(self) -> list[str]:
        found = await self.database.read(lambda c: observations.log(c, "team", "t"))
        return [one.value for one in found]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    await database.migrate()
    made = Scene(database)
    yield made
    for informer in (made.pods, made.trials):
        await informer.stop()
    await database.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


async def test_a_pod_that_had_ended_before_anybody_looked_is_read_whole(scene: Scene) -> None:
    scene.api.scripts["t-pod"] = [[line("acc=0.5"), line("acc=0.9", 1) + line("noise"), line("acc=0.7 loss=3", 2)]]
    collectors = await scene.start()
    await scene.put(pod(phase="Succeeded"))
    for _ in range(2):  # a pass that is cut short comes again, to the same end
        assert await collectors.collect(trial()) == [
            {"name": "acc", "latest": "0.7", "min": "0.5", "max": "0.9"},
            {"name": "loss", "latest": "3", "min": "3", "max": "3"}]
        assert await scene.log() == ["0.5", "0.9", "0.7", "3"]
    assert len(collectors) == 0
    await collectors.close()


async def test_the_end_of_a_live_log_is_waited_for(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.api.scripts["t-pod"] = [[line("acc=0.5")[:-3], line("acc=0.5")[-3:], gate, line("acc=0.6")[:-1]]]
    collectors = await scene.start()
    collectors.follow(trial())
    await scene.put(pod())
    await until(lambda: [one["max"] for one in collectors.progress(trial())] == ["0.5"])
    settling = asyncio.create_task(collectors.collect(trial()))
    await scene.put(pod(phase="Succeeded"))
    assert not settling.done()
    gate.set()
    assert await settling == [{"name": "acc", "latest": "0.6", "min": "0.5", "max": "0.6"}]
    assert len(scene.api.asked) == 1
    await collectors.close()


async def test_a_log_that_breaks_off_is_read_again_and_nothing_counts_twice(scene: Scene) -> None:
    from lightship import errors

    rules = [{"name": "acc", "value": "0.9", "comparison": "less", "startStep": 3}]
    scene.api.scripts["t-pod"] = [[line("acc=0.1"), line("acc=0.2"), errors.Unavailable("the connection broke")],
                                  [line("acc=0.1"), line("acc=0.2")]]
    collectors = await scene.start()
    await scene.put(pod(phase="Succeeded"))
    assert await collectors.collect(trial(earlyStoppingRules=rules)) is not None
    assert await scene.log() == ["0.1", "0.2"] and scene.woken == []
    await collectors.close()


async def test_a_trial_that_meets_its_rule_is_told_of_once_while_it_runs(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.api.scripts["t-pod"] = [[line("acc=0.1"), line("acc=0.2"), line("acc=0.3"), gate]]
    stopping = trial(earlyStoppingRules=[{"name": "acc", "value": "0.5", "comparison": "less", "startStep": 2}])
    collectors = await scene.start()
    collectors.follow(stopping)
    await scene.put(pod())
    await until(lambda: len(scene.woken) == 1)
    rule = collectors.met(stopping)
    assert rule is not None and (rule.name, rule.value, rule.comparison) == ("acc", "0.5", "less")
    assert await collectors.collect(stopping) is not None  # without waiting for the Pod, which goes on
    assert scene.woken == [Key("team", "t")]
    await collectors.close()


async def test_pods_that_ended_well_count_and_others_only_where_none_did(scene: Scene) -> None:
    scene.api.scripts |= {"bad": [[line("acc=0.9")]], "good": [[line("acc=0.1")]], "other": [[line("acc=1")]]}
    collectors = await scene.start()
    labelled = trial(primaryPodLabels={"role": "master"})
    await scene.put(pod("bad", "Failed", role="master"))
    await scene.put(pod("other", "Succeeded", role="worker"))
    assert await collectors.collect(labelled) == [{"name": "acc", "latest": "0.9", "min": "0.9", "max": "0.9"}]
    await scene.put(pod("good", "Succeeded", role="master"))
    assert await collectors.collect(labelled) == [{"name": "acc", "latest": "0.1", "min": "0.1", "max": "0.1"}]
    await collectors.close()


async def test_metrics_that_never_come_are_none_and_so_is_a_trial_without_pods(scene: Scene) -> None:
    scene.api.scripts["t-pod"] = [[line("loss=1"), line("the acc is fine")]]
    collectors = await scene.start()
    assert await collectors.collect(trial()) is None
    await scene.put(pod(phase="Succeeded"))
    assert await collectors.collect(trial()) is None
    await collectors.close()


async def test_what_was_kept_counts_when_the_pods_are_gone_until_the_trial_goes_too(scene: Scene) -> None:
    scene.api.scripts["t-pod"] = [[line("acc=0.5")]]
    collectors = await scene.start()
    await scene.put(pod(phase="Succeeded"))
    first = await collectors.collect(trial())
    await scene.client.delete(PODS, Key("team", "t-pod"))
    await until(lambda: scene.pods.get(Key("team", "t-pod")) is None)
    assert await collectors.collect(trial()) == first
    await collectors.forget(trial())
    assert await scene.log() == [] and await collectors.collect(trial()) is None
    await collectors.close()


async def test_pushed_metrics_are_those_in_the_records(scene: Scene) -> None:
    collectors = await scene.start()
    collectors.follow(trial(kind="Push"))
    await scene.put(pod())
    await scene.database.run(lambda c: observations.report(c, "team", "t", [
        Reading(metric="acc", value="0.4")]))
    assert await collectors.collect(trial(kind="Push")) == [
        {"name": "acc", "latest": "0.4", "min": "0.4", "max": "0.4"}]
    assert scene.api.asked == []
    await collectors.close()


async def test_a_page_is_fetched_until_the_pod_has_ended_and_only_changes_count(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightship.domains.tuning.collectors.follow.SCRAPE_SECONDS", 0.01)
    scene.api.page = b"acc 0.5\n"
    collectors = await scene.start()
    scraped = trial(kind="PrometheusMetric")
    collectors.follow(scraped)
    await scene.put(pod())
    await until(lambda: len(scene.api.asked) > 3)
    assert scene.api.asked[0].endswith("/pods/t-pod:8080/proxy/metrics")
    scene.api.page = b"acc 0.7\n"
    await until(lambda: [one["latest"] for one in collectors.progress(scraped)] == ["0.7"])
    await scene.put(pod(phase="Succeeded"))
    assert await collectors.collect(scraped) == [{"name": "acc", "latest": "0.7", "min": "0.5", "max": "0.7"}]
    assert await scene.log() == ["0.5", "0.7"]
    await collectors.close()


async def test_many_readings_are_thinned_in_the_log_and_counted_in_the_observation(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "LIMIT_KEPT_READINGS", 100)
    scene.api.scripts["t-pod"] = [[b"".join(line(f"acc={i}") for i in range(5000))]]
    collectors = await scene.start()
    await scene.put(pod(phase="Succeeded"))
    assert await collectors.collect(trial()) == [{"name": "acc", "latest": "4999", "min": "0", "max": "4999"}]
    assert 50 < len(await scene.log()) <= 100
    await collectors.close()


async def test_a_trial_that_failed_or_is_gone_is_let_go(scene: Scene) -> None:
    scene.api.scripts["t-pod"] = [[line("acc=0.1"), asyncio.Event()]]
    collectors = await scene.start()
    for end in ("Failed", "gone"):
        typed = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial"} | trial()
        made = await scene.client.create(kinds.TRIALS, typed)
        collectors.follow(made)
        assert len(collectors) == 1
        if end == "Failed":
            await scene.client.patch(kinds.TRIALS, Key("team", "t"), {"status": {"conditions": [
                {"type": "Failed", "status": "True"}]}}, subresource="status")
            await until(lambda: len(collectors) == 0)
        await scene.client.delete(kinds.TRIALS, Key("team", "t"))
        await until(lambda: len(collectors) == 0 and not len(scene.trials.list()))
    await collectors.close()
