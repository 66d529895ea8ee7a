"""``kill -9`` of the server in the middle of a run: nothing is left behind, and the next start finishes the run."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform, processes_of

New = Callable[[], Platform]
RUN_LIMIT_SECONDS = 60


def pipeline(steps: dict[str, str]) -> dict[str, Any]:
    """A chain of shell steps as KFP's IR: ``name: script``, each after the one before."""
    tasks: dict[str, Any] = {}
    previous: list[str] = []
    for name in steps:
        tasks[name] = {"taskInfo": {"name": name}, "componentRef": {"name": f"comp-{name}"},
                       "cachingOptions": {}, "dependentTasks": previous}
        previous = [name]
    return {
        "pipelineInfo": {"name": "crash"}, "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0",
        "root": {"dag": {"tasks": tasks}},
        "components": {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in steps},
        "deploymentSpec": {"executors": {
            f"exec-{name}": {"container": {"image": "alpine", "command": ["sh", "-c", script]}}
            for name, script in steps.items()}},
    }


def start_run(platform: Platform, spec: dict[str, Any], name: str = "crash") -> str:
    run = platform.rest("POST", "/apis/v2beta1/runs", {"display_name": name, "pipeline_spec": spec})
    return str(run["run_id"])


def wait_for(platform: Platform, run_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + RUN_LIMIT_SECONDS
    while True:
        run: dict[str, Any] = platform.rest("GET", f"/apis/v2beta1/runs/{run_id}")
        if done(run):
            return run
        assert time.monotonic() < deadline, run
        time.sleep(0.05)


def ended(run: dict[str, Any]) -> bool:
    return run["state"] in ("SUCCEEDED", "FAILED", "CANCELED")


def task(run: dict[str, Any], name: str) -> dict[str, Any]:
    found = [each for each in run["run_details"]["task_details"] if each["display_name"] == name]
    return found[0] if found else {}


def running_with(mark: str) -> list[str]:
    """Processes whose command line carries ``mark``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            if mark in line:
                found.append(line)
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    yield f"mark-{uuid.uuid4().hex}"


def wait_until_gone(mark: str) -> None:
    """The kernel ends the namespaces' processes itself once the server is gone; it may take a moment."""
    deadline = time.monotonic() + 10
    while running_with(mark):
        assert time.monotonic() < deadline, running_with(mark)
        time.sleep(0.02)


def wait_until_no_process_of(data_dir: Path) -> None:
    deadline = time.monotonic() + 10
    while processes_of(data_dir):
        assert time.monotonic() < deadline, processes_of(data_dir)
        time.sleep(0.02)


def test_a_killed_server_leaves_no_process_and_its_run_goes_on(new_platform: New, mark: str) -> None:
    platform = new_platform().start()
    run_id = start_run(platform, pipeline({"first": "true", "slow": f"sleep 3; : {mark}", "last": "true"}))
    wait_for(platform, run_id, lambda run: task(run, "slow").get("state") == "RUNNING" and bool(running_with(mark)))
    before = wait_for(platform, run_id, lambda run: task(run, "first").get("state") == "SUCCEEDED")

    platform.kill()

    wait_until_gone(mark)
    wait_until_no_process_of(platform.data_dir)
    platform.start()
    after = wait_for(platform, run_id, ended)
    assert after["state"] == "SUCCEEDED", after
    assert task(after, "first")["end_time"] == task(before, "first")["end_time"], "a step that succeeded ran again"


def test_a_killed_server_leaves_no_build_of_an_environment(
        new_platform: New, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        platform = new_platform().start()
        platform.kube("POST", "/api/v1/namespaces/kubeflow/configmaps", {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "image-catalogue"},
            "data": {"mine": f"never = python:{sys.version_info.major}.{sys.version_info.minor} never-there==1"}})
        platform.kube("POST", "/api/v1/namespaces/default/pods", {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"},
            "spec": {"containers": [{"name": "main", "image": "never", "command": ["true"]}]}})
        silent.settimeout(RUN_LIMIT_SECONDS)
        asking, _ = silent.accept()  # uv asks for the package, and would wait for long

        platform.kill()

        with asking:
            wait_until_no_process_of(platform.data_dir)


def test_a_stopped_server_finishes_its_runs_at_the_next_start(new_platform: New, mark: str) -> None:
    platform = new_platform().start()
    run_id = start_run(platform, pipeline({"slow": f"sleep 3; : {mark}"}))
    wait_for(platform, run_id, lambda run: bool(running_with(mark)))

    assert platform.stop().returncode == 0

    assert running_with(mark) == []
    platform.start()
    assert wait_for(platform, run_id, ended)["state"] == "SUCCEEDED"


def test_a_step_that_is_killed_fails_its_run_with_the_signal(new_platform: New) -> None:
    platform = new_platform().start()

    # Kubernetes reads "$$" in a command as one dollar sign.
    run = wait_for(platform, start_run(platform, pipeline({"dies": "kill -9 $$$$"})), ended)

    assert run["state"] == "FAILED"
    assert "137" in task(run, "dies")["error"]["message"]


def test_a_step_that_fails_tells_its_exit_code_and_the_end_of_its_log(platform: Platform) -> None:
    spec = pipeline({"fails": "echo the reason is here >&2; exit 3", "never": "true"})

    run = wait_for(platform, start_run(platform, spec), ended)

    assert run["state"] == "FAILED"
    message = task(run, "fails")["error"]["message"]
    assert "the reason is here" in message
    assert "3" in message
    assert task(run, "never").get("state") != "SUCCEEDED"
