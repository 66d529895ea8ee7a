"""HorizontalPodAutoscalers (v2, and v1 as a view of it) and PodDisruptionBudgets: defaults and validation.

Pure; ``kinds.workload_table`` puts these into the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from lightship.cluster.apiserver import workloads
from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import objects
from lightship.kube.objects import Object

V1 = "autoscaling/v1"
V2 = "autoscaling/v2"
DEFAULT_CPU_PERCENT = 80
_UP = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}
_DOWN = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
_ANNOTATIONS = {"metrics": "autoscaling.alpha.kubernetes.io/metrics",
                "behavior": "autoscaling.alpha.kubernetes.io/behavior",
                "conditions": "autoscaling.alpha.kubernetes.io/conditions",
                "currentMetrics": "autoscaling.alpha.kubernetes.io/current-metrics"}


def _cpu(percent: int) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
                                                                       "averageUtilization": percent}}}


def default_autoscaler(obj: Object) -> Object:
    spec: dict[str, Any] = {"minReplicas": 1} | pods.given(objects.spec(obj))
    spec["metrics"] = spec.get("metrics") or [_cpu(DEFAULT_CPU_PERCENT)]
    behavior = spec.get("behavior")
    if behavior is not None:
        spec["behavior"] = {"scaleUp": _UP | pods.given(behavior.get("scaleUp") or {}),
                            "scaleDown": _DOWN | pods.given(behavior.get("scaleDown") or {})}
    return obj | {"spec": spec}


def validate_autoscaler(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_autoscaler_faults(objects.spec(obj)))


def _autoscaler_faults(spec: dict[str, Any]) -> Iterator[FieldFault]:
    low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if low is not None and low < 1:
        yield FieldFault("spec.minReplicas", f"Invalid value: {low}: must be greater than or equal to 1")
    if high < 1:
        yield FieldFault("spec.maxReplicas", "Required value: must be set and greater than 0")
    if low is not None and high < low:
        yield FieldFault("spec.maxReplicas", f"Invalid value: {high}: must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    for field in ("kind", "name"):
        if not target.get(field):
            yield FieldFault(f"spec.scaleTargetRef.{field}", "Required value")
    for number, metric in enumerate(spec.get("metrics") or ()):
        yield from _metric_faults(metric, f"spec.metrics[{number}]")
    for way, rules in (spec.get("behavior") or {}).items():
        yield from _rule_faults(rules or {}, f"spec.behavior.{way}")


_SOURCES = {"ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
            "Resource": "resource"}


def _metric_faults(metric: dict[str, Any], place: str) -> Iterator[FieldFault]:
    kind = metric.get("type")
    if not kind:
        yield FieldFault(f"{place}.type", "Required value: must specify a metric source type")
        return
    if kind not in _SOURCES:
        yield pods.unsupported(f"{place}.type", kind, *_SOURCES)
        return
    field = _SOURCES[kind]
    source = metric.get(field)
    if not source:
        yield FieldFault(f"{place}.{field}", "Required value: must populate information for the given metric source")
        return
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            yield FieldFault(f"{place}.{field}.name", "Required value: must specify a resource name")
        if kind == "ContainerResource" and not source.get("container"):
            yield FieldFault(f"{place}.{field}.container", "Required value: must specify a container")
    target = source.get("target") or {}
    if not target.get("type"):
        yield FieldFault(f"{place}.{field}.target.type", "Required value: must specify a metric target type")
    elif target["type"] not in ("Utilization", "Value", "AverageValue"):
        yield FieldFault(f"{place}.{field}.target.type", f'Invalid value: "{target["type"]}": must be either '
                                                         "Utilization, Value, or AverageValue")
    use = target.get("averageUtilization")
    if use is not None and use < 1:
        yield FieldFault(f"{place}.{field}.target.averageUtilization", f"Invalid value: {use}: must be greater than 0")
    if kind in ("Resource", "ContainerResource") and (use is None) == (target.get("averageValue") is None):
        which = "may not set both" if use is not None else "must set either"
        yield FieldFault(f"{place}.{field}.target.averageUtilization",
                         f"Required value: {which} a target raw value {'and' if use is not None else 'or'} a target "
                         "utilization")


def _rule_faults(rules: dict[str, Any], place: str) -> Iterator[FieldFault]:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and not 0 <= window <= 3600:
        yield FieldFault(f"{place}.stabilizationWindowSeconds",
                         f"Invalid value: {window}: must be greater than or equal to zero and at most 3600")
    if rules.get("selectPolicy") not in ("Max", "Min", "Disabled"):
        yield pods.unsupported(f"{place}.selectPolicy", rules.get("selectPolicy"), "Disabled", "Max", "Min")
    if not rules.get("policies"):
        yield FieldFault(f"{place}.policies", "Required value: must specify at least one Policy")
    for number, policy in enumerate(rules.get("policies") or ()):
        here = f"{place}.policies[{number}]"
        if policy.get("type") not in ("Pods", "Percent"):
            yield pods.unsupported(f"{here}.type", policy.get("type"), "Percent", "Pods")
        for field in ("value", "periodSeconds"):
            if (policy.get(field) or 0) <= 0:
                yield FieldFault(f"{here}.{field}", f"Invalid value: {policy.get(field) or 0}: must be greater than "
                                                    "zero")
        if (policy.get("periodSeconds") or 0) > 1800:
            yield FieldFault(f"{here}.periodSeconds", f"Invalid value: {policy['periodSeconds']}: must be less than or "
                                                      "equal to 1800")


def to_v1(obj: Object) -> Object:
    """The v1 view: CPU utilisation as a field, everything else in annotations."""
    spec, status = objects.spec(obj), objects.status(obj)
    shown = {key: value for key, value in spec.items() if key not in ("metrics", "behavior")}
    rest = []
    for metric in spec.get("metrics") or ():
        use = _cpu_percent(metric)
        if use is not None and "targetCPUUtilizationPercentage" not in shown:
            shown["targetCPUUtilizationPercentage"] = use
        else:
            rest.append(metric)
    seen = {key: value for key, value in status.items() if key not in ("currentMetrics", "conditions")}
    seen = {"currentReplicas": 0, "desiredReplicas": 0} | seen
    for metric in status.get("currentMetrics") or ():
        current = ((metric.get("resource") or {}) if metric.get("type") == "Resource" else {})
        if current.get("name") == "cpu" and (current.get("current") or {}).get("averageUtilization") is not None:
            seen["currentCPUUtilizationPercentage"] = current["current"]["averageUtilization"]
    hidden = {"metrics": rest, "behavior": spec.get("behavior"), "conditions": status.get("conditions"),
              "currentMetrics": status.get("currentMetrics")}
    annotations = objects.annotations(obj) | {
        _ANNOTATIONS[key]: msgspec.json.encode(value).decode() for key, value in hidden.items() if value}
    metadata = obj["metadata"] | ({"annotations": annotations} if annotations else {})
    return obj | {"apiVersion": V1, "metadata": metadata, "spec": shown, "status": seen}


def _cpu_percent(metric: dict[str, Any]) -> int | None:
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    found: int | None = (source.get("target") or {}).get("averageUtilization")
    return found


def from_v1(obj: Object) -> Object:
    """The stored form of what a client wrote as v1."""
    spec, status = dict(objects.spec(obj)), dict(objects.status(obj))
    annotations = dict(objects.annotations(obj))
    hidden = {key: _embedded(annotations.pop(name, "")) for key, name in _ANNOTATIONS.items()}
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    status.pop("currentCPUUtilizationPercentage", None)
    metrics = hidden["metrics"] if isinstance(hidden["metrics"], list) else []
    if percent is not None:
        metrics = [*metrics, _cpu(percent)]
    if metrics:
        spec["metrics"] = metrics
    if isinstance(hidden["behavior"], dict):
        spec["behavior"] = hidden["behavior"]
    status |= {key: hidden[key] for key in ("conditions", "currentMetrics") if isinstance(hidden[key], list)}
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return obj | {"apiVersion": V2, "metadata": metadata, "spec": spec} | ({"status": status} if status else {})


def _embedded(text: str) -> Any:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None


def _over_all(amount: Any) -> bool:
    return isinstance(amount, str) and amount.endswith("%") and amount[:-1].isdecimal() and int(amount[:-1]) > 100


def validate_budget(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(workloads.amount_faults("spec", spec, "minAvailable", "maxUnavailable"))
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        faults.append(FieldFault("spec", f"Invalid value: {pods.shown(spec)}: minAvailable and maxUnavailable "
                                         "cannot be both set"))
    faults += [FieldFault(f"spec.{field}", f"Invalid value: {pods.shown(spec[field])}: must not be greater than 100%")
               for field in ("minAvailable", "maxUnavailable") if _over_all(spec.get(field))]
    faults += workloads.label_selector_faults(spec.get("selector") or {}, "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "IfHealthyBudget", "AlwaysAllow"):
        faults.append(pods.unsupported("spec.unhealthyPodEvictionPolicy", policy, "AlwaysAllow",
                                            "IfHealthyBudget"))
    return faults
