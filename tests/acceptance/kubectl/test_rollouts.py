"""Workloads as a kubectl user drives them, on a platform with a node: rollouts, scale, history, every deletion."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.kubectl.test_kubectl import newest

pytestmark = pytest.mark.sdk

LIMIT_SECONDS = 120
SERVE = "trap 'exit 0' TERM; sleep 3600 & wait"

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    program = str(newest())
    environment = {"KUBECONFIG": str(platform.kubeconfig), "HOME": str(platform.data_dir), "PATH": os.environ["PATH"]}
    namespace = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].rstrip("-")

    def run(*words: str, stdin: str = "", fails: bool = False) -> str:
        done = subprocess.run([program, "-n", namespace, *words], input=stdin, capture_output=True, text=True,
                              timeout=LIMIT_SECONDS, env=environment, check=False)
        assert bool(done.returncode) is fails, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout + (done.stderr if fails else "")

    run("create", "namespace", namespace)
    yield run
    run("delete", "namespace", namespace, "--wait=false")


def pod_template(app: str, script: str = SERVE, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": app}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [
        {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script]}], **spec}}


def workload(kind: str, name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}}, "template": pod_template(name), **spec}})


def get(kubectl: Kubectl, *words: str) -> Any:
    return json.loads(kubectl("get", *words, "-o", "json"))


def test_a_deployments_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=2))
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert get(kubectl, "deployment/web")["status"]["readyReplicas"] == 3
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=first")
    kubectl("set", "image", "deployment/web", "main=busybox:2")
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    history = kubectl("rollout", "history", "deployment/web")
    assert "first" in history and "second" in history
    assert "busybox:1" in kubectl("rollout", "history", "deployment/web", "--revision=1")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert {pod["spec"]["containers"][0]["image"] for pod in get(kubectl, "pods", "-l", "app=web")["items"]
            if not pod["metadata"].get("deletionTimestamp")} == {"busybox:1"}
    before = {pod["metadata"]["uid"] for pod in get(kubectl, "pods")["items"]}
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    after = {pod["metadata"]["uid"] for pod in get(kubectl, "pods")["items"]
             if not pod["metadata"].get("deletionTimestamp")}
    assert len(after) == 3 and not after & before
    kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "main=busybox:3")
    assert len(get(kubectl, "replicasets")["items"]) == 3, "nothing is rolled out while it is paused"
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("rollout", "undo", "deployment/web", "--to-revision=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "busybox:2" in json.dumps(get(kubectl, "deployment/web")["spec"])
    assert "NewReplicaSet" in kubectl("describe", "deployment/web")


def test_a_rollout_that_gets_nowhere_is_told_of(kubectl: Kubectl) -> None:
    never = pod_template("web")
    never["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", progressDeadlineSeconds=2, minReadySeconds=1,
                                               template=never))
    said = kubectl("rollout", "status", "deployment/web", "--timeout=60s", fails=True)
    assert "exceeded its progress deadline" in said


def test_a_stateful_sets_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=workload("StatefulSet", "db", replicas=2, serviceName="db"))
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert [pod["metadata"]["name"] for pod in get(kubectl, "pods")["items"]] == ["db-0", "db-1"]
    kubectl("set", "image", "statefulset/db", "main=busybox:2")
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert "2" in kubectl("rollout", "history", "statefulset/db")
    kubectl("rollout", "undo", "statefulset/db")
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert {pod["spec"]["containers"][0]["image"] for pod in get(kubectl, "pods")["items"]} == {"busybox:1"}
    kubectl("rollout", "restart", "statefulset/db")
    kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    kubectl("scale", "statefulset/db", "--replicas=1")
    kubectl("wait", "--for=delete", "pod/db-1", "--timeout=60s")
    kubectl("delete", "statefulset/db", "--cascade=orphan")
    assert [pod["metadata"]["name"] for pod in get(kubectl, "pods")["items"]] == ["db-0"]


def test_a_daemon_sets_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=workload("DaemonSet", "agent"))
    kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    kubectl("set", "image", "daemonset/agent", "main=busybox:2")
    kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    kubectl("rollout", "undo", "daemonset/agent")
    kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    assert get(kubectl, "daemonset/agent")["status"]["numberReady"] == 1


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_deletions(kubectl: Kubectl, cascade: str) -> None:
    kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=1))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("delete", "deployment/web", f"--cascade={cascade}", "--timeout=60s")
    if cascade == "orphan":
        [kept] = get(kubectl, "replicasets")["items"]
        assert not kept["metadata"].get("ownerReferences")
        kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=1))
        kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        [adopted] = get(kubectl, "replicasets")["items"]
        assert adopted["metadata"]["uid"] == kept["metadata"]["uid"], "it is the new one's"
    else:
        if cascade == "background":
            kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")
        assert get(kubectl, "replicasets")["items"] == [] == get(kubectl, "pods")["items"]


def job(name: str, script: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "template": pod_template(name, script, restartPolicy="Never"), **spec}})


def test_jobs_to_their_ends(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=job("indexed", "echo $JOB_COMPLETION_INDEX", completions=3, parallelism=3,
                                          completionMode="Indexed"))
    kubectl("wait", "--for=condition=complete", "job/indexed", "--timeout=60s")
    assert get(kubectl, "job/indexed")["status"]["completedIndexes"] == "0-2"
    assert sorted(kubectl("logs", "-l", "job-name=indexed").split()) == ["0", "1", "2"]
    kubectl("apply", "-f", "-", stdin=job("picky", "exit 42", podFailurePolicy={"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}))
    kubectl("wait", "--for=condition=failed", "job/picky", "--timeout=60s")
    assert "exit code 42" in kubectl("describe", "job/picky")
    kubectl("apply", "-f", "-", stdin=job("paused", "true", suspend=True))
    kubectl("patch", "job/paused", "-p", '{"spec":{"suspend":false}}')
    kubectl("wait", "--for=condition=complete", "job/paused", "--timeout=60s")
    kubectl("delete", "job", "--all", "--cascade=foreground", "--timeout=60s")
    assert get(kubectl, "pods")["items"] == []


def test_a_cron_jobs_job(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "nightly", "--image=busybox", "--schedule=0 3 * * *", "--", "true")
    kubectl("create", "job", "now", "--from=cronjob/nightly")
    kubectl("wait", "--for=condition=complete", "job/now", "--timeout=60s")
    kubectl("create", "cronjob", "often", "--image=busybox", "--schedule=@every 1s", "--", "true")
    kubectl("wait", "--for=jsonpath={.status.lastSuccessfulTime}", "cronjob/often", "--timeout=60s")
    kubectl("delete", "cronjob", "--all")


def test_a_job_set_to_its_end(kubectl: Kubectl) -> None:
    def part(name: str, script: str, replicas: int = 1, **more: Any) -> dict[str, Any]:
        spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script]}]}}}
        return {"name": name, "replicas": replicas, "template": {"spec": spec}, **more}

    def job_set(name: str, *parts: dict[str, Any], **spec: Any) -> str:
        return json.dumps({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name},
                           "spec": {"replicatedJobs": list(parts), **spec}})

    kubectl("apply", "-f", "-", stdin=job_set("good", part("first", "true"), part(
        "then", "true", 2, dependsOn=[{"name": "first", "status": "Complete"}])))
    kubectl("wait", "--for=condition=completed", "jobset/good", "--timeout=60s")
    assert len(get(kubectl, "jobs")["items"]) == 3 and get(kubectl, "service/good")["spec"]["clusterIP"] == "None"
    kubectl("apply", "-f", "-", stdin=job_set("bad", part("only", "exit 3"), failurePolicy={"maxRestarts": 1}))
    kubectl("wait", "--for=condition=failed", "jobset/bad", "--timeout=60s")
    assert get(kubectl, "jobset/bad")["status"]["restarts"] == 1
    kubectl("delete", "jobset", "--all", "--cascade=foreground", "--timeout=60s")
    assert get(kubectl, "jobs")["items"] == []
