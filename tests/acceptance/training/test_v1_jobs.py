"""The v1 jobs on a real platform: replicas that find each other by upstream's variables, names and ports."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform, processes_with
from tests.acceptance.training import v1_programs as programs
from tests.acceptance.training.test_training import _require_torch
from tests.sdks import sdk_python

SCRIPT = Path(__file__).with_name("v1_sdk_script.py")
WAIT_SECONDS = 60
BUILD_SECONDS = 540
"""An environment with a framework in it is several hundred megabytes to build."""
CONTAINERS = {"PyTorchJob": ("pytorchReplicaSpecs", "pytorch"), "TFJob": ("tfReplicaSpecs", "tensorflow"),
              "XGBoostJob": ("xgbReplicaSpecs", "xgboost"), "JAXJob": ("jaxReplicaSpecs", "jax"),
              "PaddleJob": ("paddleReplicaSpecs", "paddle")}
ROOT = "/apis/kubeflow.org/v1/namespaces/default"


def create(platform: Platform, kind: str, name: str, replicas: dict[str, Any], **spec: Any) -> None:
    """Make a job; each type has a command, or a whole replica specification."""
    field, container = CONTAINERS[kind]

    def whole(given: Any) -> dict[str, Any]:
        more = dict(given) if isinstance(given, dict) else {"command": given}
        body = {"name": container, "image": more.pop("image", "python:3.11"), "command": more.pop("command"),
                "env": more.pop("env", [])}
        return {"template": {"spec": {"containers": [body]}}} | more

    platform.kube("POST", f"{ROOT}/{kind.lower()}s", {
        "apiVersion": "kubeflow.org/v1", "kind": kind, "metadata": {"name": name},
        "spec": {field: {type: whole(given) for type, given in replicas.items()}} | spec})


def get(platform: Platform, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.kube("GET", f"{ROOT}/{kind.lower()}s/{name}")
    return found


def until(platform: Platform, kind: str, name: str, *types: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
    """The job once one of the conditions is true: its last condition, as ``kubectl get`` shows it."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        job = get(platform, kind, name)
        for one in job.get("status", {}).get("conditions", ()):
            if one["type"] in types and one["status"] == "True":
                return dict(one)
        time.sleep(0.05)
    raise AssertionError(f"{name} did not become {types}: {job.get('status')}\n{pods_of(platform, name)}")


def pods_of(platform: Platform, name: str) -> list[dict[str, Any]]:
    found = platform.kube("GET", "/api/v1/namespaces/default/pods?labelSelector=training.kubeflow.org/job-name=" + name)
    return list(found["items"])


def logs_of(platform: Platform, name: str, start: str = "") -> list[str]:
    """The last line that each replica has said, of those that begin so, sorted."""
    said = []
    for pod in pods_of(platform, name):
        container = pod["spec"]["containers"][0]["name"]
        lines = log(platform, pod["metadata"]["name"], container).strip().splitlines()
        said.append(next((line for line in reversed(lines) if line.startswith(start)), ""))
    return sorted(said)


def log(platform: Platform, pod: str, container: str) -> str:
    import ssl

    request = urllib.request.Request(
        f"{platform.info['kubeUrl']}/api/v1/namespaces/default/pods/{pod}/log?container={container}",
        headers={"Authorization": f"Bearer {platform.token}"})
    trust = ssl.create_default_context(cafile=str(platform.data_dir / "pki" / "ca.crt"))
    with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
        text: str = answer.read().decode()
    return text


def until_true(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.05)


def sums(world: int) -> list[str]:
    total = world * (world + 1) // 2
    return [f"sum {total} rank {rank} of {world}" for rank in range(world)]


def test_ranks_meet_at_the_master_and_two_jobs_at_once_do_not_clash(platform: Platform) -> None:
    """Both masters listen on 23456, as upstream says, and a third job's on its own port 9999."""
    command = ["python3", "-c", programs.RANKS]
    for name in ("first", "second"):
        create(platform, "PyTorchJob", name, {"Master": command, "Worker": {"replicas": 2, "command": command}})
    create(platform, "XGBoostJob", "third", {"Master": command, "Worker": command})
    for name, kind, world in (("first", "PyTorchJob", 3), ("second", "PyTorchJob", 3), ("third", "XGBoostJob", 2)):
        assert until(platform, kind, name, "Succeeded", "Failed")["type"] == "Succeeded", logs_of(platform, name)
        until_true(lambda name=name, world=world: logs_of(platform, name) == sums(world))


def test_every_task_of_a_tensorflow_job_reaches_every_other(platform: Platform) -> None:
    command = ["python3", "-c", programs.TASKS]
    create(platform, "TFJob", "tasks", {"Chief": command, "PS": command, "Worker": {"replicas": 2, "command": command}})
    assert until(platform, "TFJob", "tasks", "Succeeded", "Failed")["type"] == "Succeeded", logs_of(platform, "tasks")
    until_true(lambda: logs_of(platform, "tasks") == [
        "met 3 as chief 0", "met 3 as ps 0", "met 3 as worker 0", "met 3 as worker 1"])


