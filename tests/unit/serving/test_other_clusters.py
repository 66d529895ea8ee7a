"""What another cluster gets: the same reconciler against the embedded API server with nothing that runs Pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightship import errors
from lightship.client.client import Client
from lightship.domains import serving
from lightship.domains.serving import kinds
from lightship.kube.objects import Key, Object
from lightship.kube.resources import (
    CONFIGMAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    PODS,
    SERVICES,
    Resource,
)
from lightship.lib.clock import SYSTEM
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.embedded import EmbeddedOptions, embedded_api

LIMIT_SECONDS = 30.0


def definition(resource: Resource) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}",
                     "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": resource.group, "scope": "Namespaced",
                 "names": {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind},
                 "versions": [{"name": resource.version, "served": True, "storage": True,
                               "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                                   "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


@asynccontextmanager
async def cluster(folder: Path, site: serving.Site) -> AsyncIterator[Client]:
    """A server with the serving controller on it; Deployments stay as they are made."""
    async with embedded_api(folder, EmbeddedOptions(kinds=serving.SERVING.kinds)) as api:
        client = api.in_process()
        for resource in (kinds.HTTP_ROUTES, kinds.SCALED_OBJECTS):
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(resource))
            await found(client, CUSTOM_RESOURCE_DEFINITIONS, f"{resource.plural}.{resource.group}", "", lambda crd: any(
                each["type"] == "Established" and each["status"] == "True"
                for each in (crd.get("status") or {}).get("conditions", ())))
        manager = Manager(lambda name: api.in_process())
        await serving.bootstrap(client, serving.ClusterGateway(image="registry.example/lightship:1",
                                                               namespace="default"))
        for controller in serving.SERVING.controllers(serving.ServingDeps(
                client=client, informer=manager.informer, recorder=Recorder(client, "serving"), clock=SYSTEM,
                site=site)):
            manager.add(controller)
        running = asyncio.create_task(manager.run())
        try:
            await manager.synced.wait()
            yield client
        finally:
            await manager.stop()
            await running


async def found(client: Client, resource: Resource, name: str, namespace: str = "default",
                wanted: Callable[[Object], bool] = lambda obj: True) -> Object:
    """The object once it is there as wanted."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                obj = await client.get(resource, name, namespace)
                if wanted(obj):
                    return obj
            except errors.NotFound:
                pass
            await asyncio.sleep(0.02)


def service(predictor: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
            "metadata": {"name": "iris", "namespace": "default", "annotations": annotations or {}},
            "spec": {"predictor": predictor} | spec}


MODEL = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/x"}}
HEADERS = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [
    {"name": "KServe-Isvc-Name", "value": "iris"}, {"name": "KServe-Isvc-Namespace", "value": "default"}]}}]
PARENTS = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "front"}]


def rule(path: str, timeout: int, **weights: int) -> dict[str, Any]:
    return {"matches": [{"path": {"type": "RegularExpression", "value": path}}], "filters": HEADERS,
            "backendRefs": [{"kind": "Service", "name": f"iris-{name.replace('_', '-')}", "namespace": "default",
                             "port": 80, "weight": weight} for name, weight in weights.items()],
            "timeouts": {"request": f"{timeout}s"}}


