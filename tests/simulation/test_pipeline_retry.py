"""A failed run that is retried does again what failed and what lies downstream of it, and nothing else, whatever is
killed meanwhile: loops, nested DAGs, conditions, ignored failures and the exit task included."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lightship.domains.pipelines import budget, reconciler
from lightship.records import pipeline_rows as rows
from lightship.records import run_history
from tests.simulation.test_pipeline_engine import KEY, MAX_KILLS, Killer, World, live, outcome_of, prepare
from tests.unit.pipelines import specs


def _spec() -> specs.Spec:
    """first -> a loop over 3 (step -> if it gave "2": a nested DAG whose step is doomed -> after); beside: untouched;
    stubborn runs whatever became of the loop, and so does the exit task."""
    step = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": True}),
                           outputs=specs.STRING_OUT)
    nested = specs.sub_dag({"doomed": specs.task("comp-step"), "after": specs.task("comp-step", after=["doomed"])},
                           inputs=specs.parameters(y="STRING"))
    body = specs.sub_dag(
        {"work": specs.task("comp-step", inputs={"x": specs.input_of_parent("item")}),
         "condition-1": specs.task("comp-nested", inputs={"y": specs.output_of("work")},
                                   **specs.when("inputs.parameter_values['y'] == '2'"))},
        inputs=specs.parameters(item="STRING"), outputs=specs.parameters(Output="LIST"),
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("work")}}})
    return specs.pipeline(
        {"first": specs.task("comp-step"), "beside": specs.task("comp-step"),
         "for-loop-1": {**specs.task("comp-body", after=["first"]), **specs.loop_over('["1", "2", "3"]')},
         "next": specs.task("comp-step", after=["for-loop-1"]),
         "stubborn": specs.task("comp-step", after=["for-loop-1"], **specs.RUN_ALWAYS),
         "exit": specs.task("comp-step", after=["for-loop-1", "next"], **specs.RUN_ALWAYS)},
        {"comp-step": step, "comp-body": body, "comp-nested": nested})


async def _story(folder: Path, *kills: Killer) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The run fails undisturbed, what was wrong is mended, and it is retried under the ``kills``."""
    await asyncio.to_thread(prepare, folder)
    world = World(folder, spec=_spec())
    try:
        await world.submit()
        await live(world, [Killer()])
        failed = await outcome_of(world)
        world.created.clear()
        world.doomed = ""
        await world.database.run(lambda connection: run_history.retry(connection, KEY.name, world.clock.now()))
        writes = await live(world, [*kills, Killer()])
        return failed, await outcome_of(world), writes
    finally:
        await world.database.close()


def _states(outcome: dict[str, Any]) -> dict[str, str]:
    return {path.removeprefix("root/"): found[0] for path, found in outcome["tasks"].items()}


async def test_only_what_failed_and_what_is_downstream_of_it_runs_again(tmp_path: Path) -> None:
    failed, mended, writes = await _story(tmp_path / "calm")
    before, after = _states(failed), _states(mended)
    loop = "for-loop-1[1]/condition-1"
    assert failed["run"][0] == before[f"{loop}/doomed"] == before["for-loop-1"] == rows.FAILED
    assert before[f"{loop}/after"] == before["next"] == rows.SKIPPED and before["exit"] == rows.SUCCEEDED
    assert mended["run"] == (rows.SUCCEEDED, "")
    assert mended["ran"] == sorted(f"root/{path}#0" for path in (
        f"{loop}/doomed", f"{loop}/after", "next", "stubborn", "exit"))
    assert {path for path, state in after.items() if state != rows.SUCCEEDED} == {
        "for-loop-1[0]/condition-1", "for-loop-1[2]/condition-1"}, "false conditions stay false"
    assert not mended["held"] and 0 < writes < MAX_KILLS


async def test_a_retry_ends_the_same_wherever_the_engine_is_killed(tmp_path: Path) -> None:
    _, calm, writes = await _story(tmp_path / "calm")
    for number in range(1, writes + 1):
        for after in (False, True):
            _, found, _ = await _story(tmp_path / f"kill-{number}-{after}", Killer(number, after=after))
            assert found == calm, f"killed {'after' if after else 'before'} write {number} of {writes}"


async def test_a_step_that_waits_for_its_next_attempt_holds_up_no_other(tmp_path: Path) -> None:
    await asyncio.to_thread(prepare, tmp_path / "world")
    retried = {"retryPolicy": {"maxRetryCount": 2, "backoffDuration": "600s"}}
    world = World(tmp_path / "world", spec=specs.pipeline(
        {"flaky": {**specs.task("comp-step"), **retried}, "other": specs.task("comp-step")},
        {"comp-step": specs.component("step", outputs=specs.STRING_OUT)}))
    world.options = reconciler.Options(steps=budget.Limits(one_run_steps=1))
    try:
        await world.submit()
        await live(world, [Killer()])
        assert world.created == ["root/flaky#0", "root/other#0", "root/flaky#1"]
    finally:
        await world.database.close()
