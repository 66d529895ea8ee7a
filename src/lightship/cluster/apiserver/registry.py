"""The table of served kinds: the core ones and those that the domains pass in.

Pure data and look-ups. ``server`` builds one; everything in this room asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from lightship.kube.objects import Object
from lightship.kube.resources import Column, Resource


class Fault(Protocol):
    """One thing that validation found: ``domains.furniture.FieldError`` and our ``Cause`` both fit."""

    @property
    def path(self) -> str: ...

    @property
    def message(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FieldFault:
    """A fault found by the built-in validation."""

    path: str
    message: str


Default = Callable[[Object], Object]
Validate = Callable[[Object, Object | None], Sequence[Fault]]
Cells = Callable[[Object, datetime], list[Any]]


class AdmittedKind(Protocol):
    """What a domain passes in; ``domains.furniture.Kind`` fits."""

    @property
    def resource(self) -> Resource: ...

    @property
    def default(self) -> Default: ...

    @property
    def validate(self) -> Validate: ...


def keep(obj: Object) -> Object:
    return obj


def accept(obj: Object, old: Object | None) -> Sequence[Fault]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Printing:
    """How a kind prints as a table: headings, and the cells of one object."""

    columns: tuple[Column, ...]
    cells: Cells


@dataclass(frozen=True, kw_only=True)
class Served:
    """A served version of a kind with all that the generic verbs need to know of it."""

    resource: Resource
    default: Default = keep
    validate: Validate = accept
    custom: bool = False
    """A custom resource: no strategic merge, generation always."""
    printing: Printing | None = None
    schema: type | None = None
    """A msgspec type that the object's data must fit."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field selectors beyond ``metadata.name`` and ``metadata.namespace``: label to JSONPath."""
    label_name: bool = False
    """Names are DNS labels (no dots) rather than subdomains."""
    free_name: bool = False
    """Names are only checked as path segments."""
    returns_deleted: bool = False
    """DELETE answers with the object rather than a Status, as the OpenAPI says of this kind."""
    storage: str = ""
    """The store's resource, where another kind's objects are shown (events.k8s.io)."""
    to_wire: Default | None = None
    from_wire: Default | None = None
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

    @property
    def store_resource(self) -> str:
        return self.storage or self.resource.group_resource

    @property
    def persistent(self) -> bool:
        return "get" in self.verbs


@dataclass(frozen=True, kw_only=True)
class GroupVersion:
    """A group's version with the kinds that it serves."""

    group: str
    version: str
    served: tuple[Served, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        return f"apis/{self.group}/{self.version}" if self.group else f"api/{self.version}"


class Registry:
    """All served kinds. Two kinds of one group and plural but different versions share storage."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.served = tuple(served)
        self._by_place: dict[tuple[str, str, str], Served] = {}
        for one in self.served:
            place = (one.resource.group, one.resource.version, one.resource.plural)
            assert place not in self._by_place, f"{place} is served twice"
            self._by_place[place] = one
        self.group_versions = self._group()

    def _group(self) -> tuple[GroupVersion, ...]:
        grouped: dict[tuple[str, str], list[Served]] = {}
        for one in self.served:
            grouped.setdefault((one.resource.group, one.resource.version), []).append(one)
        return tuple(GroupVersion(group=group, version=version, served=tuple(members))
                     for (group, version), members in sorted(grouped.items()))

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._by_place.get((group, version, plural))

    def has_version(self, group: str, version: str) -> bool:
        return any(gv.group == group and gv.version == version for gv in self.group_versions)

    def groups(self) -> list[str]:
        """The named groups, in order."""
        return sorted({gv.group for gv in self.group_versions if gv.group})

    def versions(self, group: str) -> list[GroupVersion]:
        return [gv for gv in self.group_versions if gv.group == group]


def custom(kind: AdmittedKind) -> Served:
    """A domain's kind as a served one."""
    return Served(resource=kind.resource, default=kind.default, validate=kind.validate, custom=True)
