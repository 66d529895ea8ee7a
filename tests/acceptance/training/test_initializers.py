"""Data that a training brings before it starts: from a bucket, by its own keys, and from a claim; then shared."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from tests import s3_server
from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_failures import RUNTIMES, of, runtime
from tests.acceptance.training.test_training import JOBS, logs_of, train_job, until

READS = """
import os
print(sorted(os.listdir("/workspace/dataset")), open("/workspace/dataset/a.csv").read(), flush=True)
"""
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3",
          "Content-Type": "application/octet-stream"}
"""Enough for a test's server."""
SECRETS, CLAIMS = "/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/persistentvolumeclaims"


def with_data(name: str) -> dict[str, Any]:
    """A runtime with a data set's initializer, whose volume the nodes share."""
    made = runtime(name)
    template = made["spec"]["template"]["spec"]
    node = template["replicatedJobs"][0]
    node["dependsOn"] = [{"name": "dataset-initializer", "status": "Complete"}]
    mount = [{"name": "initializer", "mountPath": "/workspace"}]
    node["template"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mount
    step = {"name": "dataset-initializer", "template": {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "dataset-initializer"}},
        "spec": {"template": {"spec": {"containers": [{
            "name": "dataset-initializer", "image": "ghcr.io/kubeflow/trainer/dataset-initializer",
            "volumeMounts": mount}]}}}}}
    template["replicatedJobs"] = [step, node]
    template["volumeClaimPolicies"] = [{"templates": [{"metadata": {"name": "initializer"}, "spec": {
        "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}]}]
    return made


def train(platform: Platform, name: str, uri: str, **dataset: Any) -> dict[str, Any]:
    platform.kube("POST", JOBS, train_job(name, {"numNodes": 2, "command": ["python3", "-c", READS]}, **of("with-data"),
                                          initializer={"dataset": {"storageUri": uri} | dataset}))
    return until(platform, name, "Complete", "Failed")


def test_from_a_bucket_by_the_jobs_own_keys_and_from_a_claim(platform: Platform) -> None:
    platform.kube("POST", RUNTIMES, with_data("with-data"))
    with s3_server.running() as endpoint:
        for name in ("a.csv", "deep/b.csv"):
            request = urllib.request.Request(f"{endpoint}/mlpipeline/data/{name}", method="PUT", data=name.encode(),
                                             headers=SIGNED)
            with urllib.request.urlopen(request, timeout=30):
                pass
        platform.kube("POST", SECRETS, {"metadata": {"name": "bucket"}, "stringData": {
            "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "secret", "ENDPOINT": endpoint, "REGION": "us-east-1"}})
        ended = train(platform, "from-s3", "s3://mlpipeline/data", secretRef={"name": "bucket"})
        assert ended["status"]["conditions"][-1]["type"] == "Complete", json.dumps(ended) + logs_of(platform, "from-s3")
    assert logs_of(platform, "from-s3").count("['a.csv', 'deep'] a.csv") == 2
    ended = train(platform, "from-claim", "pvc://initializer-from-s3/dataset")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(platform, "from-claim")
    said = logs_of(platform, "from-claim")
    assert said.count("['a.csv', 'deep'] a.csv") == 2 and "copied 2 file(s) from pvc://initializer-from-s3" in said


def test_a_source_that_is_not_there_is_named_in_the_condition(platform: Platform) -> None:
    made = with_data("with-data-once")
    made["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] = 0
    platform.kube("POST", RUNTIMES, made)
    platform.kube("POST", JOBS, train_job("lost", {"command": ["true"]}, **of("with-data-once"),
                                          initializer={"dataset": {"storageUri": "minio://mlpipeline/not-there"}}))
    (failed,) = until(platform, "lost", "Failed")["status"]["conditions"]
    assert "dataset-initializer 0 failed first" in failed["message"]
    assert "nothing lies at minio://mlpipeline/not-there" in failed["message"]
