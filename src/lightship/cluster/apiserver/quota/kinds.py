"""ResourceQuota, LimitRange and PriorityClass as they are served: types, defaults, validation, columns.

Pure; ``core`` puts these into the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import columns
from lightship.cluster.apiserver.access.kinds import CREATED
from lightship.cluster.apiserver.registry import FieldFault, Printing, Served
from lightship.kube import objects, quantities, resources
from lightship.kube.objects import Object
from lightship.kube.resources import Column

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
          "CrossNamespacePodAffinity")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_POLICIES = ("Never", "PreemptLowerPriority")

Amounts = dict[str, str | int | float]


class _ScopeRequirement(msgspec.Struct):
    scopeName: str
    operator: str
    values: list[str] | None = None


class _ScopeSelector(msgspec.Struct):
    matchExpressions: list[_ScopeRequirement] | None = None


class _QuotaSpec(msgspec.Struct):
    hard: Amounts | None = None
    scopes: list[str] | None = None
    scopeSelector: _ScopeSelector | None = None


class _QuotaStatus(msgspec.Struct):
    hard: Amounts | None = None
    used: Amounts | None = None


class _Quota(msgspec.Struct):
    spec: _QuotaSpec | None = None
    status: _QuotaStatus | None = None


class _LimitItem(msgspec.Struct):
    type: str
    max: Amounts | None = None
    min: Amounts | None = None
    default: Amounts | None = None
    defaultRequest: Amounts | None = None
    maxLimitRequestRatio: Amounts | None = None


class _LimitSpec(msgspec.Struct):
    limits: list[_LimitItem] | None = None


class _Limits(msgspec.Struct):
    spec: _LimitSpec | None = None


class _Priority(msgspec.Struct):
    value: int | None = None
    globalDefault: bool | None = None
    description: str | None = None
    preemptionPolicy: str | None = None


def _amount_faults(amounts: Any, place: str) -> Iterator[FieldFault]:
    for name, amount in (amounts or {}).items():
        try:
            if quantities.parse(amount) < 0:
                yield FieldFault(f"{place}[{name}]", f'Invalid value: "{amount}": must be greater than or equal to 0')
        except errors.InvalidInput as e:
            yield FieldFault(f"{place}[{name}]", f"Invalid value: {e.message}")


def _default_quota(obj: Object) -> Object:
    spec = objects.spec(obj)
    hard = spec.get("hard")
    return obj | {"spec": spec | {"hard": quantities.shown_all(hard)}} if isinstance(hard, dict) else obj


def _validate_quota(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(_amount_faults(spec.get("hard"), "spec.hard"))
    for number, scope in enumerate(spec.get("scopes") or ()):
        if scope not in SCOPES:
            faults.append(FieldFault(f"spec.scopes[{number}]", f'Invalid value: "{scope}": unsupported scope'))
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    for number, requirement in enumerate(expressions):
        place = f"spec.scopeSelector.matchExpressions[{number}]"
        if requirement["scopeName"] not in SCOPES:
            faults.append(FieldFault(f"{place}.scopeName",
                                     f'Invalid value: "{requirement["scopeName"]}": unsupported scope'))
        operator = requirement["operator"]
        if operator not in _OPERATORS:
            faults.append(FieldFault(f"{place}.operator",
                                     f'Invalid value: "{operator}": not a valid selector operator'))
        elif bool(requirement.get("values")) != (operator in ("In", "NotIn")):
            faults.append(FieldFault(f"{place}.values",
                                     "Required value: must be at least one value when `operator` is 'In' or 'NotIn' "
                                     "for scope selector, and none otherwise"))
    if old is not None:
        for field in ("scopes", "scopeSelector"):
            if spec.get(field) != objects.spec(old).get(field):
                faults.append(FieldFault(f"spec.{field}", "Invalid value: field is immutable"))
    return faults


def _default_limits(obj: Object) -> Object:
    """As upstream: a container's ``default`` falls back to ``max``, ``defaultRequest`` to ``default``, then ``min``."""
    items = []
    for item in objects.spec(obj).get("limits") or ():
        if item.get("type") == "Container":
            default = (item.get("max") or {}) | (item.get("default") or {})
            request = (item.get("min") or {}) | default | (item.get("defaultRequest") or {})
            item = item | ({"default": default} if default else {}) | ({"defaultRequest": request} if request else {})
        items.append(item)
    return obj | {"spec": objects.spec(obj) | {"limits": items}}


