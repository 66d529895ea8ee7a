"""LimitRanges: what a Pod or a claim gets where it says nothing, and what it may say. Pure; ``admission`` calls me."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from lightship.kube import objects, quantities, quota
from lightship.kube.objects import Object

_ANNOTATION = "kubernetes.io/limit-ranger"


def filled(pod: Object, limit_range: Object) -> Object:
    """The Pod with the defaults of a LimitRange in its containers, and an annotation that says which."""
    spec, notes = dict(objects.spec(pod)), list[str]()
    for item in objects.spec(limit_range).get("limits") or ():
        if item["type"] != "Container":
            continue
        for field, word in (("containers", "container"), ("initContainers", "init container")):
            if spec.get(field):
                spec[field] = [_filled(container, item, word, notes) for container in spec[field]]
    if not notes:
        return pod
    metadata = objects.meta(pod)
    said = f"LimitRanger plugin set: {'; '.join(notes)}"
    annotations = (metadata.get("annotations") or {}) | {_ANNOTATION: said}
    return pod | {"metadata": metadata | {"annotations": annotations}, "spec": spec}


def _filled(container: dict[str, Any], item: Mapping[str, Any], word: str, notes: list[str]) -> dict[str, Any]:
    needs = container.get("resources") or {}
    limits, requests = dict(needs.get("limits") or {}), dict(needs.get("requests") or {})
    said = dict(limits)
    new_requests = {name: amount for name, amount in (item.get("defaultRequest") or {}).items()
                    if name not in requests and name not in said}
    new_limits = {name: amount for name, amount in (item.get("default") or {}).items() if name not in limits}
    for kind, added in (("request", new_requests), ("limit", new_limits)):
        if added:
            notes.append(f"{', '.join(sorted(added))} {kind} for {word} {container.get('name')}")
    if not new_requests and not new_limits:
        return container
    return container | {"resources": needs | {"limits": limits | new_limits, "requests": requests | new_requests}}


def faults(resource: str, obj: Object, limit_range: Object) -> Iterator[str]:
    """What the object breaks of a LimitRange, in upstream's words."""
    spec = objects.spec(obj)
    for item in objects.spec(limit_range).get("limits") or ():
        kind = item["type"]
        if resource == quota.CLAIMS and kind == "PersistentVolumeClaim":
            requests = (spec.get("resources") or {}).get("requests") or {}
            yield from _broken(item, {name: quantities.parse(v) for name, v in requests.items()}, {})
        elif resource == quota.PODS and kind == "Container":
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                yield from _broken(item, *(quota.container_amounts(container, k) for k in ("requests", "limits")))
        elif resource == quota.PODS and kind == "Pod":
            yield from _broken(item, quota.pod_amounts(spec, "requests"), quota.pod_amounts(spec, "limits"))


def _broken(item: Mapping[str, Any], requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> Iterator[str]:
    kind = item["type"]
    for name, bound in sorted((item.get("min") or {}).items()):
        least = quantities.parse(bound)
        if name not in requests:
            yield f"minimum {name} usage per {kind} is {bound}.  No request is specified"
        elif requests[name] < least:
            yield f"minimum {name} usage per {kind} is {bound}, but request is {quota.text(name, requests[name])}"
        elif name in limits and limits[name] < least:
            yield f"minimum {name} usage per {kind} is {bound}, but limit is {quota.text(name, limits[name])}"
    for name, bound in sorted((item.get("max") or {}).items()):
        most, asked = quantities.parse(bound), requests if kind == "PersistentVolumeClaim" else limits
        word = "request" if kind == "PersistentVolumeClaim" else "limit"
        if name not in asked:
            yield f"maximum {name} usage per {kind} is {bound}.  No {word} is specified"
        elif asked[name] > most:
            yield f"maximum {name} usage per {kind} is {bound}, but {word} is {quota.text(name, asked[name])}"
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        request, limit = requests.get(name), limits.get(name)
        if not request or not limit:
            yield (f"{name} max limit to request ratio per {kind} is {bound}, but no request is specified or request "
                   "is 0")
        elif limit / request > quantities.parse(bound):
            yield (f"{name} max limit to request ratio per {kind} is {bound}, but provided ratio is "
                   f"{limit / request:.6f}")
