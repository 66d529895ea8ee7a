"""What the registry holds of a definition: one ``Served`` a version, whose schema is compiled when it is first needed.

Pure; ``registrar`` calls me. An object is admitted through ``Version.admit``: one pass prunes, defaults and validates,
faults that an update did not bring are forgiven, and the rules run over what is otherwise right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from lightship.cluster.apiserver.crds import places, rules, walker
from lightship.cluster.apiserver.crds.places import SchemaFault
from lightship.cluster.apiserver.errors import MethodNotAllowed
from lightship.cluster.apiserver.registry import AdmittedKind, Default, Fault, Served, Settled, Validate
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Column, Resource, ScalePaths

RULES_SKIPPED = ("Invalid value: null: some validation rules were not checked because the object was invalid; correct "
                 "the existing errors to complete validation")


def resource_of(definition: Object, version: Object) -> Resource:
    """A version of a definition as a resource."""
    spec = objects.spec(definition)
    names, offered = spec["names"], version.get("subresources") or {}
    columns = tuple(Column(name=c["name"], path=c["jsonPath"], type=c["type"], priority=c.get("priority") or 0,
                           description=c.get("description") or "")
                    for c in version.get("additionalPrinterColumns") or ())
    return Resource(
        group=spec["group"], version=version["name"], kind=names["kind"], plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced", singular=names.get("singular") or names["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()), categories=tuple(names.get("categories") or ()),
        subresources=frozenset(name for name in ("status", "scale") if offered.get(name) is not None),
        columns=columns, lists_as=names.get("listKind") or "")


Find = Callable[[Resource, Key], Object | None]
"""Reads another object, for a kind whose validity rests on it."""


def builtin(kind: AdmittedKind, find: Find) -> Served:
    """A domain's kind as a served one: its schema, where it has one, and then its own functions."""
    validate = _with_related(kind, find)
    if kind.schema is None:
        return Served(resource=kind.resource, default=kind.default, validate=validate, custom=True,
                      scale=kind.resource.scale)
    version = Version(kind.schema)

    def admit(new: Object, old: Object | None) -> tuple[Object, Iterable[Fault]]:
        pruned, faults = version.admit(new, old)
        found = list(faults)
        if found:
            return pruned, found
        full = kind.default(pruned)
        return full, validate(full, old)

    return Served(resource=kind.resource, custom=True, openapi=kind.schema, admit=admit, unknown=version.unknown,
                  scale=kind.resource.scale)


def _with_related(kind: AdmittedKind, find: Find) -> Validate:
    related, judge = kind.related, kind.validate_with
    if related is None or judge is None:
        return kind.validate

    def validate(new: Object, old: Object | None) -> Sequence[Fault]:
        found = list(kind.validate(new, old))
        named = related(new) if not found else None
        return found if named is None else [*found, *judge(new, old, find(*named))]

    return validate


