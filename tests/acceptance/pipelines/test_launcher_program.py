"""The launcher as a program in steps' Pods, as on a cluster that is not Lightship's own: keys from a Secret, artifacts
at an S3 endpoint or on a claim, the end of the step's command heard with the Pod's own service account.

On the embedded node the image of our package is one of its Python environments, so these are whole Pods: volumes,
mounts, tokens, RBAC and the network are as for any other.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightship.domains.pipelines import names
from lightship.lib import ids
from lightship.lib.clock import SYSTEM
from lightship.records import experiments, run_history
from lightship.records import pipeline_rows as rows
from lightship.records.database import Database
from lightship.records.rows import Experiment, Run
from tests import s3_server
from tests.acceptance.conftest import Platform
from tests.acceptance.lifecycle.test_controllers import Controllers

New = Callable[[], Platform]
IMAGE = "lightship.dev/lightship:v1"
WAIT_SECONDS = 120
pytestmark = pytest.mark.slow


def _component(name: str, inputs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"executorLabel": f"exec-{name}", "outputDefinitions": {
        "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}},
        "parameters": {"said": {"parameterType": "STRING"}}}}
    if inputs:
        found["inputDefinitions"] = {"artifacts": {"model": {"artifactType": {
            "schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}}}
    return found


def pipeline(second: str = "") -> dict[str, Any]:
    """Two steps: the second reads the folder that the first wrote, and says what is in it."""
    make = ('mkdir -p "$0/deep" && printf one > "$0/a" && printf two > "$0/deep/b" && mkdir -p "$(dirname "$1")" '
            '&& printf made > "$1"')
    use = second or ('cat "$2/a" "$2/deep/b" > "$0" && mkdir -p "$(dirname "$1")" && cat "$0" > "$1"')
    out = ["{{$.outputs.artifacts['model'].path}}", "{{$.outputs.parameters['said'].output_file}}"]

    def executor(script: str, *more: str) -> dict[str, Any]:
        return {"container": {"image": "busybox", "command": ["sh", "-ec", script], "args": [*out, *more]}}

    return {
        "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.15.0", "pipelineInfo": {"name": "two-steps"},
        "components": {"comp-make": _component("make", False), "comp-use": _component("use", True)},
        "deploymentSpec": {"executors": {
            "exec-make": executor(make), "exec-use": executor(use, "{{$.inputs.artifacts['model'].path}}")}},
        "root": {"dag": {"tasks": {
            "make": {"componentRef": {"name": "comp-make"}, "taskInfo": {"name": "make"},
                     "cachingOptions": {"enableCache": True}},
            "use": {"componentRef": {"name": "comp-use"}, "taskInfo": {"name": "use"}, "dependentTasks": ["make"],
                    "cachingOptions": {"enableCache": True},
                    "inputs": {"artifacts": {"model": {"taskOutputArtifact": {
                        "producerTask": "make", "outputArtifactKey": "model"}}}}}}}},
    }


def run(platform: Platform, spec: dict[str, Any], root: str = "") -> dict[str, Any]:
    """The run, when it has ended."""
    made = platform.rest("POST", "/apis/v2beta1/runs", {
        "display_name": "program", "pipeline_spec": spec, "runtime_config": {"pipeline_root": root}})
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        seen: dict[str, Any] = platform.rest("GET", f"/apis/v2beta1/runs/{made['run_id']}")
        if seen["state"] in ("SUCCEEDED", "FAILED", "CANCELED"):
            return seen
        assert time.monotonic() < deadline, (seen, pods(platform), platform.server_log())
        time.sleep(0.1)


def pods(platform: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.kube("GET", "/api/v1/namespaces/default/pods")["items"]
    return found


def said(platform: Platform, pod: dict[str, Any], container: str) -> str:
    request = urllib.request.Request(
        f"{platform.info['kubeUrl']}/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log?container={container}",
        headers={"Authorization": f"Bearer {platform.token}"})
    trust = ssl.create_default_context(cafile=str(platform.data_dir / "pki" / "ca.crt"))
    with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
        return str(answer.read().decode())


def parameters(data_dir: Path) -> dict[str, Any]:
    """What each task gave, from the records."""
    with sqlite3.connect(data_dir / "records.db") as database:
        return {name: json.loads(outputs)["parameters"] for name, outputs in database.execute(
            "select name, outputs from tasks where type = 'RUNTIME'")}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server that Pods reach: at this machine's address, since their loopback is their own."""
    for name, value in s3_server.KEYS.items():
        monkeypatch.setenv(name, value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        address = str(probe.getsockname()[0])
    with s3_server.running(address) as served:
        yield served


def make_secret(platform: Platform) -> None:
    platform.kube("POST", "/api/v1/namespaces/default/secrets", {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mlpipeline-minio-artifact"},
        "stringData": {"accesskey": "test", "secretkey": "secret"}})


def folder_of_claim(platform: Platform, name: str) -> Path:
    """Make a claim, and tell where on this machine its files lie once it is bound."""
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    platform.kube("POST", claims, {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}})
    deadline = time.monotonic() + WAIT_SECONDS
    while not (volume := platform.kube("GET", f"{claims}/{name}")["spec"].get("volumeName")):
        assert time.monotonic() < deadline, "the claim was not bound"
        time.sleep(0.05)
    spec = platform.kube("GET", f"/api/v1/persistentvolumes/{volume}")["spec"]
    return platform.data_dir / "node" / "volumes" / str(spec["csi"]["volumeHandle"])


