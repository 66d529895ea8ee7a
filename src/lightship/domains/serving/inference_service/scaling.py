"""Who decides how many Pods a component has, and what a HorizontalPodAutoscaler for it says. Pure.

``decide`` and the autoscaler of requests call me. Upstream's rules, where they are the same on every cluster: the
annotation ``serving.kserve.io/autoscalerClass`` decides, then the metric. By requests (concurrency, rps, to zero) we
scale ourselves in both deployment modes, since upstream's Standard mode cannot.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightship.domains.serving import names
from lightship.domains.serving.inference_service.types import Component, mode
from lightship.kube import objects
from lightship.kube.objects import Object

DEFAULT_CPU_PERCENT = 80


class Scaler(Enum):
    """Who writes a Deployment's ``spec.replicas``."""

    FIXED = "fixed"
    """The controller: ``minReplicas``."""
    EXTERNAL = "external"
    """Somebody else."""
    HPA = "hpa"
    KEDA = "keda"
    REQUESTS = "requests"
    """Our own autoscaler, by what the gateway counts; alone it goes to zero."""


def scaler(service: Object, component: Component) -> Scaler:
    """Who scales a component."""
    annotations = objects.annotations(service)
    extension = component.extension
    asked = annotations.get(names.AUTOSCALER_ANNOTATION, "")
    if asked in ("none", "external", "keda"):
        return {"none": Scaler.FIXED, "external": Scaler.EXTERNAL, "keda": Scaler.KEDA}[asked]
    by_resource = extension.scale_metric in ("cpu", "memory") or bool(_resources(extension.auto_scaling))
    if asked == "hpa" or annotations.get(names.KNATIVE_CLASS_ANNOTATION, "").startswith("hpa.") or by_resource:
        return Scaler.HPA
    if extension.scale_metric in ("concurrency", "rps") or component.min_replicas == 0:
        return Scaler.REQUESTS
    if mode(service) == names.KNATIVE_MODE:
        return Scaler.REQUESTS
    return Scaler.HPA if component.max_replicas > component.min_replicas else Scaler.FIXED


def replicas(service: Object, component: Component, there: Object | None) -> int | None:
    """What to write as a Deployment's replicas; None leaves it to whoever scales it."""
    who = scaler(service, component)
    low, high = component.min_replicas, component.max_replicas
    if who is Scaler.FIXED:
        asked = objects.annotations(service).get(names.AUTOSCALER_ANNOTATION) == "none"
        return low if asked else max(low, 1)
    if there is None:
        return _initial(service, who, low, high)
    current = current_replicas(there)
    if who is Scaler.EXTERNAL:
        return None
    floor = low if who is Scaler.REQUESTS else max(low, 1)
    if current < floor:
        return floor
    return high if high and current > high else None


def current_replicas(deployment: Object) -> int:
    """What a Deployment is asked to run."""
    given = objects.spec(deployment).get("replicas")
    return 1 if given is None else int(given)


def _initial(service: Object, who: Scaler, low: int, high: int) -> int:
    wanted = max(low, 1)
    given = objects.annotations(service).get(names.INITIAL_SCALE_ANNOTATION, "")
    if who is Scaler.REQUESTS and given.isdigit():
        wanted = max(int(given), low)
    return min(wanted, high) if high else wanted


def make_hpa(component: Component, metadata: dict[str, Any], deployment: str) -> Object:
    """The HorizontalPodAutoscaler of a Deployment, as upstream makes it."""
    low = max(component.min_replicas, 1)
    spec: Object = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        "minReplicas": low, "maxReplicas": max(component.max_replicas, low), "metrics": _metrics(component)}
    behavior = (component.extension.auto_scaling or {}).get("behavior")
    if behavior:
        spec["behavior"] = behavior
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def make_scaled_object(component: Component, metadata: dict[str, Any], deployment: str) -> Object:
    """KEDA's autoscaler of a Deployment, as upstream makes it."""
    low = component.min_replicas
    spec: Object = {"scaleTargetRef": {"name": deployment}, "minReplicaCount": low,
                    "maxReplicaCount": max(component.max_replicas, low), "triggers": [
                        each for metric in (component.extension.auto_scaling or {}).get("metrics") or ()
                        if (each := _trigger(metric, metadata)) is not None]}
    behavior = (component.extension.auto_scaling or {}).get("behavior")
    if behavior:
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior}}
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}


def _trigger(metric: dict[str, Any], metadata: dict[str, Any]) -> Object | None:
    kind = str(metric.get("type"))
    source = metric.get({"Resource": "resource", "External": "external"}.get(kind, "podmetric")) or {}
    target, asked = source.get("target") or {}, source.get("metric") or {}
    if kind == "Resource":
        of = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}.get(str(target.get("type")), "value")
        fallback = DEFAULT_CPU_PERCENT if source.get("name") == "cpu" else 0
        return {"type": source.get("name"), "metricType": target.get("type"),
                "metadata": {"value": str(target.get(of) or fallback)}}
    if kind == "External":
        about = {"serverAddress": asked.get("serverAddress", ""), "query": asked.get("query", ""),
                 "threshold": str(target.get("value", 0))}
        if asked.get("backend") == "prometheus" and asked.get("namespace"):
            about["namespace"] = asked["namespace"]
        who = source.get("authenticationRef") or {}
        if who.get("authModes"):
            about["authModes"] = who["authModes"]
        made: Object = {"type": asked.get("backend"), "metadata": about}
        name = (who.get("authenticationRef") or {}).get("name")
        return made | ({"authenticationRef": {"name": name}} if name else {})
    if asked.get("backend") != "opentelemetry":
        return None
    query = f"{asked.get('query')}{{namespace=\"{metadata['namespace']}\", deployment=\"{metadata['name']}\"}}"
    about = {"metricQuery": f"sum({query})", "targetValue": str(target.get("value", 0)),
             "scalerAddress": asked.get("serverAddress", "")}
    if asked.get("operationOverTime"):
        about["operationOverTime"] = asked["operationOverTime"]
    return {"type": "external", "metadata": about}


def _resources(auto_scaling: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [metric["resource"] for metric in (auto_scaling or {}).get("metrics") or ()
            if isinstance(metric.get("resource"), dict)]


def _metrics(component: Component) -> list[Object]:
    extension = component.extension
    given = _resources(extension.auto_scaling)
    if given:
        return [_metric(str(each.get("name")), _target(each)) for each in given]
    name = extension.scale_metric or "cpu"
    if name == "memory":
        # Upstream has no default for memory; without a target there is nothing to hold it to.
        target = extension.scale_target or DEFAULT_CPU_PERCENT
        return [_metric("memory", {"type": "Utilization", "averageUtilization": target})]
    target = extension.scale_target if name == "cpu" and extension.scale_target else DEFAULT_CPU_PERCENT
    return [_metric("cpu", {"type": "Utilization", "averageUtilization": target})]


def _target(resource: dict[str, Any]) -> dict[str, Any]:
    target = resource.get("target") or {}
    if target.get("type") == "AverageValue" and target.get("averageValue") is not None:
        return {"type": "AverageValue", "averageValue": str(target["averageValue"])}
    return {"type": "Utilization", "averageUtilization": target.get("averageUtilization") or DEFAULT_CPU_PERCENT}


def _metric(name: str, target: dict[str, Any]) -> Object:
    return {"type": "Resource", "resource": {"name": name, "target": target}}
