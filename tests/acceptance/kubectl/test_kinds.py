"""Real kubectl and every kind: creation by protobuf, explain, tables, replace, and both kinds of apply in turn."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.kubectl.test_kubectl import Kubectl, api, kubectl
from tests.unit.apiserver.test_hostile import SAMPLES

__all__ = ["api", "kubectl"]
pytestmark = pytest.mark.sdk

_GROUPS = {
    "PodDisruptionBudget": "policy/v1", "HorizontalPodAutoscaler": "autoscaling/v2", "Job": "batch/v1",
    "StorageClass": "storage.k8s.io/v1", "JobSet": "jobset.x-k8s.io/v1alpha2", "CronJob": "batch/v1",
    "EndpointSlice": "discovery.k8s.io/v1", "Ingress": "networking.k8s.io/v1", "NetworkPolicy": "networking.k8s.io/v1",
} | dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ControllerRevision"), "apps/v1")


async def test_every_create_command(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "web", "--image=nginx", "--port=80")
    await kubectl("create", "cronjob", "c", "--image=busybox", "--schedule=*/5 * * * *", "--", "true")
    await kubectl("create", "pdb", "p", "--selector=app=web", "--min-available=1")
    await kubectl("create", "ingress", "i", "--rule=example.com/x=svc:80")
    await kubectl("create", "service", "nodeport", "n", "--tcp=80")
    await kubectl("create", "service", "externalname", "e", "--external-name=example.com")
    await kubectl("create", "priorityclass", "high", "--value=1000")
    await kubectl("create", "quota", "q", "--hard=pods=50")
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "rb", "--role=r", "--user=jane")
    await kubectl("create", "clusterrole", "cr", "--verb=get", "--resource=nodes")
    await kubectl("create", "clusterrolebinding", "crb", "--clusterrole=cr", "--user=jane")
    await kubectl("autoscale", "deployment", "web", "--max=3")
    assert "web" in await kubectl("get", "hpa")
    scaled = json.loads(await kubectl("get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "json"))
    assert scaled["spec"]["targetCPUUtilizationPercentage"] == 80
    ports = json.loads(await kubectl("get", "svc", "n", "-o", "json"))["spec"]["ports"]
    assert 30000 <= ports[0]["nodePort"] <= 32767
    assert "example.com" in await kubectl("get", "ing", "i")
    listed = await kubectl("get", "all")
    assert all(name in listed for name in ("deployment.apps/web", "cronjob.batch/c", "service/n"))


async def test_every_kind_is_applied_shown_described_and_deleted(kubectl: Kubectl) -> None:
    manifests = [{"apiVersion": _GROUPS.get(kind, "v1"), "kind": kind} | sample | {"metadata": {"name": "x"}}
                 for kind, sample in SAMPLES.items() if kind != "Event"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    assert (await kubectl("apply", "-f", "-", stdin=text)).count("created") == len(manifests)
    again = await kubectl("apply", "-f", "-", stdin=text)
    assert sorted(line.partition(".")[0].partition("/")[0] for line in again.splitlines() if "configured" in line) == [
        "endpoints", "endpointslice", "jobset", "poddisruptionbudget", "statefulset"], "as upstream: lists owned whole"
    assert (await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)).count(
        "serverside-applied") == len(manifests)
    assert await kubectl("diff", "--server-side", "-f", "-", stdin=text) == ""
    for manifest in manifests:
        kind = str(manifest["kind"])
        assert "x" in await kubectl("get", kind, "x", "-o", "wide"), kind
    for kind in ("statefulset", "cronjob", "hpa", "pdb", "pv", "pvc", "sc", "ingress", "netpol", "service", "ds"):
        assert "x" in await kubectl("describe", kind, "x"), kind
    assert (await kubectl("delete", "--wait=false", "-f", "-", stdin=text)).count("deleted") == len(manifests)


async def test_explain_goes_all_the_way_down(kubectl: Kubectl) -> None:
    whole = await kubectl("explain", "--recursive", "pod.spec")
    assert "preferredDuringSchedulingIgnoredDuringExecution" in whole and "containerPort" in whole
    assert "-required-" in await kubectl("explain", "deployment.spec")
    assert "volumeClaimTemplates" in await kubectl("explain", "sts.spec")
    assert "replicatedJobs" in await kubectl("explain", "jobsets.spec")
    assert "roleRef" in await kubectl("explain", "rolebinding")


async def test_replace_force_and_strict_fields(kubectl: Kubectl) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    await kubectl("create", "-f", "-", stdin=json.dumps(service))
    address = await kubectl("get", "svc", "s", "-o", "jsonpath={.spec.clusterIP}")
    service["spec"]["selector"] = {"a": "b"}  # type: ignore[index]
    assert "replaced" in await kubectl("replace", "-f", "-", stdin=json.dumps(service))
    assert await kubectl("get", "svc", "s", "-o", "jsonpath={.spec.clusterIP}") == address
    assert "replaced" in await kubectl("replace", "--force", "-f", "-", stdin=json.dumps(service))
    service["spec"]["ports"] = "many"  # type: ignore[index]
    code, _, error = await kubectl.run("replace", "--validate=false", "-f", "-", stdin=json.dumps(service))
    assert code == 1 and "cannot unmarshal string into Go struct field ServiceSpec.spec.ports" in error


async def test_nothing_serves_an_ingress_and_kubectl_says_so(kubectl: Kubectl) -> None:
    _, _, error = await kubectl.run("create", "ingress", "i", "--rule=example.com/x=svc:80")
    assert "Warning: nothing in this cluster serves Ingresses" in error
