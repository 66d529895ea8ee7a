"""Logs of steps outlive their Pods: read while the Pod is there, and from the artifact store when it is gone."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Selection
from lightship.domains.pipelines import logs, reconciler
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.records import run_history
from lightship.records.rows import Run
from tests.acceptance.pipelines.harness import WAIT_SECONDS, Finished, Platform, platform

pytestmark = pytest.mark.asyncio(loop_scope="session")


def pipeline(script: str, count: int = 1) -> bytes:
    """``count`` container steps that run ``script``, one after another."""
    tasks: dict[str, Any] = {}
    for number in range(count):
        tasks[f"step-{number}"] = {
            "componentRef": {"name": "comp"}, "taskInfo": {"name": f"step-{number}"},
            "dependentTasks": [f"step-{number - 1}"] if number else []}
    return json.dumps({
        "pipelineInfo": {"name": "talk"}, "schemaVersion": "2.1.0", "components": {"comp": {"executorLabel": "exec"}},
        "deploymentSpec": {"executors": {"exec": {"container": {"image": "alpine", "command": ["sh", "-c", script]}}}},
        "root": {"dag": {"tasks": tasks}}}).encode()


async def text(place: Platform, done: Finished, step: str) -> str:
    run: Run = await place.database.read(lambda c: run_history.get(c, done.run.run_id))
    read = logs.Logs(client=place.client("tests"), artifacts=place.artifacts)
    return b"".join([chunk async for chunk in await read.read(run, done.task(step))]).decode()


async def gone(place: Platform, pod: str) -> None:
    """Delete a Pod and wait for its end: a run's last Pods are let go of only after its last record."""
    client = place.client("tests")
    await client.delete(PODS, Key("default", pod), grace_seconds=0)
    try:
        left = await client.get(PODS, pod, "default")
    except errors.NotFound:
        return
    only = Selection(namespace="default", fields=f"metadata.name={pod}")
    async with aclosing(client.watch(PODS, only, resource_version=objects.meta(left)["resourceVersion"])) as events:
        async for event in events:
            if event.type == "DELETED":
                return


async def test_a_log_outlives_its_pod(shared_platform: Platform) -> None:
    done = await shared_platform.run(pipeline("echo one; echo two >&2"))
    live = await text(shared_platform, done, "step-0")
    assert sorted(live.split()) == ["one", "two"]

    await gone(shared_platform, done.task("step-0").pod)
    assert await text(shared_platform, done, "step-0") == live


async def test_the_log_of_a_failed_step_is_kept_too(shared_platform: Platform) -> None:
    done = await shared_platform.run(pipeline("echo why; exit 3"))
    await gone(shared_platform, done.task("step-0").pod)
    assert await text(shared_platform, done, "step-0") == "why\n"


async def test_a_silent_step_has_no_log_when_its_pod_is_gone(shared_platform: Platform) -> None:
    done = await shared_platform.run(pipeline("true"))
    assert await text(shared_platform, done, "step-0") == ""
    await gone(shared_platform, done.task("step-0").pod)
    with pytest.raises(errors.NotFound, match="is gone, and no log of it was kept"):
        await text(shared_platform, done, "step-0")


async def test_of_a_long_log_the_end_is_kept(shared_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LIMIT_KEPT_BYTES", 10)
    done = await shared_platform.run(pipeline("for n in 1 2 3 4 5 6 7 8; do echo line-$n; done"))
    await gone(shared_platform, done.task("step-0").pod)
    assert await text(shared_platform, done, "step-0") == "[the first 46 bytes of this log were not kept]\n-7\nline-8\n"


async def test_pods_beyond_the_limit_go_and_their_logs_stay(tmp_path: Path) -> None:
    async with platform(tmp_path, options=reconciler.Options(kept_pods_per_run=1)) as place:
        done = await place.run(pipeline("echo $KFP_POD_NAME", count=4))
        for number in range(4):
            step = f"step-{number}"
            assert await text(place, done, step) == f"{done.task(step).pod}\n"
        async with asyncio.timeout(WAIT_SECONDS):  # They go once the run's end is written.
            while True:
                if len((await place.client("tests").list(PODS, Selection(namespace="default"))).items) < 4:
                    break
                await asyncio.sleep(0.02)
