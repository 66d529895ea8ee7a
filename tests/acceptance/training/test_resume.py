"""A training that is killed with its whole platform goes on from its last checkpoint, in its own volume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_failures import RUNTIMES, of, runtime
from tests.acceptance.training.test_training import JOBS, logs_of, pods_of, train_job, until, wait

STEPS, CLAIM = 60, "checkpoints"
TRAINS = f"""
import json, os, time
rank = os.environ["JOB_COMPLETION_INDEX"]
place, starts = f"/checkpoints/{{rank}}.json", f"/checkpoints/{{rank}}.starts"
step = json.load(open(place))["step"] if os.path.exists(place) else 0
with open(starts, "a") as file:
    file.write(f"{{step}} ")
while step < {STEPS}:
    time.sleep(0.1)
    step += 1
    with open(place + ".new", "w") as file:
        json.dump({{"step": step}}, file)
    os.replace(place + ".new", place)
print(json.dumps({{"rank": rank, "step": step, "starts": open(starts).read().split()}}), flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_training_goes_on_from_its_last_checkpoint_after_kills_of_the_platform(
        new_platform: Callable[[], Platform]) -> None:
    """Its Job allows no failure at all: what the platform's death ended is not held against it."""
    platform = new_platform().start()
    platform.kube("POST", RUNTIMES, _with_volume(runtime("checkpointing", {"backoffLimit": 0})))
    platform.kube("POST", JOBS, train_job("resumes", {
        "numNodes": 2, "command": ["python3", "-c", TRAINS]}, **of("checkpointing")))
    for _ in range(2):
        wait(lambda: [pod["status"].get("phase") for pod in pods_of(platform, "resumes")].count("Running") == 2)
        time.sleep(1.5)  # it has to have trained a while, or there would be nothing to resume
        platform.kill()
        platform.start()
    ended = until(platform, "resumes", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", ended
    said = [json.loads(line) for line in logs_of(platform, "resumes").splitlines() if line.startswith("{")]
    assert {one["rank"]: one["step"] for one in said} == {"0": STEPS, "1": STEPS}
    for one in said:
        starts = [int(start) for start in one["starts"]]
        assert len(starts) >= 3 and starts[0] == 0 and starts == sorted(starts) and starts[-1] > 0, said
    job_set = platform.kube("GET", "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/resumes")
    assert job_set["status"]["restarts"] == 0


def _with_volume(made: dict[str, Any]) -> dict[str, Any]:
    template = made["spec"]["template"]["spec"]
    template["volumeClaimPolicies"] = [{"templates": [{"metadata": {"name": CLAIM}, "spec": {
        "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}]}]
    pod = template["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["restartPolicy"] = "Never"
    pod["containers"][0]["volumeMounts"] = [{"name": CLAIM, "mountPath": "/checkpoints"}]
    return made
