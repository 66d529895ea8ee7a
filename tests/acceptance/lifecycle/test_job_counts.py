"""A Job whose server is killed again and again: each Pod that succeeds counts once, and none that the kills ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform

pytestmark = pytest.mark.slow

JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
COMPLETIONS = 60
KILLS = int(os.environ.get("LIGHTSHIP_TEST_KILLS", "6"))
LIMIT_SECONDS = 180


def job(name: str, **spec: Any) -> Any:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "completions": COMPLETIONS, "parallelism": 6, "backoffLimit": 0, **spec, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [
                {"name": "main", "image": "busybox", "command": ["sh", "-c", "sleep 0.2"]}]}}}}


def progress(platform: Platform, name: str) -> int:
    return int((platform.kube("GET", f"{JOBS}/{name}").get("status") or {}).get("succeeded") or 0)


def finished(platform: Platform, name: str) -> Any:
    """The status of the Job once it is over."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        status = platform.kube("GET", f"{JOBS}/{name}").get("status") or {}
        if any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in status.get("conditions") or ()):
            return status
        time.sleep(0.2)
    raise AssertionError(f"the Job does not end: {status}")


@pytest.mark.parametrize("spec", [{}, {"completionMode": "Indexed"}], ids=["plain", "indexed"])
def test_every_pod_counts_once_whenever_the_server_is_killed(
        new_platform: Callable[[], Platform], spec: dict[str, Any]) -> None:
    platform = new_platform().start()
    platform.kube("POST", JOBS, job("count", **spec))
    for number in range(KILLS):
        wanted = (number + 1) * COMPLETIONS // (KILLS + 2)
        deadline = time.monotonic() + LIMIT_SECONDS
        while progress(platform, "count") < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        platform.kill()
        platform.start()
    status = finished(platform, "count")
    assert [c["type"] for c in status["conditions"]] == ["SuccessCriteriaMet", "Complete"], status
    assert status["succeeded"] == COMPLETIONS and "failed" not in status and not status["uncountedTerminatedPods"]
    found = platform.kube("GET", PODS)["items"]
    succeeded = [pod for pod in found if pod["status"].get("phase") == "Succeeded"]
    assert len(succeeded) == COMPLETIONS, "no Pod ran that was not needed, and none was lost"
    assert all(pod["status"].get("reason") == "NodeRestarted" for pod in found if pod not in succeeded)