def check(platform: Platform, done: dict[str, Any]) -> None:
    assert done["state"] == "SUCCEEDED", (done, pods(platform), platform.server_log())
    assert parameters(platform.data_dir) == {"make": {"said": "made"}, "use": {"said": "onetwo"}}
    for pod in pods(platform):
        for status in pod["status"]["containerStatuses"] + pod["status"]["initContainerStatuses"]:
            assert status["state"]["terminated"]["exitCode"] == 0, status
        assert said(platform, pod, "stage-out") == "", "it heard of the end by its watch, and had nothing to say"


def test_pods_move_their_files_at_an_s3_endpoint_with_the_keys_of_their_namespace(
        new_platform: New, endpoint: str) -> None:
    platform = new_platform().start("--artifacts", endpoint, "--launcher-image", IMAGE)
    make_secret(platform)

    done = run(platform, pipeline())

    check(platform, done)
    again = run(platform, pipeline())
    assert again["state"] == "SUCCEEDED" and len(pods(platform)) == 2, "the second run comes from the cache"
    listed = platform.rest("GET", f"/apis/v2beta1/runs/{done['run_id']}")
    assert listed["state"] == "SUCCEEDED"
    assert not any((platform.data_dir / "artifacts").rglob("commit.json"))


def test_pods_move_their_files_over_a_claim(new_platform: New) -> None:
    platform = new_platform().start()
    folder = folder_of_claim(platform, "artifacts")
    platform.stop()
    platform.start("--artifacts", str(folder), "--artifacts-claim", "artifacts", "--launcher-image", IMAGE)

    check(platform, run(platform, pipeline()))


def test_a_step_that_fails_keeps_nothing_and_its_exit_code_tells(new_platform: New, endpoint: str) -> None:
    platform = new_platform().start("--artifacts", endpoint, "--launcher-image", IMAGE)
    make_secret(platform)

    done = run(platform, pipeline(second="echo the reason is here; exit 7"))

    assert done["state"] == "FAILED"
    failed = next(task for task in done["run_details"]["task_details"] if task["display_name"] == "use")
    assert "exit code 7" in json.dumps(failed) and "the reason is here" in json.dumps(failed)


def test_outputs_that_cannot_be_kept_fail_the_step_with_the_launchers_reason(
        new_platform: New, endpoint: str) -> None:
    platform = new_platform().start("--artifacts", endpoint, "--launcher-image", IMAGE)
    make_secret(platform)

    done = run(platform, pipeline(), root="minio://no-such-bucket/runs")

    told = json.dumps(done["run_details"]["task_details"])
    assert done["state"] == "FAILED" and "could not stage out" in told and "Make the bucket" in told


def test_a_secret_that_is_missing_is_said_while_the_step_waits(new_platform: New, endpoint: str) -> None:
    platform = new_platform().start("--artifacts", endpoint, "--launcher-image", IMAGE)
    made = platform.rest("POST", "/apis/v2beta1/runs", {"display_name": "waits", "pipeline_spec": pipeline()})
    deadline = time.monotonic() + WAIT_SECONDS
    while "mlpipeline-minio-artifact" not in json.dumps(
            platform.rest("GET", f"/apis/v2beta1/runs/{made['run_id']}")["run_details"]):
        assert time.monotonic() < deadline, platform.rest("GET", f"/apis/v2beta1/runs/{made['run_id']}")
        time.sleep(0.1)
    make_secret(platform)

    assert run(platform, pipeline())["state"] == "SUCCEEDED"


async def keep_run(data_dir: Path) -> str:
    """A run in the records of a data directory that nothing runs on yet."""
    database = Database(f"sqlite:///{data_dir / 'records.db'}")
    await database.migrate()
    run_id, now = ids.RandomIds().uid(), SYSTEM.now()

    def create(connection: Any) -> None:
        experiment = experiments.create(connection, Experiment(
            id=ids.RandomIds().uid(), namespace="default", name="Default", created_at=now))
        run_history.create(connection, Run(
            id=run_id, namespace="default", experiment_id=experiment.id, display_name="two-steps", spec=pipeline(),
            state=rows.PENDING, parameters={}, created_at=now, scheduled_at=now))

    await database.run(create)
    await database.close()
    return run_id


def test_controllers_elsewhere_drive_a_run_whose_files_they_share_with_its_pods(
        new_platform: New, endpoint: str, tmp_path: Path) -> None:
    platform = new_platform().start("--no-controllers")
    make_secret(platform)
    (tmp_path / "elsewhere").mkdir()
    run_id = asyncio.run(keep_run(tmp_path / "elsewhere"))
    controllers = Controllers(tmp_path / "elsewhere", platform.kubeconfig, "--artifacts", endpoint,
                              "--launcher-image", IMAGE)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while (state := state_of(tmp_path / "elsewhere", run_id)) not in rows.FINAL:
            assert time.monotonic() < deadline and controllers.process.poll() is None, controllers.said()
            time.sleep(0.1)
    finally:
        controllers.stop()
    assert state == rows.SUCCEEDED, controllers.said()
    assert parameters(tmp_path / "elsewhere") == {"make": {"said": "made"}, "use": {"said": "onetwo"}}
    assert len(pods(platform)) == 2 and not any(names.FINALIZER in pod["metadata"].get("finalizers", ())
                                                for pod in pods(platform))


def state_of(data_dir: Path, run_id: str) -> str:
    with sqlite3.connect(data_dir / "records.db") as database:
        return str(database.execute("select state from runs where id = ?", (run_id,)).fetchone()[0])
