"""Where models come from, on a whole platform: a server of files stands in for a model server, so nothing is installed.

Buckets by the keys of an account and of ``storage.key``, the web, the registry, several locations, and what a Pod that
starts again costs.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import s3_server
from tests.acceptance.conftest import Platform
from tests.web_files import WebFiles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
CORE = "/api/v1/namespaces/default"
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3",
          "Content-Type": "application/octet-stream"}
RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "files"},
    "spec": {"supportedModelFormats": [{"name": "files", "autoSelect": True}], "containers": [{
        "name": "kserve-container", "image": "python",
        "command": ["python3", "-m", "http.server", "8080", "--directory", "/mnt"]}]}}


@pytest.fixture(scope="module")
def served(platform: Platform) -> Platform:
    platform.kube("POST", "/apis/serving.kserve.io/v1alpha1/namespaces/default/servingruntimes", RUNTIME)
    return platform


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server.running() as endpoint:
        put(endpoint, "mlpipeline/m/model.txt", b"from a bucket")
        yield endpoint


def put(endpoint: str, place: str, data: bytes) -> None:
    request = urllib.request.Request(f"{endpoint}/{place}", method="PUT", data=data, headers=SIGNED)
    with urllib.request.urlopen(request, timeout=30):
        pass


def serve(platform: Platform, name: str, predictor: dict[str, Any], **model: Any) -> None:
    platform.kube("POST", SERVICES, {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": name},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "files"}, **model}, **predictor}}})


def until_ready(platform: Platform, name: str) -> None:
    """Returns when a service is ready, fails where it says why it is not going to be."""
    for _ in range(600):
        status = platform.kube("GET", f"{SERVICES}/{name}").get("status") or {}
        if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ()):
            return
        failure = (status.get("modelStatus") or {}).get("lastFailureInfo")
        assert not failure, failure
        time.sleep(0.1)
    raise AssertionError(json.dumps(status))


def failure_of(platform: Platform, name: str) -> str:
    for _ in range(600):
        status = platform.kube("GET", f"{SERVICES}/{name}").get("status") or {}
        if failure := (status.get("modelStatus") or {}).get("lastFailureInfo"):
            return str(failure["message"])
        time.sleep(0.1)
    raise AssertionError(json.dumps(status))


def read(platform: Platform, name: str, path: str) -> str:
    request = urllib.request.Request(f"{platform.info['gatewayUrl']}/serving/default/{name}/{path}",
                                     headers={"Authorization": f"Bearer {platform.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_a_bucket_by_the_keys_of_an_account(served: Platform, bucket: str) -> None:
    served.kube("POST", f"{CORE}/secrets", {
        "metadata": {"name": "keys", "annotations": {"serving.kserve.io/s3-endpoint": bucket.partition("://")[2],
                                                     "serving.kserve.io/s3-usehttps": "0"}},
        "stringData": {"awsAccessKeyID": "test", "awsSecretAccessKey": "secret"}})
    served.kube("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "models"}, "secrets": [{"name": "keys"}]})
    serve(served, "account", {"serviceAccountName": "models"}, storageUri="s3://mlpipeline/m")
    until_ready(served, "account")
    assert read(served, "account", "models/model.txt") == "from a bucket"
    serve(served, "nobody", {}, storageUri="s3://mlpipeline/m")
    assert "no store for s3:// is set up here" in failure_of(served, "nobody")


def test_a_bucket_by_the_key_of_a_storage(served: Platform, bucket: str) -> None:
    served.kube("POST", f"{CORE}/secrets", {"metadata": {"name": "storage-config"}, "stringData": {
        "mine": json.dumps({"type": "s3", "access_key_id": "test", "secret_access_key": "secret",
                            "endpoint_url": bucket, "bucket": "mlpipeline"})}})
    serve(served, "key", {}, storage={"key": "mine", "path": "m"})
    until_ready(served, "key")
    assert read(served, "key", "models/model.txt") == "from a bucket"


def test_the_web_once_however_many_pods(served: Platform) -> None:
    with WebFiles() as web:
        web.serve("/m/model.txt", b"from the web")
        web.serve("/m/extra.txt", b"more")
        serve(served, "web", {"minReplicas": 3, "storageUris": [
            {"uri": web.url("/m/model.txt"), "mountPath": "/mnt/models"},
            {"uri": web.url("/m/extra.txt"), "mountPath": "/mnt/extra"}]})
        until_ready(served, "web")
        assert read(served, "web", "models/model.txt") == "from the web"
        assert read(served, "web", "extra/extra.txt") == "more"
        pods = served.kube("GET", f"{CORE}/pods?labelSelector=serving.kserve.io/inferenceservice=web")["items"]
        assert len(pods) == 3
        for path in ("/m/model.txt", "/m/extra.txt"):
            assert web.got(path) == 1
    cached = [path for path in (served.data_dir / "model-cache" / "entries").rglob("model.txt")
              if path.read_bytes() == b"from the web"]
    assert [path.stat().st_nlink for path in cached] == [1 + 3]


def test_a_registered_version(served: Platform, tmp_path: Path) -> None:
    registry = "/api/model_registry/v1alpha3"
    model = served.rest("POST", f"{registry}/registered_models", {"name": "served"})
    version = served.rest("POST", f"{registry}/model_versions", {"name": "v1", "registeredModelId": model["id"]})
    with WebFiles() as web:
        web.serve("/r/model.txt", b"registered")
        served.rest("POST", f"{registry}/model_versions/{version['id']}/artifacts", {
            "artifactType": "model-artifact", "name": "served", "uri": web.url("/r/model.txt")})
        for name, uri in (("newest", "model-registry://served"), ("version", "model-registry://served/v1")):
            serve(served, name, {}, storageUri=uri)
            until_ready(served, name)
            assert read(served, name, "models/model.txt") == "registered"
    serve(served, "unregistered", {}, storageUri="model-registry://served/v9")
    assert 'the registered model "served" has no version "v9"' in failure_of(served, "unregistered")
