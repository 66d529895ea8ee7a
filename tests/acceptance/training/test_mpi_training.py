"""MPI on a real platform: upstream's runtime unchanged, ``mpirun`` of the wheel, processes in several Pods."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_training import JOBS, WAIT_SECONDS, logs_of, pods_of, train_job, until
from tests.sdks import sdk_python

RUNTIMES = "/apis/trainer.kubeflow.org/v1alpha1"
IMAGE = "ghcr.io/kubeflow/trainer/deepspeed-runtime"
SUM = """
from mpi4py import MPI
world = MPI.COMM_WORLD
print("sum", world.allreduce(world.rank + 1), "rank", world.rank, "of", world.size, "on", MPI.Get_processor_name(),
      flush=True)
"""
HANG = """
import time
from mpi4py import MPI
MPI.COMM_WORLD.barrier()
if MPI.COMM_WORLD.rank == 0:
    print("all are here", flush=True)
time.sleep(1000)
"""
ON_HOSTS = ["mpirun", "--hostfile", "/etc/mpi/hostfile"]


@pytest.fixture(scope="module")
def mpi_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One whose image of upstream's runtime is the two wheels that MPI needs: with torch it is a gigabyte."""
    platform = Platform(tmp_path_factory.mktemp("mpi") / "data").start()
    platform.kube("POST", "/api/v1/namespaces/kubeflow/configmaps", {
        "metadata": {"name": "image-catalogue"}, "data": {"mpi": f"{IMAGE} = python:3.11 mpi4py openmpi"}})
    once = platform.kube("GET", f"{RUNTIMES}/clustertrainingruntimes/deepspeed-distributed")
    for job in once["spec"]["template"]["spec"]["replicatedJobs"]:
        job["template"]["spec"]["backoffLimit"] = 0
        job["template"]["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    platform.kube("POST", f"{RUNTIMES}/clustertrainingruntimes", {
        "apiVersion": once["apiVersion"], "kind": once["kind"], "metadata": {"name": "once"}, "spec": once["spec"]})
    yield platform
    platform.stop()


def said(platform: Platform, name: str) -> list[str]:
    return sorted(line for line in logs_of(platform, name).splitlines() if line.startswith("sum"))


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_processes_of_several_pods_meet_and_two_trainings_at_once_do_not_clash(mpi_platform: Platform) -> None:
    for name, command in (("one", [*ON_HOSTS, "python3", "-c", SUM]), ("two", ["mpirun", "python3", "-c", SUM])):
        mpi_platform.kube("POST", JOBS, train_job(
            name, {"numNodes": 2, "numProcPerNode": 2, "command": command}, "deepspeed-distributed"))
    for name in ("one", "two"):
        ended = until(mpi_platform, name, "Complete", "Failed")
        assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(mpi_platform, name)
        lines = said(mpi_platform, name)
        assert [line.partition(" on ")[0] for line in lines] == [f"sum 10 rank {rank} of 4" for rank in range(4)]
        assert sorted(line.partition(" on ")[2] for line in lines) == [
            f"{name}-{host}-0-0" for host in ("launcher", "launcher", "node", "node")]
        assert [pod["metadata"]["labels"]["jobset.sigs.k8s.io/replicatedjob-name"] for pod in pods_of(
            mpi_platform, name)] == ["launcher"], "the nodes go when the launcher has ended"


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_many_nodes_start_each_other(mpi_platform: Platform) -> None:
    """Open MPI starts its daemons in a tree, here of one branch: nodes enter nodes."""
    mpi_platform.kube("POST", JOBS, train_job("many", {
        "numNodes": 5, "command": ["mpirun", "--prtemca", "rml_base_radix", "1", "python3", "-c", SUM]},
        "deepspeed-distributed"))
    ended = until(mpi_platform, "many", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(mpi_platform, "many")
    assert len(said(mpi_platform, "many")) == 5


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_a_launcher_that_fails_fails_the_training(mpi_platform: Platform) -> None:
    mpi_platform.kube("POST", JOBS, train_job("failing", {
        "numNodes": 2, "command": [*ON_HOSTS, "sh", "-c", "exit 3"]}, "once"))
    ended = until(mpi_platform, "failing", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Failed"
    _wait(lambda: not _running(mpi_platform, "failing"))


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_a_node_that_dies_midway_fails_the_training_and_nothing_stays(mpi_platform: Platform) -> None:
    mpi_platform.kube("POST", JOBS, train_job("dying", {
        "numNodes": 2, "command": [*ON_HOSTS, "python3", "-c", HANG]}, "once"))
    _wait(lambda: "all are here" in logs_of(mpi_platform, "dying"))
    node = next(pod for pod in pods_of(mpi_platform, "dying") if "-node-" in pod["metadata"]["name"])
    mpi_platform.kube("DELETE", f"/api/v1/namespaces/default/pods/{node['metadata']['name']}?gracePeriodSeconds=0")
    ended = until(mpi_platform, "dying", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Failed"
    _wait(lambda: not _running(mpi_platform, "dying"))


@pytest.mark.slow
@pytest.mark.sdk
@pytest.mark.timeout(WAIT_SECONDS)
def test_a_users_script_runs_unmodified(mpi_platform: Platform, tmp_path: Path) -> None:
    python = sdk_python("kubeflow==0.5.0")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(mpi_platform.kubeconfig)}
    script = Path(__file__).with_name("mpi_sdk_script.py")
    done = subprocess.run([str(python), "-P", str(script)], capture_output=True, text=True, timeout=240, cwd=tmp_path,
                          env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")


def _running(platform: Platform, name: str) -> list[Any]:
    return [pod for pod in pods_of(platform, name) if pod["status"].get("phase") in ("Pending", "Running")]


def _wait(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_SECONDS / 9
    while not true():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.05)
