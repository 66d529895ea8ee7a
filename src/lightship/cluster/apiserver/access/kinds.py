"""The kinds of RBAC as they are served: types, defaults, validation and columns, as upstream has them.

Pure; ``core`` puts these into the registry. What a writer may grant is ``escalation``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import columns
from lightship.cluster.apiserver.registry import FieldFault, Printing, Served
from lightship.cluster.apiserver.shapes import SUBDOMAIN_RULE, is_subdomain
from lightship.kube import objects, resources, selectors
from lightship.kube.objects import Object
from lightship.kube.resources import Column

GROUP = resources.ROLES.group


class _Rule(msgspec.Struct):
    verbs: list[str] | None = None
    apiGroups: list[str] | None = None
    resources: list[str] | None = None
    resourceNames: list[str] | None = None
    nonResourceURLs: list[str] | None = None


class _Aggregation(msgspec.Struct):
    clusterRoleSelectors: list[dict[str, Any]] | None = None


class _Role(msgspec.Struct):
    rules: list[_Rule] | None = None


class _ClusterRole(msgspec.Struct):
    rules: list[_Rule] | None = None
    aggregationRule: _Aggregation | None = None


class _RoleRef(msgspec.Struct):
    apiGroup: str | None = None
    kind: str | None = None
    name: str | None = None


class _Subject(msgspec.Struct):
    kind: str | None = None
    apiGroup: str | None = None
    name: str | None = None
    namespace: str | None = None


class _Binding(msgspec.Struct):
    roleRef: _RoleRef | None = None
    subjects: list[_Subject] | None = None


def _default_role(obj: Object) -> Object:
    return obj | {"rules": obj.get("rules") or []}


def _validate_role(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_rule_faults(obj, namespaced=True))


def _validate_cluster_role(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = list(_rule_faults(obj, namespaced=False))
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        place = "aggregationRule.clusterRoleSelectors"
        wanted = aggregation.get("clusterRoleSelectors") or ()
        if not wanted:
            faults.append(FieldFault(place, "Required value: at least one clusterRoleSelector required if "
                                            "aggregationRule is non-nil"))
        for number, selector in enumerate(wanted):
            try:
                selectors.from_object(selector)
            except errors.InvalidInput as e:
                faults.append(FieldFault(f"{place}[{number}]", f"Invalid value: {e.message}"))
    return faults


def _rule_faults(obj: Object, *, namespaced: bool) -> Iterator[FieldFault]:
    for number, rule in enumerate(obj.get("rules") or ()):
        place = f"rules[{number}]"
        if not rule.get("verbs"):
            yield FieldFault(f"{place}.verbs", "Required value: verbs must contain at least one value")
        urls = rule.get("nonResourceURLs")
        if urls:
            shown = f"Invalid value: {msgspec.json.encode(urls).decode()}"
            if namespaced:
                yield FieldFault(f"{place}.nonResourceURLs",
                                 f"{shown}: namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                yield FieldFault(f"{place}.nonResourceURLs", f"{shown}: rules cannot apply to both regular resources "
                                                             "and non-resource URLs")
            continue
        if not rule.get("apiGroups"):
            yield FieldFault(f"{place}.apiGroups", "Required value: resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield FieldFault(f"{place}.resources", "Required value: resource rules must supply at least one resource")


def _default_binding(obj: Object) -> Object:
    reference = dict(obj.get("roleRef") or {})
    reference["apiGroup"] = reference.get("apiGroup") or GROUP
    result = obj | {"roleRef": reference}
    if obj.get("subjects"):
        result["subjects"] = [_default_subject(subject) for subject in obj["subjects"]]
    return result


def _default_subject(subject: Object) -> Object:
    if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
        return subject | {"apiGroup": GROUP}
    return subject


def _validate_role_binding(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_binding_faults(obj, old, namespaced=True))


def _validate_cluster_role_binding(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_binding_faults(obj, old, namespaced=False))


def _binding_faults(obj: Object, old: Object | None, *, namespaced: bool) -> Iterator[FieldFault]:
    reference = obj["roleRef"]
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if reference.get("apiGroup") != GROUP:
        yield _unsupported("roleRef.apiGroup", reference.get("apiGroup"), (GROUP,))
    if reference.get("kind") not in kinds:
        yield _unsupported("roleRef.kind", reference.get("kind"), kinds)
    name = reference.get("name")
    if not name:
        yield FieldFault("roleRef.name", "Required value")
    elif name in (".", "..") or "/" in name or "%" in name:
        yield FieldFault("roleRef.name", f'Invalid value: "{name}": may not be \'.\' or \'..\' or contain \'/\' or '
                                         "'%'")
    for number, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject_faults(subject, f"subjects[{number}]", namespaced)
    if old is not None and old["roleRef"] != reference:
        shown = msgspec.json.encode({key[0].upper() + key[1:] if key != "apiGroup" else "APIGroup":
                                     reference.get(key) for key in ("apiGroup", "kind", "name")}).decode()
        yield FieldFault("roleRef", f"Invalid value: {shown}: cannot change roleRef")


def _subject_faults(subject: Object, place: str, namespaced: bool) -> Iterator[FieldFault]:
    kind, name, group = subject.get("kind"), subject.get("name"), subject.get("apiGroup") or ""
    if not name:
        yield FieldFault(f"{place}.name", "Required value")
    if kind == "ServiceAccount":
        if name and not is_subdomain(name):
            yield FieldFault(f"{place}.name", f'Invalid value: "{name[:253]}": {SUBDOMAIN_RULE}')
        if group:
            yield _unsupported(f"{place}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            yield FieldFault(f"{place}.namespace", "Required value")
    elif kind in ("User", "Group"):
        if group != GROUP:
            yield _unsupported(f"{place}.apiGroup", group, (GROUP,))
    else:
        yield _unsupported(f"{place}.kind", kind, ("ServiceAccount", "User", "Group"))


def _unsupported(place: str, value: Any, known: Sequence[str]) -> FieldFault:
    supported = ", ".join(f'"{one}"' for one in known)
    return FieldFault(place, f'Unsupported value: "{value or ""}": supported values: {supported}')


_NAME = Column(name="Name", path=".metadata.name", description="Name must be unique within a namespace.")
_CREATED = Column(name="Created At", path=".metadata.creationTimestamp", description="Time of creation.")


def _created_cells(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), objects.meta(obj).get("creationTimestamp") or "<unknown>"]


def _binding_cells(obj: Object, now: datetime) -> list[Any]:
    reference, names = obj["roleRef"], dict[str, list[str]]()
    for subject in obj.get("subjects") or ():
        name = subject["name"]
        if subject["kind"] == "ServiceAccount":
            name = f"{subject.get('namespace') or ''}/{name}"
        names.setdefault(subject["kind"], []).append(name)
    return [objects.name(obj), f"{reference['kind']}/{reference['name']}", columns.age(obj, now),
            *(", ".join(names.get(kind, ())) for kind in ("User", "Group", "ServiceAccount"))]


CREATED = Printing(columns=(_NAME, _CREATED), cells=_created_cells)
_BINDINGS = Printing(
    columns=(_NAME, Column(name="Role", path=""), Column(name="Age", path=".metadata.creationTimestamp"),
             *(Column(name=name, path="", priority=1) for name in ("Users", "Groups", "ServiceAccounts"))),
    cells=_binding_cells)


def served() -> tuple[Served, ...]:
    """The four kinds. Their names are only checked as path segments, since they hold colons."""
    r = resources
    return (
        Served(resource=r.ROLES, schema=_Role, default=_default_role, validate=_validate_role, printing=CREATED,
               free_name=True),
        Served(resource=r.CLUSTER_ROLES, schema=_ClusterRole, default=_default_role, validate=_validate_cluster_role,
               printing=CREATED, free_name=True),
        Served(resource=r.ROLE_BINDINGS, schema=_Binding, default=_default_binding, validate=_validate_role_binding,
               printing=_BINDINGS, free_name=True),
        Served(resource=r.CLUSTER_ROLE_BINDINGS, schema=_Binding, default=_default_binding,
               validate=_validate_cluster_role_binding, printing=_BINDINGS, free_name=True),
    )
