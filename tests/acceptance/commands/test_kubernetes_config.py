"""What kfp-kubernetes asks for, seen from inside a step, in its Pod, and where it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands.conftest import LIMIT_SECONDS
from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

FILE = Path(__file__).with_name("kubernetes_to_run.py")
pytestmark = pytest.mark.sdk


def _run(platform: Platform, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    python = sdk_python("kfp==2.17.0", "kfp-kubernetes==2.17.0")
    command = [sys.executable, "-m", "lightship", "run", f"{FILE}:{name}", "--python", str(python), "--data-dir",
               str(platform.data_dir), "-o", "json", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)


def _task(run: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(task for task in run["tasks"] if task["name"] == name)
    return found


@pytest.fixture
def furnished(platform: Platform) -> Platform:
    for kind, body in (("secrets", {"metadata": {"name": "sesame"}, "stringData": {"password": "open"}}),
                       ("secrets", {"metadata": {"name": "pull"}}),
                       ("configmaps", {"metadata": {"name": "settings"}, "data": {"mode": "fast"}})):
        platform.kube("POST", f"/api/v1/namespaces/default/{kind}", body)
    return platform


def test_a_step_sees_all_that_was_asked_for(furnished: Platform) -> None:
    done = _run(furnished, "everything", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(done.stdout)
    look = _task(run, "look")
    pod_name = look["pods"][0]["name"]

    [seen] = [each["value"] for each in look["outputs"]["parameters"]]
    assert seen["environment"] == {
        "PASSWORD": "open", "MODE": "fast", "DYNAMIC": "open", "NOT_THERE": None, "MY_POD": pod_name,
        "MY_NAMESPACE": "default", "MY_LABEL": "blue"}
    assert seen["files"] == {
        "/secrets/password": "open", "/config/mode": "fast", "/optional/nothing": "FileNotFoundError",
        "/scratch/own": "mine", "/ephemeral/own": "mine", "/data/left": "from before"}
    assert seen["user"] == [1234, 2345]

    pod = furnished.kube("GET", f"/api/v1/namespaces/default/pods/{pod_name}")
    spec = pod["spec"]
    assert pod["metadata"]["annotations"]["note"] == "kept"
    assert spec["activeDeadlineSeconds"] == 300
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    tolerations = {each["key"]: each for each in spec["tolerations"]}
    assert tolerations["gpu"] == {"key": "gpu", "operator": "Exists"}
    assert tolerations["spot"] == {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    assert spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    claims = furnished.kube("GET", "/api/v1/namespaces/default/persistentvolumeclaims")["items"]
    assert [each["metadata"]["name"] for each in claims if each["metadata"]["name"].endswith("-kept")] == []


def test_a_step_past_its_deadline_fails_and_says_so(platform: Platform) -> None:
    done = _run(platform, "too_long", "--follow")

    assert done.returncode == 1
    assert "DeadlineExceeded" in _task(json.loads(done.stdout), "sleepy")["error"]["message"]


def test_what_this_node_cannot_do_waits_with_a_reason(platform: Platform) -> None:
    made = json.loads(_run(platform, "nowhere").stdout)
    path, deadline = f"/apis/v2beta1/runs/{made['run_id']}", time.monotonic() + LIMIT_SECONDS
    while True:
        tasks = [task for task in platform.rest("GET", path).get("tasks", []) if task["name"] == "name-of-secret"]
        note = (tasks[0].get("status_metadata") or {}).get("message", "") if tasks else ""
        if note:
            break
        assert time.monotonic() < deadline, tasks
        time.sleep(0.1)

    assert "node" in note.lower() and ("selector" in note or "affinity" in note), note
    platform.rest("POST", f"{path}:terminate")