class Version:
    """A version's schema at work."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    @cached_property
    def _walk(self) -> Callable[[Any, walker.Findings], Any]:
        return walker.compile(self._schema)

    @cached_property
    def _rules(self) -> rules.Rules | None:
        return rules.compile(self._schema)

    def admit(self, new: Object, old: Object | None) -> tuple[Object, Iterable[Fault]]:
        """The object as it is stored, and what is wrong with it."""
        findings = walker.Findings()
        result = self._walk(new, findings)
        return result, self._judged(result, old, findings.faults)

    def _judged(self, new: Object, old: Object | None, faults: list[SchemaFault]) -> Iterator[Fault]:
        if faults and old is not None:
            faults = [fault for fault in faults if not forgiven(fault, new, old, self._schema)]
        yield from faults
        if any(fault.blocking for fault in faults):
            if self._rules:
                yield SchemaFault(places.NOWHERE, RULES_SKIPPED)
            return
        if self._rules:
            broken = self._rules.faults(new, old)
            yield from (fault for fault in broken if old is None or fault.blocking
                        or not forgiven(fault, new, old, self._schema))

    def unknown(self, obj: Object) -> Sequence[str]:
        """The fields of an object that would be pruned."""
        findings = walker.Findings()
        self._walk(obj, findings)
        return findings.unknown

    def filled(self, obj: Object) -> Object:
        """An object that was stored under an older schema, as this one shows it."""
        result: Object = self._walk(obj, walker.Findings())
        return result


def forgiven(fault: SchemaFault, new: Object, old: Object, schema: Mapping[str, Any]) -> bool:
    """Whether a fault was there before: the value that it judges, or one around it, is unchanged by the update."""
    value: Any = new
    before: Any = old
    inner: Mapping[str, Any] = schema
    for step in fault.anchor:
        value, before, known = places.follow(value, before, step, inner.get("x-kubernetes-list-map-keys") or ())
        if not known:
            return False
        if places.same(value, before):
            return True
        below = inner.get("items") if isinstance(step, int) else (inner.get("properties") or {}).get(
            step, inner.get("additionalProperties"))
        inner = below if isinstance(below, Mapping) else {}
    return False


def has_defaults(schema: Any) -> bool:
    """Whether a schema has a default anywhere."""
    if isinstance(schema, Mapping):
        return "default" in schema or any(map(has_defaults, schema.values()))
    return isinstance(schema, list) and any(map(has_defaults, schema))


def stored(versions: Sequence[Object]) -> Object:
    """The version that objects are stored in."""
    return next(version for version in versions if version.get("storage"))


def served(definition: Object, settled: Settled | None) -> list[Served]:
    """Every served version of a definition that was found to be right.

    Of one that is being deleted at least the stored version is served, so that its objects can be deleted.
    """
    spec = objects.spec(definition)
    kept = stored(spec["versions"])
    alone = objects.deleting(definition) and not any(version.get("served") for version in spec["versions"])
    several = len(spec["versions"]) > 1
    result = []
    for version in spec["versions"]:
        if not (version.get("served") or (alone and version is kept)):
            continue
        schema: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]
        made = Version(schema)
        resource = resource_of(definition, version)
        evolved = objects.generation(definition) > 1 and has_defaults(schema)
        scale = (version.get("subresources") or {}).get("scale")
        result.append(Served(
            resource=resource, custom=True, openapi=schema, admit=made.admit, unknown=made.unknown,
            to_wire=_shower(resource.api_version, made.filled if evolved else None) if several or evolved else None,
            from_wire=_namer(f"{spec['group']}/{kept['name']}") if version is not kept else None,
            fields={path["jsonPath"].removeprefix("."): path["jsonPath"]
                    for path in version.get("selectableFields") or ()},
            scale=ScalePaths(spec_replicas=scale["specReplicasPath"], status_replicas=scale["statusReplicasPath"],
                             selector=scale.get("labelSelectorPath") or "") if scale else None,
            deprecation=_deprecation(version, resource), settled=settled))
    return result


def closed(version: Served) -> Served:
    """A version of a definition that is being deleted: nothing new may come."""
    admit = version.admit
    assert admit is not None

    def refuse(new: Object, old: Object | None) -> tuple[Object, Iterable[Fault]]:
        if old is None:
            raise MethodNotAllowed("create not allowed while custom resource definition is terminating")
        return admit(new, old)

    return replace(version, admit=refuse)


def _namer(api_version: str) -> Default:
    return lambda obj: obj if obj["apiVersion"] == api_version else obj | {"apiVersion": api_version}


def _shower(api_version: str, fill: Default | None) -> Default:
    name = _namer(api_version)
    return (lambda obj: fill(name(obj))) if fill else name


def _deprecation(version: Object, resource: Resource) -> str:
    if not version.get("deprecated"):
        return ""
    return version.get("deprecationWarning") or f"{resource.api_version} {resource.kind} is deprecated"
