"""What a Pod asks of a node: all that its containers ask for together, as schedulers count it. Pure.

The built-in scheduler, quotas' controllers and the domains that ask for room for several Pods call me.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lightship.kube import quantities

Resources = dict[str, Decimal]
"""Amounts by resource name: cores, bytes, pieces."""


def requests(spec: Mapping[str, Any]) -> Resources:
    """What is reserved for a Pod's ``spec``: all containers and sidecars, or the largest init step if that is more."""
    total: Resources = {}
    for container in spec.get("containers") or ():
        add(total, _container(container))
    sidecars: Resources = {}
    peak: Resources = {}
    for container in spec.get("initContainers") or ():
        wanted = _container(container)
        if container.get("restartPolicy") == "Always":
            add(sidecars, wanted)
            _raise(peak, sidecars)
        else:
            step = dict(sidecars)
            add(step, wanted)
            _raise(peak, step)
    add(total, sidecars)
    _raise(total, peak)
    add(total, amounts(spec.get("overhead")))
    return total


def amounts(values: Mapping[str, Any] | None) -> Resources:
    """A list of resources as numbers."""
    return {name: quantities.parse(value) for name, value in (values or {}).items()}


def add(total: Resources, more: Mapping[str, Decimal]) -> None:
    """Put ``more`` into ``total``."""
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


def shown(total: Mapping[str, Decimal]) -> dict[str, str]:
    """The amounts as Kubernetes writes them, by name; memory and storage in Mi and Gi."""
    return {name: quantities.canonical(amount, binary=name != "cpu") for name, amount in sorted(total.items())}


def _container(container: Mapping[str, Any]) -> Resources:
    resources = container.get("resources") or {}
    return amounts(resources.get("limits")) | amounts(resources.get("requests"))


def _raise(total: Resources, more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = max(total.get(name, Decimal(0)), amount)
