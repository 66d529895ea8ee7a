"""From a graph and the services that it names to its router: Deployment, Service, route and status. Pure.

``reconciler`` observes and applies. The router knows each service by the address in its status, as upstream's does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

import lightship
from lightship.domains.serving import names
from lightship.domains.serving.inference_graph import types
from lightship.domains.serving.site import Entry, Site
from lightship.kube import conditions, objects
from lightship.kube.objects import Object
from lightship.lib import gjson

LABEL = "serving.kserve.io/inferencegraph"
PROPAGATE_ANNOTATION = "lightship.dev/propagate-headers"
"""Patterns of the headers that go on to each step, with commas between: what upstream has in its own settings."""
ROUTER_IMAGE = f"lightship.dev/router:{lightship.__version__}"
_POD_FIELDS = ("affinity", "nodeName", "nodeSelector", "serviceAccountName", "tolerations")
_RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
_PREDICT = {"v1": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer"}
DEFAULT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that a decision rests on. ``services`` are the InferenceServices of the namespace by name."""

    graph: Object
    services: Mapping[str, Object]
    pods: Sequence[Object]
    blocked: str = ""
    """Why a child could not be written, where that is for the user to mend."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write. Children that are None are left as they are."""

    deployment: Object | None
    service: Object | None
    route: Object | None
    status: dict[str, Any]


def decide(observed: Observed, site: Site, now: datetime) -> Plan:
    """The plan for one pass."""
    graph = observed.graph
    spec = types.parse(graph)
    stopped = objects.annotations(graph).get(names.STOP_ANNOTATION, "").lower() == "true"
    nodes, missing = _resolved(graph, spec, observed.services)
    why = observed.blocked or _problem(observed, spec)
    replicas = 0 if stopped else max(spec.min_replicas if spec.min_replicas is not None else 1, 1)
    endpoints = [str(objects.status(pod)["podIP"]) for pod in observed.pods
                 if conditions.is_true(pod, "Ready") and objects.status(pod).get("podIP") and not objects.deleting(pod)]
    ready = not stopped and not missing and not why and len(endpoints) >= replicas
    story = _story(stopped, why or missing, (len(endpoints), replicas))
    make = not missing and not why
    taken = objects.name(graph) in observed.services
    return Plan(
        deployment=_deployment(graph, nodes, replicas) if make else None,
        service=_service(graph) if make else None,
        route=None if taken else _route(graph, spec, [] if stopped else endpoints, site, "" if ready else story),
        status=_status(graph, site, now, _Facts(
            ready=ready, stopped=stopped, story=story,
            reason="Stopped" if stopped else "InvalidGraph" if why else "ServiceNotReady" if missing
            else "RouterStarting")))


@dataclass(frozen=True, kw_only=True)
class _Facts:
    ready: bool
    stopped: bool
    story: str
    reason: str


def services_of(graph: Object) -> set[str]:
    """The InferenceServices that a graph names, and the one whose name would be its own."""
    nodes = (graph.get("spec") or {}).get("nodes") or {}
    return {str(step.get("serviceName")) for node in nodes.values() for step in node.get("steps") or ()
            if step.get("serviceName")} | {objects.name(graph)}


def _problem(observed: Observed, spec: types.Spec) -> str:
    """What in the graph cannot work, though it was accepted."""
    name = objects.name(observed.graph)
    if name in observed.services:
        return f'an InferenceService has the name "{name}" too, and with it the address; rename one of them'
    for node_name, node in spec.nodes.items():
        if not node.steps:
            return f'the node "{node_name}" has no steps'
        for step in node.steps:
            if step.condition and (problem := gjson.check(step.condition)):
                return f'a condition of the node "{node_name}" cannot be read: {problem}'
    return ""


def _resolved(graph: Object, spec: types.Spec, services: Mapping[str, Object]) -> tuple[Object, str]:
    """The nodes with a URL for each service, and which service is not there yet."""
    missing = ""
    nodes: Object = {}
    for name, node in objects.spec(graph)["nodes"].items():
        steps = []
        for step in node.get("steps") or ():
            service = step.get("serviceName")
            if not service:
                steps.append(step)
                continue
            url = _url(services.get(service))
            if not url:
                missing = missing or (f'the InferenceService "{service}" is not there' if service not in services else
                                      f'the InferenceService "{service}" has no address yet')
            steps.append(step | {"serviceUrl": url})
        nodes[name] = node | {"steps": steps}
    return nodes, missing


