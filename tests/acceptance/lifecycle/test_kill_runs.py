"""A server that is killed again and again in the middle of a run: loops, conditions, retries and the exit task end as
they would have, and nothing that had succeeded is done again."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.lifecycle.test_crash import ended, start_run, wait_for
from tests.unit.pipelines import specs

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)

pytestmark = pytest.mark.slow
New = Callable[[], Platform]
KILLS = 8
SEED = 20_261
ITERATIONS = 6


def _spec() -> specs.Spec:
    """first -> a loop, two at once (work, which may be retried -> of the fourth: extra) -> last; and an exit task."""
    step = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": True}),
                           outputs=specs.STRING_OUT)
    body = specs.sub_dag(
        {"work": {**specs.task("comp-step", inputs={"x": specs.input_of_parent("item")}),
                  "retryPolicy": {"maxRetryCount": 2, "backoffDuration": "0s"}},
         "condition-1": specs.task("comp-extra", inputs={"y": specs.output_of("work")},
                                   **specs.when("inputs.parameter_values['y'] == '3'"))},
        inputs=specs.parameters(item="STRING"), outputs=specs.parameters(Output="LIST"),
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("work")}}})
    extra = specs.sub_dag({"extra": specs.task("comp-step")}, inputs=specs.parameters(y="STRING"))
    items = "[" + ",".join(f'"{number}"' for number in range(ITERATIONS)) + "]"
    script = 'sleep 0.4; mkdir -p "$(dirname "$0")"; printf %s "$1" > "$0"'
    return specs.pipeline(
        {"first": specs.task("comp-step"),
         "for-loop-1": {**specs.task("comp-body", after=["first"]), **specs.loop_over(items, parallelism=2)},
         "last": specs.task("comp-step", after=["for-loop-1"]),
         "exit": specs.task("comp-step", after=["for-loop-1", "last"], **specs.RUN_ALWAYS)},
        {"comp-step": step, "comp-body": body, "comp-extra": extra},
        exec_step={"container": {"image": "alpine", "command": ["sh", "-c", script],
                                 "args": ["{{$.outputs.parameters['Output'].output_file}}",
                                          "{{$.inputs.parameters['x']}}"]}})


def _done(run: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Of each task that has succeeded, when it began and when it ended."""
    return {task["task_id"]: (task["start_time"], task["end_time"])
            for task in run["run_details"]["task_details"] if task["state"] == "SUCCEEDED"}


@pytest.mark.timeout(300)
def test_a_run_outlives_every_kill_and_repeats_nothing_that_had_succeeded(new_platform: New) -> None:
    chance = random.Random(SEED)
    platform = new_platform().start()
    run_id = start_run(platform, _spec(), "killed")
    kills = 0
    seen: dict[str, tuple[str, str]] = {}
    while kills < KILLS:
        time.sleep(chance.uniform(0.2, 1.6))
        run = platform.rest("GET", f"/apis/v2beta1/runs/{run_id}")
        seen |= _done(run)
        if ended(run):
            break
        platform.kill()
        platform.start()
        kills += 1
    after = wait_for(platform, run_id, ended)
    assert kills >= 3, "the run must be long enough to be killed"
    assert after["state"] == "SUCCEEDED", after.get("error")
    final = _done(after)
    assert {task: final.get(task) for task in seen} == seen, "what had succeeded was done again"
    states = {task["display_name"]: task["state"] for task in after["run_details"]["task_details"]}
    assert states["extra"] == states["last"] == states["exit"] == "SUCCEEDED"
    assert sum(task["display_name"] == "work" and task["state"] == "SUCCEEDED"
               for task in after["run_details"]["task_details"]) == ITERATIONS