def test_workers_that_fork_and_hide_die_with_their_job(platform: Platform, tmp_path: Path) -> None:
    mark = f"hider-{tmp_path.name}"
    worker = {"replicas": 2, "command": ["python3", "-c", programs.HIDING, mark]}
    create(platform, "JAXJob", "hides", {"Worker": worker})
    until(platform, "JAXJob", "hides", "Running")
    until_true(lambda: logs_of(platform, "hides") == ["hidden", "hidden"] and len(processes_with(mark)) >= 4)
    platform.kube("DELETE", f"{ROOT}/jaxjobs/hides")
    until_true(lambda: not pods_of(platform, "hides") and not processes_with(mark))
    services = platform.kube("GET", "/api/v1/namespaces/default/services?labelSelector="
                                    "training.kubeflow.org/job-name=hides")
    assert not services["items"]


def test_retried_exit_codes_come_to_an_end_by_the_limit_and_others_at_once(platform: Platform) -> None:
    worker = {"restartPolicy": "ExitCode", "command": ["sh", "-c", "exit 143"]}
    create(platform, "PyTorchJob", "retried", {"Worker": worker}, runPolicy={"backoffLimit": 1})
    ended = until(platform, "PyTorchJob", "retried", "Failed")
    assert ended["message"] == ("Job retried has failed because it has reached the specified backoff limit. "
                                "retried-worker-0 exited with code 143")
    create(platform, "PyTorchJob", "final", {"Worker": worker | {"command": ["sh", "-c", "echo no such data; exit 3"]}})
    assert until(platform, "PyTorchJob", "final", "Failed")["message"] == (
        'job "final" is failing because "Worker" replica(s) failed. final-worker-0 exited with code 3: no such data')


