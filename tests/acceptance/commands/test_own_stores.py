"""A namespace that brings its own store along by the ConfigMap ``kfp-launcher``: where files lie, what is refused."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests import s3_server
from tests.acceptance.conftest import Platform
from tests.unit.pipelines import specs

LIMIT_SECONDS = 60
TEAM = "team-own"
_KIND = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
pytestmark = pytest.mark.sdk


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server.running() as running:
        s3_server.make_bucket(running, "own")
        yield running


@pytest.fixture(scope="module")
def team(platform: Platform, endpoint: str) -> Platform:
    platform.kube("POST", "/api/v1/namespaces", {"metadata": {"name": TEAM}})
    platform.kube("POST", f"/api/v1/namespaces/{TEAM}/secrets", {
        "metadata": {"name": "keys"}, "stringData": {"access": "test", "secret": "secret"}})
    providers = {"s3": {"default": {
        "endpoint": endpoint.partition("://")[2], "disableSSL": True, "region": "us-east-1",
        "credentials": {"fromEnv": False, "secretRef": {
            "secretName": "keys", "accessKeyKey": "access", "secretKeyKey": "secret"}}}}}
    _configure(platform, {"defaultPipelineRoot": "s3://own/runs", "providers": json.dumps(providers)})
    return platform


def _configure(platform: Platform, data: dict[str, str]) -> None:
    base = f"/api/v1/namespaces/{TEAM}/configmaps"
    body = {"metadata": {"name": "kfp-launcher"}, "data": data}
    try:
        platform.kube("POST", base, body)
    except urllib.error.HTTPError as cause:
        with cause:
            assert cause.code == 409
        platform.kube("PUT", f"{base}/kfp-launcher", body)


def _spec() -> dict[str, Any]:
    command = ["sh", "-c", 'printf hello > "$0"', "{{$.outputs.artifacts['made'].path}}"]
    read = ["sh", "-c", 'test "$(cat "$0")" = hello', "{{$.inputs.artifacts['given'].path}}"]
    return specs.pipeline(
        {"make": specs.task("make"),
         "look": {"componentRef": {"name": "look"}, "dependentTasks": ["make"], "inputs": {"artifacts": {
             "given": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "made"}}}}}},
        {"make": specs.component("make", outputs={"artifacts": {"made": _KIND}}),
         "look": specs.component("look", inputs={"artifacts": {"given": _KIND}})},
        exec_make={"container": {"image": "busybox", "command": command}},
        exec_look={"container": {"image": "busybox", "command": read}})


def _start(platform: Platform, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = platform.rest("POST", f"/apis/v2beta1/runs?namespace={TEAM}", {
        "display_name": "own", "pipeline_spec": _spec(), **more})
    return made


def _end(platform: Platform, run_id: str) -> dict[str, Any]:
    limit = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < limit:
        run: dict[str, Any] = platform.rest("GET", f"/apis/v2beta1/runs/{run_id}")
        if run["state"] in ("SUCCEEDED", "FAILED"):
            return run
        time.sleep(0.1)
    raise AssertionError("the run did not end")


def test_files_lie_where_the_namespace_says(team: Platform) -> None:
    made = _start(team)
    assert made["runtime_config"]["pipeline_root"] == "s3://own/runs"
    run = _end(team, made["run_id"])
    assert run["state"] == "SUCCEEDED", json.dumps(run)[-3000:]
    [artifact] = team.rest("GET", f"/apis/v2beta1/artifacts?namespace={TEAM}")["artifacts"]
    assert artifact["uri"].startswith("s3://own/runs/")


def test_the_platforms_identity_stays_its_own(team: Platform) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _start(team, runtime_config={"pipeline_root": "minio://mlpipeline/v2/artifacts"})
    with refused.value:
        assert refused.value.code == 403


def test_what_cannot_be_honoured_is_refused_when_a_run_starts(team: Platform) -> None:
    _configure(team, {"providers": json.dumps({"azure": {}})})
    limit = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            _end(team, _start(team)["run_id"])  # The server has not heard of the change yet.
        except urllib.error.HTTPError as cause:
            with cause:
                assert (cause.code, "providers.azure" in cause.read().decode()) == (400, True)
            return
        assert time.monotonic() < limit, "it is never refused"
