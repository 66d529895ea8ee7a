"""What a task costs the engine does not depend on how many its run has: work is counted, never time."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lightship.domains.pipelines import decide, reconciler
from lightship.kube import objects
from lightship.kube.resources import PODS
from lightship.records import pipeline_rows as rows
from tests.simulation.test_pipeline_engine import KEY, Killer, Mirror, World
from tests.unit.pipelines import specs

ENDED_AT_ONCE = 16
MARGIN = 1.3
"""How much more a task of a large run may cost than one of a small run."""


@dataclass(frozen=True)
class Cost:
    """Of one task, on average: SQL statements, writes to API and records, decisions, calls of Python functions."""

    statements: float
    writes: float
    decisions: float
    calls: float


def fan_out(tasks: int, *, cached: bool = False) -> specs.Spec:
    """A loop of so many steps."""
    items = "[" + ",".join('"same"' if cached else f'"{number}"' for number in range(tasks)) + "]"
    step = specs.component("step", inputs=specs.parameters(item="STRING"), outputs=specs.STRING_OUT)
    looped: Any = {**specs.task("comp-step"),
                   **specs.loop_over(items), "cachingOptions": {"enableCache": True} if cached else {}}
    return specs.pipeline({"for-loop-1": looped}, {"comp-step": step})


async def cost(folder: Path, tasks: int, monkeypatch: pytest.MonkeyPatch, *, cached: bool = False) -> Cost:
    await asyncio.to_thread(folder.mkdir)
    world = World(folder, spec=fan_out(tasks, cached=cached))
    counted = _Counted()
    monkeypatch.setattr(decide, "decide", counted.deciding(decide.decide))
    killer = Killer()
    try:
        await world.submit()
        engine, mirror = world.engine(killer, reconciler.Options(kept_pods_per_run=10))
        before = world.database.statements
        while True:
            await mirror.refresh()
            with counted:
                result = await engine.reconcile(KEY)
            loaded = await world.runs.head(KEY)
            assert loaded is not None and loaded.state not in (rows.FAILED, rows.CANCELED)
            before += 1  # that look was the test's
            if loaded.state == rows.SUCCEEDED:
                break
            before += await _end_some(world, mirror)
            if result.requeue_after_seconds:
                await world.clock.advance(result.requeue_after_seconds)
        return Cost(statements=(world.database.statements - before) / tasks, writes=killer.writes / tasks,
                    decisions=counted.decisions / tasks, calls=counted.calls / tasks)
    finally:
        monkeypatch.undo()
        await world.database.close()


async def _end_some(world: World, mirror: Mirror) -> int:
    """Some of the Pods that run end well; the statements that this took of the records."""
    before = world.database.statements
    loaded = await world.runs.load(KEY)
    assert loaded is not None
    known = {row.pod: row for row in loaded[1] if row.pod}
    going = [pod for pod in (await world.client.list(PODS)).items if not objects.status(pod).get("phase")]
    for pod in going[:ENDED_AT_ONCE]:
        await world.commit(loaded[0], known[objects.name(pod)])
        await world.ended(pod, code=0)
    return world.database.statements - before


class _Counted:
    """Counts while it is entered."""

    def __init__(self) -> None:
        self.calls = 0
        self.decisions = 0

    def __enter__(self) -> None:
        sys.setprofile(self._note)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def deciding(self, real: Any) -> Any:
        def counted(*given: Any) -> Any:
            self.decisions += 1
            return real(*given)
        return counted

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1


def _flat(small: Cost, large: Cost) -> None:
    for name in ("statements", "writes", "decisions", "calls"):
        least, most = getattr(small, name), getattr(large, name)
        assert most <= least * MARGIN + 0.1, f"{name} a task: {least:.2f} in a small run, {most:.2f} in a large one"


async def test_a_task_costs_the_same_in_runs_of_100_and_500(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _flat(await cost(tmp_path / "100", 100, monkeypatch), await cost(tmp_path / "500", 500, monkeypatch))


async def test_a_cached_task_costs_the_same_in_runs_of_100_and_2000(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _flat(await cost(tmp_path / "100", 100, monkeypatch, cached=True),
          await cost(tmp_path / "2000", 2000, monkeypatch, cached=True))


@pytest.mark.slow
async def test_a_task_costs_the_same_in_runs_of_100_and_5000(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _flat(await cost(tmp_path / "100", 100, monkeypatch), await cost(tmp_path / "5000", 5000, monkeypatch))