def test_suspended_resumed_and_gone_when_its_time_is_up(platform: Platform) -> None:
    create(platform, "TFJob", "held", {"Worker": {"replicas": 2, "command": ["sleep", "1000"]}},
           runPolicy={"suspend": True})
    until(platform, "TFJob", "held", "Suspended")
    assert not pods_of(platform, "held")
    merge = "application/merge-patch+json"
    platform.kube("PATCH", f"{ROOT}/tfjobs/held", {"spec": {"runPolicy": {"suspend": False}}}, merge)
    until(platform, "TFJob", "held", "Running")
    platform.kube("PATCH", f"{ROOT}/tfjobs/held", {"spec": {"runPolicy": {"suspend": True}}}, merge)
    until_true(lambda: not pods_of(platform, "held"))
    platform.kube("PATCH", f"{ROOT}/tfjobs/held", {"spec": {"runPolicy": {
        "suspend": False, "activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0}}}, merge)
    until_true(lambda: "held" not in [one["metadata"]["name"] for one in platform.kube(
        "GET", f"{ROOT}/tfjobs")["items"]] and not pods_of(platform, "held"))


@pytest.mark.slow
def test_a_killed_platform_goes_on_with_a_job_that_would_not_be_retried(new_platform: Callable[[], Platform]) -> None:
    """From its checkpoint: what the first attempt left in its volume."""
    platform = new_platform().start()
    platform.kube("POST", "/api/v1/namespaces/default/persistentvolumeclaims", {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}}})
    command = ["sh", "-c", "f=/kept/$PROCESS_ID; if [ -f $f ]; then echo went on; "
                           "else touch $f; echo began; sleep 1000; fi"]
    container = {"name": "jax", "image": "busybox", "command": command,
                 "volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    volume = {"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}
    platform.kube("POST", f"{ROOT}/jaxjobs", {
        "apiVersion": "kubeflow.org/v1", "kind": "JAXJob", "metadata": {"name": "lasts"},
        "spec": {"runPolicy": {"backoffLimit": 0}, "jaxReplicaSpecs": {"Worker": {"replicas": 2, "template": {
            "spec": {"containers": [container], "volumes": [volume]}}}}}})
    until(platform, "JAXJob", "lasts", "Running")
    until_true(lambda: logs_of(platform, "lasts") == ["began", "began"])
    platform.kill()
    platform.start()
    assert until(platform, "JAXJob", "lasts", "Succeeded", "Failed")["type"] == "Succeeded"
    assert logs_of(platform, "lasts") == ["went on", "went on"]


@pytest.mark.sdk
def test_a_script_of_the_old_sdk_runs_unmodified(new_platform: Callable[[], Platform], tmp_path: Path) -> None:
    platform = new_platform().start()
    python = sdk_python("kubeflow-training==1.9.4")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(platform.kubeconfig)}
    done = subprocess.run([str(python), "-P", str(SCRIPT)], capture_output=True, text=True, timeout=240, cwd=tmp_path,
                          env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")


def test_a_template_that_no_pod_could_have_ends_with_the_servers_words(platform: Platform) -> None:
    platform.kube("POST", f"{ROOT}/jaxjobs", {
        "apiVersion": "kubeflow.org/v1", "kind": "JAXJob", "metadata": {"name": "broken"},
        "spec": {"jaxReplicaSpecs": {"Worker": {"template": {"spec": {"containers": [
            {"name": "jax", "image": "busybox", "volumeMounts": [{"name": "none", "mountPath": "/data"}]}]}}}}}})
    ended = until(platform, "JAXJob", "broken", "Failed")
    assert ended["reason"] == "JAXJobFailedValidation" and "volumeMounts" in ended["message"]


SLOW = [
    # A framework's own collective in two processes: kind, image, replicas, program.
    ("XGBoostJob", "ghcr.io/kubeflow/trainer/xgboost-runtime:v2.3.0", {"Master": 1, "Worker": 1}, programs.XGBOOST),
    ("JAXJob", "nvcr.io/nvidia/jax:25.10-py3", {"Worker": 2}, programs.JAX),
    ("TFJob", "tensorflow/tensorflow:2.21.0", {"Worker": 2}, programs.TENSORFLOW),
    ("PaddleJob", "paddlepaddle/paddle:3.3.1", {"Worker": 2}, programs.PADDLE),
]
PADDLE_LAUNCH = ("cat > /tmp/program.py; export PADDLE_DISTRI_BACKEND=gloo; "
                 "exec python3 -m paddle.distributed.launch --log_dir /tmp/log --nproc_per_node 1 /tmp/program.py")


@pytest.mark.proof
@pytest.mark.timeout(BUILD_SECONDS)
@pytest.mark.parametrize(("kind", "image", "replicas", "program"), SLOW, ids=[one[0] for one in SLOW])
def test_a_frameworks_own_collective_in_two_jobs_at_once(new_platform: Callable[[], Platform], kind: str, image: str,
                                                         replicas: dict[str, int], program: str) -> None:
    platform = new_platform().start()
    command = ["python3", "-c", program]
    if kind == "PaddleJob":  # its launcher takes a file, and meets its peers by itself
        command = ["sh", "-c", f"cat <<'END' | (\n{program}\nEND\n{PADDLE_LAUNCH})"]
    for name in ("one", "two"):
        create(platform, kind, name, {type: {"replicas": count, "image": image, "command": command}
                                      for type, count in replicas.items()})
    for name in ("one", "two"):
        ended = until(platform, kind, name, "Succeeded", "Failed", seconds=BUILD_SECONDS - 30)
        assert ended["type"] == "Succeeded", logs_of(platform, name)
        until_true(lambda name=name: logs_of(platform, name, "sum ") == sums(2))


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_torch_ranks_and_elastic_workers(new_platform: Callable[[], Platform]) -> None:
    """Plain ranks at a master, two jobs at once, and torchrun by its rendezvous, all on upstream's port."""
    _require_torch()
    platform = new_platform().start()
    image = "pytorch/pytorch:2.13.0"
    plain = {"image": image, "command": ["python3", "-c", programs.TORCH]}
    for name in ("one", "two"):
        create(platform, "PyTorchJob", name, {"Master": plain, "Worker": plain})
    elastic = {"replicas": 2, "image": image, "command": ["torchrun", "--no-python", "python3", "-c", programs.TORCH]}
    create(platform, "PyTorchJob", "elastic", {"Worker": elastic}, nprocPerNode="1",
           elasticPolicy={"minReplicas": 2, "maxReplicas": 2, "rdzvId": "elastic"})
    for name in ("one", "two", "elastic"):
        ended = until(platform, "PyTorchJob", name, "Succeeded", "Failed", seconds=BUILD_SECONDS - 30)
        assert ended["type"] == "Succeeded", logs_of(platform, name)
    for name in ("one", "two"):
        until_true(lambda name=name: logs_of(platform, name) == sums(2))


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_elastic_torch_goes_on_with_a_worker_more(new_platform: Callable[[], Platform]) -> None:
    """As ``kubectl scale`` asks: the one that was there meets the new one, and both begin anew as two."""
    _require_torch()
    platform = new_platform().start()
    worker = {"image": "pytorch/pytorch:2.13.0", "command": ["torchrun", "--no-python", "python3", "-c",
                                                             programs.ELASTIC],
              "env": [{"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"}]}
    # This torch keeps the address of a round's store for the next, where whoever is new then waits for it in vain.
    create(platform, "PyTorchJob", "grows", {"Worker": worker}, nprocPerNode="1",
           elasticPolicy={"minReplicas": 1, "maxReplicas": 2, "maxRestarts": 3, "rdzvId": "grows"})
    until(platform, "PyTorchJob", "grows", "Running", seconds=BUILD_SECONDS - 120)
    until_true(lambda: logs_of(platform, "grows") == ["world 1"])
    scale = platform.kube("GET", f"{ROOT}/pytorchjobs/grows/scale")
    platform.kube("PUT", f"{ROOT}/pytorchjobs/grows/scale", scale | {"spec": {"replicas": 2}})
    assert until(platform, "PyTorchJob", "grows", "Succeeded", "Failed", seconds=100)["type"] == "Succeeded"
    until_true(lambda: logs_of(platform, "grows", "world") == ["world 2", "world 2"])
    restarts = [one["restartCount"] for pod in pods_of(platform, "grows") for one in pod["status"]["containerStatuses"]]
    assert restarts == [0, 0], "torch did it, not the node"
