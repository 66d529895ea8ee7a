"""``kill -9`` of a whole platform while Pods run: Jobs still end as asked, and nothing is left on the machine.

``LIGHTSHIP_TEST_KILLS`` says how many kills; the default is what a test run has time for.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform, processes_of, processes_with

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("LIGHTSHIP_TEST_KILLS", "6"))
JOBS_A_LIFE, COMPLETIONS = 3, 3
LIFE_SECONDS = (0.1, 1.5)
LIMIT_SECONDS = 60
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"


def job(name: str, mark: str) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", f"sleep 0.2; : {mark}"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"completions": COMPLETIONS, "parallelism": 2, "completionMode": "Indexed",
                     "backoffLimit": 10_000,
                     "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}


def sleeper(mark: str) -> dict[str, Any]:
    """Pods that never end by themselves, with a process that leaves their session."""
    script = f"setsid sleep 600 & echo {mark}; exec sleep 600"
    container = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script],
                 "env": [{"name": "MARK", "value": mark}], "ports": [{"containerPort": 8080}],
                 "resources": {"limits": {"memory": "64Mi"}}}
    template = {"metadata": {"labels": {"app": "sleeper"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sleeper"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "sleeper"}}, "template": template}}


def machine(data_dir: Path) -> dict[str, set[str]]:
    """What a Pod may leave behind: mounts, its node's groups, network interfaces of the host's own namespace."""
    node = hashlib.sha256(str(data_dir / "node").encode()).hexdigest()[:12]
    return {
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "groups": {str(path) for path in Path("/sys/fs/cgroup").glob(f"**/lightship-{node}")},
        "interfaces": {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]},
    }


def wait(what: Callable[[], bool], tell: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.05)


def complete(one: dict[str, Any]) -> bool:
    return any(c["type"] == "Complete" and c["status"] == "True" for c in one.get("status", {}).get("conditions", []))


@pytest.mark.timeout(180 + 10 * KILLS)
def test_jobs_end_as_asked_and_nothing_is_left(new_platform: Callable[[], Platform]) -> None:
    dice, mark, platform = random.Random(), f"mark-{uuid.uuid4().hex}", new_platform()
    before = machine(platform.data_dir)
    platform.start()
    platform.kube("POST", "/apis/apps/v1/namespaces/default/deployments", sleeper(mark))
    names = []
    for kill in range(KILLS):
        for number in range(JOBS_A_LIFE):
            names.append(f"j{kill}-{number}")
            platform.kube("POST", JOBS, job(names[-1], mark))
        time.sleep(dice.uniform(*LIFE_SECONDS))  # the moment of the kill is what this test is about
        platform.kill()
        wait(lambda: not processes_with(mark) and not processes_of(platform.data_dir),
             lambda: processes_with(mark) + processes_of(platform.data_dir))
        after = machine(platform.data_dir)
        assert after["mounts"] <= before["mounts"]
        assert after["interfaces"] <= before["interfaces"]
        platform.start()

    def left() -> list[str]:
        return [one["metadata"]["name"] for one in platform.kube("GET", JOBS)["items"] if not complete(one)]

    wait(lambda: not left(), left)
    jobs = platform.kube("GET", JOBS)["items"]
    assert sorted(one["metadata"]["name"] for one in jobs) == sorted(names)
    for one in jobs:
        assert one["status"]["succeeded"] == COMPLETIONS, one["status"]
        assert one["status"]["completedIndexes"] == f"0-{COMPLETIONS - 1}"
    pods = platform.kube("GET", PODS + "?labelSelector=batch.kubernetes.io/job-name")["items"]
    reasons = {pod["status"].get("reason") for pod in pods if pod["status"].get("phase") == "Failed"}
    assert reasons <= {"NodeRestarted"}, reasons
    assert platform.stop().returncode == 0
    assert processes_with(mark) == []
    after = machine(platform.data_dir)
    assert {kind: after[kind] - before[kind] for kind in before} == {kind: set() for kind in before}
