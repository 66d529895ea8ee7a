"""What the demo says of a run: read from the REST shape, told in lines, and success only where every step succeeded."""

from __future__ import annotations

import argparse
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.cli import exits
from lightship.demo import command, progress, summary, view
from lightship.demo.errors import DemoFailed

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def task(name: str, state: str, begin: float = 0, end: float | None = 1, **more: Any) -> dict[str, Any]:
    def at(seconds: float) -> str:
        return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    return {"name": name, "type": "RUNTIME", "state": state, "start_time": at(begin),
            **({"end_time": at(end)} if end is not None else {}), **more}


def whole_run(**changed: str) -> dict[str, Any]:
    names = [*progress.STEPS]
    tasks = [task(name, changed.get(name, "SUCCEEDED")) for name in names if name != "train"]
    for algorithm in ("random-forest", "logistic-regression"):
        parameters = [{"parameter_key": "algorithm", "value": algorithm}]
        tasks.append(task("train", "SUCCEEDED", inputs={"parameters": parameters}))
    return {"state": "SUCCEEDED", "run_id": "r", "tasks": tasks}


class Silent:
    def log_tail(self, namespace: str, pod: str, lines: int) -> str:
        return f"the end of {pod}'s log"


def test_steps_come_in_the_pipelines_order_and_the_trainings_by_name() -> None:
    labels = [step.label for step in progress.steps(whole_run())]
    assert labels == ["ingest", "statistics", "validate", "transform", "train logistic-regression",
                      "train random-forest", "evaluate", "register", "deploy", "predict"]


def test_a_run_that_has_just_begun_shows_what_is_to_come() -> None:
    steps = progress.steps({"state": "RUNNING", "tasks": [task("ingest", "RUNNING", end=None)]})
    assert [step.name for step in steps] == list(progress.STEPS)
    assert [step.state for step in steps] == ["running"] + ["waiting"] * 8
    assert steps[0].seconds(NOON + timedelta(seconds=3)) == 3


def test_what_came_from_the_cache_is_told_apart_and_has_no_time() -> None:
    step = progress.steps({"tasks": [task("ingest", "CACHED", cached_from="t1")]})[0]
    assert (step.state, step.seconds(NOON)) == (progress.CACHED, None)
    assert view.said(step) == "from the cache"


def test_todays_task_details_are_read_as_well() -> None:
    details = [{"display_name": "ingest", "state": "RUNNING", "pod_name": "p"}]
    step = progress.steps({"run_details": {"task_details": details}})[0]
    assert (step.state, step.pod) == ("running", "p")


def test_away_from_a_terminal_each_change_is_one_line() -> None:
    stream = io.StringIO()
    with view.shown(stream, NOON) as show:
        for _ in range(3):
            show(progress.steps({"tasks": [task("ingest", "RUNNING", end=None)]}), NOON)
        show(progress.steps({"tasks": [task("ingest", "SUCCEEDED", end=2)]}), NOON + timedelta(seconds=2))
    assert stream.getvalue().splitlines() == [
        "   0.0 s  ingest                           running",
        "   2.0 s  ingest                           succeeded  2.0 s"]


def test_success_needs_every_step() -> None:
    run = whole_run()
    command._require_success(Silent(), run, progress.steps(run))  # type: ignore[arg-type]


@pytest.mark.parametrize(("changed", "told"), [
    ({"deploy": "SKIPPED", "predict": "SKIPPED"}, "these steps did not run: deploy, predict"),
    ({"predict": "FAILED"}, "the step predict failed"),
    ({"ingest": "CANCELED"}, "the step ingest canceled"),
])
def test_a_step_that_did_not_succeed_fails_the_demo(changed: dict[str, str], told: str) -> None:
    run = whole_run(**changed)
    with pytest.raises(DemoFailed, match=told):
        command._require_success(Silent(), run, progress.steps(run))  # type: ignore[arg-type]


def test_a_failed_step_is_told_with_its_reason_and_the_end_of_its_log() -> None:
    run = whole_run()
    run["tasks"][0] |= {"state": "FAILED", "error": {"message": "exit code 1"}, "pods": [{"name": "pod-7"}]}
    run["state"] = "FAILED"
    with pytest.raises(DemoFailed) as failure:
        command._require_success(Silent(), run, progress.steps(run))  # type: ignore[arg-type]
    assert failure.value.message == "the step ingest failed: exit code 1"
    assert "the end of pod-7's log" in failure.value.remedy
    assert exits.code_of(failure.value) == exits.FAILED


def test_a_run_that_failed_without_a_failed_step_fails_the_demo() -> None:
    run = whole_run() | {"state": "FAILED", "error": {"message": "the deadline passed"}}
    with pytest.raises(DemoFailed, match="the run ended FAILED: the deadline passed"):
        command._require_success(Silent(), run, progress.steps(run))  # type: ignore[arg-type]


def test_the_summary_tells_what_to_do_next_both_ways() -> None:
    told = summary.Summary(
        accuracy=0.98, servedAccuracy=0.98, servedRows=114, algorithm="random-forest", model="m", modelVersion="3",
        endpoint="http://gateway/serving/default/m", curl="curl ...", answer=[0, 1, 1], run="http://x/runs/r",
        page="http://x", artifacts="/d/artifacts", cached=["ingest"], seconds=1.0, kept=True)
    kept = summary.as_text(told, "lightship", " --data-dir /d")
    stopped = summary.as_text(summary.replaced(told, kept=False), ".venv/bin/lightship", " --data-dir /d")
    assert "lightship down --data-dir /d" in kept
    assert ".venv/bin/lightship up --detach --data-dir /d" in stopped
    for text in (kept, stopped):
        assert all(part in text for part in ("0.9800", "version 3", "curl ...", "[0, 1, 1]", "ingest"))


def test_without_the_sdk_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lightship.demo import submission

    for name in [name for name in sys.modules if name.split(".")[0] == "kfp" or name == "lightship.demo.pipeline"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kfp", None)
    monkeypatch.delattr("lightship.demo.pipeline", raising=False)
    with pytest.raises(errors.LightshipError, match=r"pip install 'lightship\[demo\]'"):
        submission.compile_to(Path("/nowhere"))


def test_the_verb_is_there() -> None:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    arguments = parser.parse_args(["demo", "--keep", "--no-cache", "-o", "json", "--minimum-accuracy", "0.95"])
    assert (arguments.keep, arguments.cache, arguments.output) == (True, False, "json")
    assert arguments.minimum_accuracy == 0.95
