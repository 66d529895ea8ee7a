"""What an object uses of a ResourceQuota, and which quotas are about it.

I am pure. Admission refuses by me, and the controller that keeps the quotas' status counts by me.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from lightship.kube import objects, quantities
from lightship.kube.objects import Object

Usage = dict[str, Decimal]

PODS, SERVICES, CLAIMS = "pods", "services", "persistentvolumeclaims"
COUNTED = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets", SERVICES, CLAIMS, PODS})
_CLASS = ".storageclass.storage.k8s.io/"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_REQUIRED = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_ONE, _ZERO = Decimal(1), Decimal(0)


def resource_of(name: str) -> str:
    """Whose objects use a quota's entry: ``pods`` of ``limits.cpu``, ``deployments.apps`` of its count."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    if name == "requests.storage" or _CLASS in name:
        return CLAIMS
    if name.startswith("services."):
        return SERVICES
    return name if name in COUNTED else PODS


def usage(resource: str, obj: Object) -> Usage:
    """What ``obj`` of ``resource`` (``deployments.apps``) uses, of everything that a quota can name."""
    result: Usage = {f"count/{resource}": _ONE}
    if resource == PODS:
        if not _ended(obj):
            result |= {PODS: _ONE} | _pod_usage(objects.spec(obj))
    elif resource == CLAIMS:
        result |= _claim_usage(objects.spec(obj))
    elif resource in COUNTED:
        result[resource] = _ONE
        if resource == SERVICES:
            result |= _service_usage(objects.spec(obj))
    return result


def _ended(pod: Object) -> bool:
    return objects.status(pod).get("phase") in ("Succeeded", "Failed")


def _service_usage(spec: Mapping[str, Any]) -> Usage:
    ports = Decimal(len(spec.get("ports") or ()))
    match spec.get("type"):
        case "NodePort":
            return {"services.nodeports": ports}
        case "LoadBalancer":
            outside = spec.get("allocateLoadBalancerNodePorts") is not False
            return {"services.loadbalancers": _ONE} | ({"services.nodeports": ports} if outside else {})
    return {}


def _claim_usage(spec: Mapping[str, Any]) -> Usage:
    result = {CLAIMS: _ONE}
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is not None:
        result["requests.storage"] = quantities.parse(asked)
    name = spec.get("storageClassName")
    if name:
        result |= {f"{name}{_CLASS}{key}": amount for key, amount in list(result.items())}
    return result


def _pod_usage(spec: Mapping[str, Any]) -> Usage:
    result: Usage = {}
    for name, amount in pod_amounts(spec, "requests").items():
        result[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            result[name] = amount
    for name, amount in pod_amounts(spec, "limits").items():
        if name in _COMPUTE:
            result[f"limits.{name}"] = amount
    return result


def pod_amounts(spec: Mapping[str, Any], kind: str) -> Usage:
    """A Pod's ``requests`` or ``limits``: what runs together, or the largest init container, and the overhead."""
    total: Usage = {}
    largest: Usage = {}
    for container in spec.get("initContainers") or ():
        amounts = container_amounts(container, kind)
        if container.get("restartPolicy") == "Always":
            add(total, amounts)
            amounts = dict(total)
        else:
            amounts = {name: amount + total.get(name, _ZERO) for name, amount in amounts.items()}
        _raise(largest, amounts)
    for container in spec.get("containers") or ():
        add(total, container_amounts(container, kind))
    _raise(total, largest)
    for name, amount in (spec.get("overhead") or {}).items():
        if kind == "requests" or name in total:
            add(total, {name: quantities.parse(amount)})
    return total


def container_amounts(container: Mapping[str, Any], kind: str) -> Usage:
    """A container's ``requests`` or ``limits``; what is limited and not requested is requested."""
    needs = container.get("resources") or {}
    given = needs.get(kind) or {}
    if kind == "requests":
        given = (needs.get("limits") or {}) | given
    return {name: quantities.parse(amount) for name, amount in given.items()}


def add(total: Usage, more: Mapping[str, Decimal], sign: int = 1) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, _ZERO) + sign * amount


def _raise(total: Usage, other: Mapping[str, Decimal]) -> None:
    for name, amount in other.items():
        total[name] = max(total.get(name, amount), amount)


def concerns(spec: Mapping[str, Any], resource: str, obj: Object) -> bool:
    """Whether a quota with ``spec`` is about ``obj``: scopes choose among Pods, and leave all else out."""
    requirements = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    requirements += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not requirements:
        return True
    return resource == PODS and all(_in_scope(requirement, objects.spec(obj)) for requirement in requirements)


def _in_scope(requirement: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    match requirement["scopeName"]:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return not _has_amounts(spec)
        case "NotBestEffort":
            return _has_amounts(spec)
        case "PriorityClass":
            return _selected(requirement, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return _crosses(spec)
    return False


def _selected(requirement: Mapping[str, Any], value: str) -> bool:
    match requirement["operator"]:
        case "In":
            return value in (requirement.get("values") or ())
        case "NotIn":
            return value not in (requirement.get("values") or ())
        case "DoesNotExist":
            return not value
    return bool(value)


def _has_amounts(spec: Mapping[str, Any]) -> bool:
    return any((container.get("resources") or {}).get(kind) for kind in ("requests", "limits")
               for field in ("containers", "initContainers") for container in spec.get(field) or ())


def _crosses(spec: Mapping[str, Any]) -> bool:
    affinity = spec.get("affinity") or {}
    terms = [term for kind in ("podAffinity", "podAntiAffinity") for field in (
        "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution")
        for term in (affinity.get(kind) or {}).get(field) or ()]
    return any(one.get("namespaces") or one.get("namespaceSelector") is not None
               for one in (term.get("podAffinityTerm") or term for term in terms))


def unset(hard: Iterable[str], spec: Mapping[str, Any]) -> str:
    """What a Pod under a quota must say and does not, in upstream's words; empty where it says all."""
    lacking: dict[str, list[str]] = {}
    for name in sorted(set(hard) & set(_REQUIRED)):
        kind, _, key = name.rpartition(".")
        for container in spec.get("containers") or ():
            if key not in container_amounts(container, kind or "requests"):
                lacking.setdefault(name, []).append(str(container.get("name")))
    return "; ".join(f"{name} for: {','.join(sorted(containers))}" for name, containers in lacking.items())


def text(name: str, amount: Decimal) -> str:
    """An amount as it is shown: memory and storage in powers of 1024 where they are such."""
    return quantities.canonical(amount, binary="memory" in name or "storage" in name or "hugepages" in name)
