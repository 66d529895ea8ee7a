"""Pipelines by kubectl and by REST are the same pipelines; recurring runs run, and a kill -9 loses and doubles none."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.kfp_rest.test_routes import BASE, SPEC

KUBE = "/apis/pipelines.kubeflow.org/v2beta1/namespaces/default"
LIMIT_SECONDS = 60
QUICK: dict[str, Any] = {
    "pipelineInfo": {"name": "quick"}, "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0",
    "components": {"comp-a": {"executorLabel": "exec-a"}},
    "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "busybox", "command": ["true"]}}}},
    "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "taskInfo": {"name": "a"}}}}}}


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` gives, once it gives something."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            found = look()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:
                raise
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def code(call: Callable[[], Any]) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        call()
    caught.value.close()
    return caught.value.code


def applied(name: str, pipeline: str) -> dict[str, Any]:
    return {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": "PipelineVersion", "metadata": {"name": name},
            "spec": {"pipelineName": pipeline, "pipelineSpec": SPEC, "description": "by kubectl"}}


def test_what_is_applied_is_in_rest(platform: Platform) -> None:
    platform.kube("POST", f"{KUBE}/pipelineversions", applied("applied-v1", "applied"))  # before its pipeline
    made = platform.kube("POST", f"{KUBE}/pipelines", {
        "apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": "Pipeline", "metadata": {"name": "applied"},
        "spec": {"description": "d", "displayName": "Applied"}})

    shown = eventually(lambda: platform.rest("GET", f"{BASE}/pipelines/names/applied"))
    assert (shown["pipeline_id"], shown["display_name"]) == (made["metadata"]["uid"], "Applied")
    versions = eventually(lambda: platform.rest(
        "GET", f"{BASE}/pipelines/{shown['pipeline_id']}/versions").get("pipeline_versions"))
    assert [(each["name"], each["pipeline_spec"]) for each in versions] == [("applied-v1", SPEC)]

    def ready() -> Any:
        found = platform.kube("GET", f"{KUBE}/pipelineversions/applied-v1")
        conditions = found.get("status", {}).get("conditions", [])
        return found if [each["reason"] for each in conditions] == ["READY"] else None

    version = eventually(ready)
    assert version["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert version["metadata"]["labels"]["pipelines.kubeflow.org/pipeline-id"] == made["metadata"]["uid"]
    change = {"spec": {"description": "other"}}
    path = f"{KUBE}/pipelineversions/applied-v1"
    assert code(lambda: platform.kube("PATCH", path, change, "application/merge-patch+json")) == 422
    platform.kube("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, "application/merge-patch+json")
    platform.kube("DELETE", f"{KUBE}/pipelines/applied")
    eventually(lambda: not platform.rest("GET", f"{BASE}/pipelines").get("total_size"))
    eventually(lambda: not platform.kube("GET", f"{KUBE}/pipelineversions")["items"])


def test_what_rest_makes_is_an_object(platform: Platform) -> None:
    body = {"pipeline": {"name": "By REST!", "description": "d"}, "pipeline_version": {"pipeline_spec": SPEC}}
    made = platform.rest("POST", f"{BASE}/pipelines/create", body)
    base = f"{BASE}/pipelines/{made['pipeline_id']}"

    (item,) = platform.kube("GET", f"{KUBE}/pipelines")["items"]
    assert item["metadata"]["uid"] == made["pipeline_id"]
    (version,) = platform.kube("GET", f"{KUBE}/pipelineversions")["items"]
    assert (version["spec"]["pipelineSpec"], version["spec"]["pipelineName"]) == (SPEC, item["metadata"]["name"])
    (listed,) = platform.rest("GET", f"{base}/versions")["pipeline_versions"]
    assert (listed["pipeline_version_id"], listed["name"]) == (version["metadata"]["uid"], "By REST!")
    assert code(lambda: platform.rest("POST", f"{BASE}/pipelines/create", body)) == 409
    platform.rest("PATCH", base, {"display_name": "Renamed"})
    assert platform.rest("GET", base)["display_name"] == "Renamed"
    assert code(lambda: platform.rest("DELETE", base)) == 400
    platform.rest("DELETE", f"{base}?cascade=true")
    assert code(lambda: platform.rest("GET", base)) == 404
    assert platform.kube("GET", f"{KUBE}/pipelines")["items"] == []
    eventually(lambda: not platform.kube("GET", f"{KUBE}/pipelineversions")["items"])


def test_a_version_that_cannot_run_is_refused(platform: Platform) -> None:
    broken = applied("broken", "nobody")
    broken["spec"]["pipelineSpec"] = SPEC | {"components": {}}

    assert code(lambda: platform.kube("POST", f"{KUBE}/pipelineversions", broken)) == 422


def test_a_log_is_streamed_while_its_step_runs(platform: Platform) -> None:
    """What it has written comes while it runs, and the answer ends when the step does."""
    script = "echo first; sleep 1000"
    spec = QUICK | {"deploymentSpec": {"executors": {"exec-a": {"container": {
        "image": "busybox", "command": ["sh", "-c", script]}}}}}
    run = platform.rest("POST", f"{BASE}/runs", {"display_name": "talks", "pipeline_spec": spec})["run_id"]

    def pod() -> Any:
        steps = platform.rest("GET", f"{BASE}/runs/{run}")["run_details"]["task_details"]
        return next((step.get("pod_name") for step in steps if step["state"] == "RUNNING" and step.get("pod_name")), "")

    name = eventually(pod)
    path = f"/apis/v1alpha1/runs/{run}/nodes/{name}/log?follow=true"
    headers = {"Authorization": f"Bearer {platform.token}"}

    def opened() -> Any:
        return urllib.request.urlopen(urllib.request.Request(platform.info["url"] + path, headers=headers), timeout=60)

    with eventually(opened) as stream:
        assert stream.readline() == b"first\n"
        assert platform.rest("GET", f"{BASE}/runs/{run}")["state"] == "RUNNING"
        platform.rest("POST", f"{BASE}/runs/{run}:terminate")
        assert stream.read() == b""
    eventually(lambda: platform.rest("GET", f"{BASE}/runs/{run}")["state"] == "CANCELED")


@pytest.mark.slow
def test_a_kill_loses_and_doubles_no_run(new_platform: Callable[[], Platform]) -> None:
    platform = new_platform().start()
    made = platform.rest("POST", f"{BASE}/recurringruns", {
        "display_name": "often", "pipeline_spec": QUICK, "max_concurrency": "10",
        "trigger": {"periodic_schedule": {"interval_second": "1"}}})
    path = f"{BASE}/recurringruns/{made['recurring_run_id']}"

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = platform.rest("GET", f"{BASE}/runs?page_size=200").get("runs", [])
        return found

    for _ in range(3):
        eventually(lambda: len(runs()) > 2)
        platform.kill()
        platform.start()
    platform.rest("POST", f"{path}:disable")
    shown = platform.rest("GET", path)
    times = sorted(run["scheduled_at"] for run in runs())
    assert len(times) == shown["runs_made"] == len(set(times))
    eventually(lambda: all(run["state"] == "SUCCEEDED" for run in runs()))


def test_a_pipeline_that_goes_with_its_versions_leaves_no_warning(platform: Platform) -> None:
    log = platform.data_dir / "logs" / "server.log"
    before = len(log.read_text())
    for number in range(3):
        made = platform.rest("POST", f"{BASE}/pipelines", {"display_name": f"goes-{number}"})
        base = f"{BASE}/pipelines/{made['pipeline_id']}"
        for version in range(4):
            platform.rest("POST", f"{base}/versions", {"display_name": f"goes-{number}-{version}",
                                                       "pipeline_spec": SPEC})
        platform.rest("DELETE", f"{base}?cascade=true")
    eventually(lambda: not platform.kube("GET", f"{KUBE}/pipelineversions")["items"])
    assert "pipeline-versions" not in log.read_text()[before:]