def _url(service: Object | None) -> str:
    if service is None:
        return ""
    address = (objects.status(service).get("address") or {}).get("url") or ""
    spec = objects.spec(service)
    model = {} if spec.get("transformer") else (spec.get("predictor") or {}).get("model") or {}
    path = _PREDICT["v2" if model.get("protocolVersion") in ("v2", "grpc-v2") else "v1"]
    return f"{address}{path.format(objects.name(service))}" if address else ""


def _story(stopped: bool, problem: str, pods: tuple[int, int]) -> str:
    if stopped:
        return f'it is stopped by the annotation {names.STOP_ANNOTATION}: "true"'
    return problem or f"its router is starting ({pods[0]} of {pods[1]} ready)"


# ---- children


def _metadata(graph: Object, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": objects.namespace(graph), "labels": {LABEL: objects.name(graph)},
            "ownerReferences": [objects.owner_reference(graph)]}


def _deployment(graph: Object, nodes: Object, replicas: int) -> Object:
    name, spec = objects.name(graph), objects.spec(graph)
    given: Object = {"nodes": nodes}
    if spec.get("routerTimeouts"):
        given["routerTimeouts"] = {key: value for key, value in spec["routerTimeouts"].items() if value is not None}
    environment: list[Object] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    if propagated := objects.annotations(graph).get(PROPAGATE_ANNOTATION):
        environment.append({"name": "PROPAGATE_HEADERS", "value": propagated})
    container: Object = {
        "name": name,
        "image": ROUTER_IMAGE,
        "args": ["--graph-json", msgspec.json.encode(given, order="deterministic").decode()],
        "env": environment,
        "ports": [{"containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "resources": spec.get("resources") or _RESOURCES,
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": names.HTTP_PORT}, "periodSeconds": 1,
                           "timeoutSeconds": 5},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
    }
    pod: Object = {"containers": [container], "automountServiceAccountToken": False,
                   **{field: spec[field] for field in _POD_FIELDS if spec.get(field)}}
    labels = {LABEL: name, names.APP_LABEL: names.app(name)}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(graph, name),
        "spec": {"replicas": replicas, "selector": {"matchLabels": {names.APP_LABEL: names.app(name)}},
                 "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _service(graph: Object) -> Object:
    name = objects.name(graph)
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(graph, name),
            "spec": {"selector": {names.APP_LABEL: names.app(name)},
                     "ports": [{"name": "http", "port": names.SERVICE_PORT, "targetPort": names.HTTP_PORT,
                                "protocol": "TCP"}]}}


def _route(graph: Object, spec: types.Spec, addresses: Sequence[str], site: Site, message: str) -> Object:
    name, namespace = objects.name(graph), objects.namespace(graph)
    route: Object = {
        "namespace": namespace, "name": name, "prefix": names.prefix(name, namespace),
        "hosts": [names.host(name, namespace, site.domain)],
        "timeoutSeconds": spec.timeout or DEFAULT_TIMEOUT_SECONDS,
        "backends": [{"revision": name, "weight": 100, "endpoints": [
            f"{address}:{names.HTTP_PORT}" for address in sorted(addresses)]}],
    }
    if message:
        route["message"] = message
    metadata = _metadata(graph, f"{name}-graph-route")
    metadata["labels"] = metadata["labels"] | {names.GATEWAY_ROUTE_LABEL: "true"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {names.ROUTE_KEY: msgspec.json.encode(route, order="deterministic").decode()}}


# ---- status


def _status(graph: Object, site: Site, now: datetime, facts: _Facts) -> dict[str, Any]:
    name, namespace = objects.name(graph), objects.namespace(graph)
    status: dict[str, Any] = {"observedGeneration": objects.generation(graph), "deploymentMode": names.STANDARD_MODE}
    if facts.ready:
        outside = (site.gateway_url + names.prefix(name, namespace) if site.entry is Entry.GATEWAY
                   else f"http://{names.cluster_host(name, namespace)}")
        status["url"] = outside
    ready = conditions.make(names.READY, "True") if facts.ready else conditions.make(
        names.READY, "Unknown" if facts.reason == "RouterStarting" else "False", facts.reason, facts.story)
    merged = list(objects.status(graph).get("conditions") or ())
    for condition in (ready, conditions.make(names.STOPPED, facts.stopped)):
        merged = conditions.merge(merged, condition, now)
    return status | {"conditions": merged}