async def test_a_cluster_with_the_gateway_api(tmp_path: Path) -> None:
    site = serving.Site(gateway_url="http://unused", domain="models.example", entry=serving.Entry.HTTP_ROUTE,
                        parent="infra/front", keda=True)
    async with cluster(tmp_path, site) as client:
        await client.create(kinds.INFERENCE_SERVICES, service(
            MODEL | {"minReplicas": 1, "maxReplicas": 3, "scaleTarget": 70, "timeout": 9},
            transformer={"containers": [{"image": "mine:1"}]}, explainer={"containers": [{"image": "mine:2"}]}))
        top = await found(client, kinds.HTTP_ROUTES, "iris")
        assert top["spec"] == {
            "hostnames": ["iris-default.models.example"], "parentRefs": PARENTS,
            "rules": [rule("^/v1/models/[\\w-]+:explain$", 60, explainer=100), rule("^/.*$", 60, transformer=100)]}
        own = await found(client, kinds.HTTP_ROUTES, "iris-predictor")
        assert own["spec"]["hostnames"] == ["iris-predictor-default.models.example"]
        assert own["spec"]["rules"] == [rule("^/.*$", 9, predictor=100)]
        hpa = await found(client, HORIZONTAL_POD_AUTOSCALERS, "iris-predictor")
        assert hpa["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "iris-predictor"}
        assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (1, 3)
        assert hpa["spec"]["metrics"] == [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]
        for name in ("iris-predictor", "iris-transformer", "iris-explainer"):
            deployment = await found(client, DEPLOYMENTS, name)
            assert deployment["spec"]["selector"] == {"matchLabels": {"app": f"isvc.{name}"}}
            ports = (await found(client, SERVICES, name))["spec"]["ports"]
            assert [(port["port"], port["targetPort"]) for port in ports] == [(80, 8080)]
        status = (await found(client, kinds.INFERENCE_SERVICES, "iris", wanted=lambda obj: "status" in obj))["status"]
        assert status["url"] == "http://iris-default.models.example"
        assert status["address"]["url"] == "http://iris-transformer.default.svc.cluster.local"

        # What the Gateway has against a route is what the service says.
        await client.patch(kinds.HTTP_ROUTES, Key("default", "iris"), {"status": {"parents": [{"conditions": [{
            "type": "Accepted", "status": "False", "reason": "NoMatchingListener", "message": "no listener"}]}]}},
            subresource="status")
        told = await found(client, kinds.INFERENCE_SERVICES, "iris", wanted=lambda obj: any(
            each.get("reason") == "HTTPRouteNotAccepted" for each in obj["status"]["conditions"]))
        assert any("no listener" in each.get("message", "") for each in told["status"]["conditions"])
        await client.delete(kinds.INFERENCE_SERVICES, Key("default", "iris"))


async def test_a_canarys_weights_and_keda(tmp_path: Path) -> None:
    site = serving.Site(gateway_url="http://unused", entry=serving.Entry.HTTP_ROUTE, keda=True)
    trigger = {"metrics": [{"type": "External", "external": {
        "metric": {"backend": "prometheus", "serverAddress": "http://prometheus", "query": "up"},
        "target": {"type": "Value", "value": "10"}}}]}
    async with cluster(tmp_path, site) as client:
        await client.create(kinds.INFERENCE_SERVICES, service(
            MODEL | {"minReplicas": 1, "maxReplicas": 4, "autoScaling": trigger},
            {"serving.kserve.io/autoscalerClass": "keda", "serving.kserve.io/deploymentMode": "RawDeployment"},
            canary=[{"trafficPercent": 30, "predictor": {"name": "v2", "model": {
                "modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/y"}}}]))
        scaled = await found(client, kinds.SCALED_OBJECTS, "iris-predictor")
        assert scaled["spec"] == {
            "scaleTargetRef": {"name": "iris-predictor"}, "minReplicaCount": 1, "maxReplicaCount": 4,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "http://prometheus", "query": "up", "threshold": "10"}}]}
        route = await found(client, kinds.HTTP_ROUTES, "iris")
        assert route["spec"]["rules"] == [rule("^/.*$", 60, predictor=100, v2_predictor=0)]
        template = (await found(client, DEPLOYMENTS, "iris-v2-predictor"))["spec"]["template"]
        await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"] | {"nodeName": "there"},
                                   "metadata": {"name": "two", "namespace": "default",
                                                "labels": template["metadata"]["labels"]}})
        await client.patch(PODS, Key("default", "two"), {"status": {
            "podIP": "10.0.0.2", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
            subresource="status")
        await found(client, kinds.HTTP_ROUTES, "iris", wanted=lambda obj: obj["spec"]["rules"] == [
            rule("^/.*$", 60, predictor=70, v2_predictor=30)])


async def test_a_cluster_with_an_ingress_and_the_gateway_as_a_deployment(tmp_path: Path) -> None:
    site = serving.Site(gateway_url="http://unused", entry=serving.Entry.INGRESS, ingress_class="nginx")
    async with cluster(tmp_path, site) as client:
        await client.create(kinds.INFERENCE_SERVICES, service(MODEL))
        ingress = await found(client, kinds.INGRESSES, "iris")
        assert ingress["spec"]["ingressClassName"] == "nginx"
        assert {each["host"]: each["http"]["paths"][0]["backend"]["service"] for each in ingress["spec"]["rules"]} == {
            "iris-default.example.com": {"name": "iris-predictor", "port": {"number": 80}},
            "iris-predictor-default.example.com": {"name": "iris-predictor", "port": {"number": 80}}}
        gateway = await found(client, DEPLOYMENTS, "lightship-gateway")
        container = gateway["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "registry.example/lightship:1"
        assert gateway["spec"]["template"]["spec"]["serviceAccountName"] == "lightship-gateway"
        await found(client, CONFIGMAPS, "lightship-gateway")
        await serving.bootstrap(client, serving.ClusterGateway(image="registry.example/lightship:2",
                                                               namespace="default"))
        again = await client.get(DEPLOYMENTS, "lightship-gateway", "default")
        assert again["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":2")

        # Stopped, nothing of it is left but the word of it.
        await client.patch(kinds.INFERENCE_SERVICES, Key("default", "iris"), {
            "metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
        await found(client, kinds.INFERENCE_SERVICES, "iris", wanted=lambda obj: any(
            each["type"] == "Stopped" and each["status"] == "True" for each in obj["status"]["conditions"]))
        for resource in (kinds.INGRESSES, DEPLOYMENTS):
            left = [each["metadata"]["name"] for each in (await client.list(resource)).items]
            assert "iris" not in left
            assert "iris-predictor" not in left


async def test_upstreams_own_examples_are_taken_and_made(tmp_path: Path, shared: Path) -> None:
    """Through the whole server: schemas, defaults and admission, then the reconciler."""
    served = {resource.kind: resource for resource in (kinds.INFERENCE_SERVICES, kinds.CLUSTER_SERVING_RUNTIMES)}
    async with cluster(tmp_path, serving.Site(gateway_url="http://gateway")) as client:
        services = []
        for file in sorted((shared / "corpus" / "kserve").glob("*.yaml")):
            for obj in filter(None, yaml.safe_load_all(file.read_text())):
                resource = served.get(obj["kind"])
                if resource is None:
                    continue
                if resource.namespaced:
                    obj["metadata"].setdefault("namespace", "default")
                made = await client.patch(resource, Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]),
                                          obj, type="apply")
                if resource.namespaced:
                    services.append(made["metadata"]["name"])
        assert services
        for name in services:
            told = await found(client, kinds.INFERENCE_SERVICES, name, wanted=lambda obj: "status" in obj)
            if told["status"]["modelStatus"]["transitionStatus"] != "InvalidSpec":
                await found(client, DEPLOYMENTS, f"{name}-predictor")


@pytest.mark.parametrize(("text", "entry", "parent", "ingress_class"), [
    ("gateway", serving.Entry.GATEWAY, "kserve/kserve-ingress-gateway", ""),
    ("httproute:infra/front", serving.Entry.HTTP_ROUTE, "infra/front", ""),
    ("ingress", serving.Entry.INGRESS, "kserve/kserve-ingress-gateway", ""),
    ("ingress:nginx", serving.Entry.INGRESS, "kserve/kserve-ingress-gateway", "nginx"),
])
def test_the_way_in_is_a_setting(text: str, entry: serving.Entry, parent: str, ingress_class: str) -> None:
    site = serving.with_entry(serving.Site(gateway_url="http://x"), text)
    assert (site.entry, site.parent, site.ingress_class) == (entry, parent, ingress_class)


@pytest.mark.parametrize("text", ["", "httproute", "httproute:front", "magic", "httproute:/x"])
def test_no_other_way_in(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match="no way in"):
        serving.with_entry(serving.Site(gateway_url="http://x"), text)
