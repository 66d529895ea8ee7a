"""A platform whose history lies in PostgreSQL: runs end, and outlive ``kill -9`` of the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import s3_server
from tests.acceptance.conftest import Platform
from tests.acceptance.lifecycle import test_crash as crash
from tests.acceptance.lifecycle.test_controllers import Controllers

pytestmark = pytest.mark.postgres


def test_runs_end_and_outlive_a_killed_server(new_platform: Callable[[], Platform], postgres_url: str) -> None:
    records = ("--records", postgres_url.replace("+psycopg", ""))
    platform = new_platform().start(*records)
    first = crash.start_run(platform, crash.pipeline({"one": "echo one"}))
    assert crash.wait_for(platform, first, crash.ended)["state"] == "SUCCEEDED"
    second = crash.start_run(platform, crash.pipeline({"slow": "sleep 1", "last": "true"}))
    crash.wait_for(platform, second, lambda run: run["state"] == "RUNNING")

    platform.kill()
    platform.start(*records)
    assert crash.wait_for(platform, second, crash.ended)["state"] == "SUCCEEDED"
    listed = platform.rest("GET", "/apis/v2beta1/runs?sort_by=created_at")["runs"]
    assert [run["run_id"] for run in listed] == [first, second]
    assert not (platform.data_dir / "records.db").exists()
    assert "lightship@" not in platform.server_log()


def test_a_second_platform_keeps_away_from_the_records_of_one_that_runs(
        new_platform: Callable[[], Platform], postgres_url: str) -> None:
    records = ("--records", postgres_url.replace("+psycopg", ""))
    first, second = new_platform().start(*records), new_platform()
    done = second.run("up", "--detach", "--port", "0", "--kube-port", "0", "--gateway-port", "0", *records)
    assert done.returncode != 0
    assert "belong to a platform of another cluster that is running" in done.stdout + done.stderr

    first.kill()
    second.start(*records)


@pytest.mark.slow
@pytest.mark.sdk
def test_a_platform_without_controllers_gives_a_cluster_rest(
        new_platform: Callable[[], Platform], postgres_url: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster has Pods and nothing of ours; the controllers run beside it; a third process answers."""
    for name, value in s3_server.KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server.running() as endpoint:
        shared = ("--records", postgres_url.replace("+psycopg", ""), "--artifacts", endpoint)
        cluster = new_platform().start("--no-controllers", "--artifacts", endpoint)
        front = new_platform().start("--no-controllers", *shared)
        controllers = Controllers(tmp_path / "controllers", cluster.kubeconfig, *shared)
        try:
            controllers.wait_to_say("the controllers are ready")
            run = crash.start_run(front, crash.pipeline({"one": "echo the end is near"}))
            ended = crash.wait_for(front, run, crash.ended)
            assert ended["state"] == "SUCCEEDED", ended
            [pod] = [task["pods"][0]["name"] for task in ended["tasks"] if task.get("pods")]
            assert cluster.kube("GET", f"/api/v1/namespaces/default/pods/{pod}")["status"]["phase"] == "Succeeded"
            printed = subprocess.run(
                [sys.executable, "-m", "lightship", "runs", "logs", run, "--data-dir", str(front.data_dir)],
                capture_output=True, text=True, timeout=crash.RUN_LIMIT_SECONDS, check=True).stdout
            assert printed == "[one] the end is near\n"
        finally:
            controllers.stop()


def test_a_server_without_its_database_says_which_and_what_to_do(new_platform: Callable[[], Platform]) -> None:
    platform = new_platform()
    done = platform.run("up", "--detach", "--port", "0", "--kube-port", "0", "--gateway-port", "0",
                        "--records", "postgresql://me:hunter2@127.0.0.1:1/nothing")
    assert done.returncode != 0
    assert "127.0.0.1:1/nothing" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr + platform.server_log()
