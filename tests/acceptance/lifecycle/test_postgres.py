"""A platform whose history lies in PostgreSQL: runs end, and outlive ``kill -9`` of the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.lifecycle import test_crash as crash

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


def test_a_server_without_its_database_says_which_and_what_to_do(new_platform: Callable[[], Platform]) -> None:
    platform = new_platform()
    done = platform.run("up", "--detach", "--port", "0", "--kube-port", "0", "--gateway-port", "0",
                        "--records", "postgresql://me:hunter2@127.0.0.1:1/nothing")
    assert done.returncode != 0
    assert "127.0.0.1:1/nothing" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr + platform.server_log()
