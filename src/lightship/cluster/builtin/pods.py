"""Reading Pods: active, ready, finished, what they ask for. Pure; all controllers here call me."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from lightship.kube import conditions, objects, quantities, times

Resources = dict[str, Decimal]
"""Amounts by resource name: cores, bytes, pieces."""


def phase(pod: Mapping[str, Any]) -> str:
    return str(objects.status(pod).get("phase") or "Pending")


def finished(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def active(pod: Mapping[str, Any]) -> bool:
    """Neither finished nor on its way out."""
    return not finished(pod) and not objects.deleting(pod)


def ready(pod: Mapping[str, Any]) -> bool:
    return conditions.is_true(pod, "Ready")


def available_in_seconds(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """0 when it has been ready long enough, else how long that takes yet; None when it is not ready."""
    condition = conditions.find(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    since = condition.get("lastTransitionTime")
    if not min_ready_seconds or not since:
        return 0.0
    return max(0.0, min_ready_seconds - (now - times.parse(str(since))).total_seconds())


def created(obj: Mapping[str, Any]) -> str:
    """A key that orders objects by age, the oldest first."""
    return str(objects.meta(obj).get("creationTimestamp") or "")


def requests(pod: Mapping[str, Any]) -> Resources:
    """What the scheduler reserves: all containers and sidecars together, or the largest init step if that is more."""
    spec = objects.spec(pod)
    total: Resources = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container))
    sidecars: Resources = {}
    peak: Resources = {}
    for container in spec.get("initContainers") or ():
        amounts = _container(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, amounts)
            _raise(peak, sidecars)
        else:
            step = dict(sidecars)
            _add(step, amounts)
            _raise(peak, step)
    _add(total, sidecars)
    _raise(total, peak)
    _add(total, _amounts(spec.get("overhead")))
    return total


def _container(container: Mapping[str, Any]) -> Resources:
    resources = container.get("resources") or {}
    return _amounts(resources.get("limits")) | _amounts(resources.get("requests"))


def _amounts(values: Mapping[str, Any] | None) -> Resources:
    return {name: quantities.parse(value) for name, value in (values or {}).items()}


def _add(total: Resources, amounts: Resources) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, Decimal(0)) + amount


def _raise(total: Resources, amounts: Resources) -> None:
    for name, amount in amounts.items():
        total[name] = max(total.get(name, Decimal(0)), amount)


def allocatable(node: Mapping[str, Any]) -> Resources:
    return _amounts(objects.status(node).get("allocatable"))