def _validate_limits(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults: list[FieldFault] = []
    seen: set[str] = set()
    for number, item in enumerate(objects.spec(obj).get("limits") or ()):
        place = f"spec.limits[{number}]"
        if not item.get("type"):
            faults.append(FieldFault(f"{place}.type", "Required value"))
            continue
        if item["type"] in seen:
            faults.append(FieldFault(f"{place}.type", f'Duplicate value: "{item["type"]}"'))
        seen.add(item["type"])
        before = len(faults)
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            faults += _amount_faults(item.get(field), f"{place}.{field}")
        if item["type"] == "Pod":
            faults += [FieldFault(f"{place}.{field}", "Forbidden: may not be specified when `type` is 'Pod'")
                       for field in ("default", "defaultRequest") if item.get(field)]
        if len(faults) == before:
            faults += _order_faults(item, place)
    return faults


def _order_faults(item: Object, place: str) -> Iterator[FieldFault]:
    """min <= defaultRequest <= default <= max, wherever both are given."""
    ranks = ("min", "defaultRequest", "default", "max")
    for low, lower in enumerate(ranks):
        for upper in ranks[low + 1:]:
            for name, amount in (item.get(lower) or {}).items():
                limit = (item.get(upper) or {}).get(name)
                if limit is not None and quantities.parse(amount) > quantities.parse(limit):
                    yield FieldFault(f"{place}.{lower}[{name}]",
                                     f'Invalid value: "{amount}": {lower} value {amount} is greater than {upper} '
                                     f"value {limit}")


def _default_priority(obj: Object) -> Object:
    kept = {key: value for key, value in obj.items() if key != "globalDefault" or value}
    return kept | {"value": obj.get("value") or 0,
                   "preemptionPolicy": obj.get("preemptionPolicy") or "PreemptLowerPriority"}


def _validate_priority(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    name, value, policy = objects.name(obj), obj["value"], obj["preemptionPolicy"]
    faults = []
    if name.startswith("system-"):
        if SYSTEM_CLASSES.get(name) != value or obj.get("globalDefault"):
            faults.append(FieldFault("metadata.name", "Forbidden: priority class names with 'system-' prefix are "
                                                      "reserved for system use only. error: "
                                                      f"{name} is not a known system priority class"))
    elif value > HIGHEST_USER_PRIORITY:
        faults.append(FieldFault("value", "Forbidden: maximum allowed value of a user defined priority is "
                                          f"{HIGHEST_USER_PRIORITY}"))
    if policy not in _POLICIES:
        faults.append(FieldFault("preemptionPolicy", f'Unsupported value: "{policy}": supported values: "Never", '
                                                     '"PreemptLowerPriority"'))
    if old is not None:
        faults += [FieldFault(field, "Forbidden: may not be changed in an update.")
                   for field in ("value", "preemptionPolicy") if obj[field] != old.get(field)]
    return faults


_NAME = Column(name="Name", path=".metadata.name", description="Name must be unique within a namespace.")
_AGE = Column(name="Age", path=".metadata.creationTimestamp", description="Time since the object was created.")


def _quota_cells(obj: Object, now: datetime) -> list[Any]:
    status = objects.status(obj)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    return [objects.name(obj), ", ".join(text for name, text in shown.items() if not name.startswith("limits.")),
            ", ".join(text for name, text in shown.items() if name.startswith("limits.")), columns.age(obj, now)]


def _priority_cells(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), obj.get("value") or 0, bool(obj.get("globalDefault")), columns.age(obj, now),
            obj.get("preemptionPolicy") or "PreemptLowerPriority"]


_QUOTAS = Printing(columns=(_NAME, Column(name="Request", path=""), Column(name="Limit", path=""), _AGE),
                   cells=_quota_cells)
_PRIORITIES = Printing(columns=(_NAME, Column(name="Value", path="", type="integer"),
                                Column(name="Global-Default", path="", type="boolean"), _AGE,
                                Column(name="PreemptionPolicy", path="")), cells=_priority_cells)


def _spared_priority(obj: Object) -> Object:
    if objects.name(obj) in SYSTEM_CLASSES:
        raise errors.Forbidden(f'priorityclasses.scheduling.k8s.io "{objects.name(obj)}" is forbidden: this is a '
                               "system priority class and cannot be deleted")
    return obj


def served() -> tuple[Served, ...]:
    r = resources
    return (
        Served(resource=r.RESOURCE_QUOTAS, counted=False, schema=_Quota, default=_default_quota,
               validate=_validate_quota, printing=_QUOTAS),
        Served(resource=r.LIMIT_RANGES, schema=_Limits, default=_default_limits, validate=_validate_limits,
               counted=False, printing=CREATED),
        Served(resource=r.PRIORITY_CLASSES, schema=_Priority, default=_default_priority, validate=_validate_priority,
               counted=True, doomed=_spared_priority, printing=_PRIORITIES),
    )
