"""The table of served kinds: the core ones, those that the domains pass in, and those that users define.

Data and look-ups. ``server`` builds one; everything in this room asks it. ``crds`` changes it at run time: whoever
keeps something that was rendered from the table looks at ``generation``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from lightship.kube import versions
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Column, Resource, ScalePaths


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
Unknown = Callable[[Object], Sequence[str]]
Admit = Callable[[Object, Object | None], tuple[Object, Iterable[Fault]]]
Amend = Callable[[Object], tuple[Object, list[str]]]
Settled = Callable[[Object, bool], Awaitable[None]]


class AdmittedKind(Protocol):
    """What a domain passes in; ``domains.furniture.Kind`` fits."""

    @property
    def resource(self) -> Resource: ...

    @property
    def default(self) -> Default: ...

    @property
    def validate(self) -> Validate: ...

    @property
    def schema(self) -> Mapping[str, Any] | None: ...

    @property
    def related(self) -> Callable[[Object], tuple[Resource, Key] | None] | None: ...

    @property
    def validate_with(self) -> Callable[[Object, Object | None, Object | None], Sequence[Fault]] | None: ...

    @property
    def pod_of(self) -> Callable[[Object], Key | None] | None: ...

    @property
    def amend_pod(self) -> Callable[[Object, Object], Object] | None: ...


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
    openapi: Mapping[str, Any] | None = None
    """Of a custom version with a schema: its ``openAPIV3Schema``, structural, list types and map keys included."""
    admit: Admit | None = None
    """In place of ``default`` and ``validate``, where one pass does both; also judges writes of the status."""
    settled: Settled | None = None
    """Told of each write of such an object (and whether it is gone) once it is on disk and before it is answered."""
    amended: Amend | None = None
    """What a client wrote as it is taken, with what the client should be warned of."""
    doomed: Default | None = None
    """What a deletion makes of the object before anything else; may refuse it."""
    unknown: Unknown | None = None
    """Of a custom version that prunes: the paths of an object's fields that its schema does not know."""
    notice: str = ""
    """What whoever creates such an object should know: the warning that the answer bears."""
    deprecation: str = ""
    """Of a deprecated version: the warning that each answer bears."""
    scale: ScalePaths | None = None
    """Of a custom version with a scale subresource: where its numbers are. None: where a Deployment has them."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field selectors beyond ``metadata.name`` and ``metadata.namespace``: label to JSONPath."""
    label_name: bool = False
    """Names are DNS labels (no dots) rather than subdomains."""
    free_name: bool = False
    """Names are only checked as path segments."""
    returns_deleted: bool = False
    """DELETE answers with the object rather than a Status, as the OpenAPI says of this kind."""
    counted: bool | None = None
    """Whether ``metadata.generation`` counts its changes; None: where it has a spec."""
    storage: str = ""
    """The store's resource, where another kind's objects are shown (events.k8s.io)."""
    to_wire: Default | None = None
    from_wire: Default | None = None
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

    @cached_property
    def store_resource(self) -> str:
        return self.storage or self.resource.group_resource

    @cached_property
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


class Stream(Protocol):
    """What follows the objects of a kind."""

    def end(self, reason: str) -> None: ...


class Registry:
    """All served kinds. Two kinds of one group and plural but different versions share storage."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.generation = 0
        """Grows with each change."""
        self._by_place: dict[tuple[str, str, str], Served] = {}
        self._streams: dict[tuple[str, str], set[Stream]] = {}
        for one in served:
            assert _place(one) not in self._by_place, f"{_place(one)} is served twice"
            self._by_place[_place(one)] = one
        self._regroup()

    @property
    def served(self) -> tuple[Served, ...]:
        return self._served

    @property
    def group_versions(self) -> tuple[GroupVersion, ...]:
        return self._group_versions

    def install(self, group: str, plural: str, served: Iterable[Served]) -> None:
        """Serve these versions of a kind, in place of whatever versions of it were served."""
        self._drop(group, plural)
        for one in served:
            assert (one.resource.group, one.resource.plural) == (group, plural)
            self._by_place[_place(one)] = one
        self._regroup()

    def remove(self, group: str, plural: str) -> None:
        """Serve no version of a kind any more."""
        self._drop(group, plural)
        self._regroup()

    def follow(self, served: Served, stream: Stream) -> Callable[[], None]:
        """``stream`` shows objects of a kind as they are served now; what is given back is called when it is over."""
        place = (served.resource.group, served.resource.plural)
        following = self._streams.setdefault(place, set())
        following.add(stream)

        def leave() -> None:
            following.discard(stream)
            if not following and self._streams.get(place) is following:
                del self._streams[place]

        return leave

    def end_streams(self, group: str, plural: str) -> None:
        """Objects of this kind are not shown any more as they were: whoever follows them lists again."""
        for stream in tuple(self._streams.get((group, plural), ())):
            stream.end("the definition of the kind has changed")

    def _drop(self, group: str, plural: str) -> None:
        for place in [p for p in self._by_place if (p[0], p[2]) == (group, plural)]:
            del self._by_place[place]

    def _regroup(self) -> None:
        self.generation += 1
        self._served = tuple(self._by_place.values())
        grouped: dict[tuple[str, str], list[Served]] = {}
        for one in self._served:
            grouped.setdefault((one.resource.group, one.resource.version), []).append(one)
        self._group_versions = tuple(
            GroupVersion(group=group, version=version, served=tuple(grouped[group, version]))
            for group, version in sorted(grouped, key=lambda gv: (gv[0], versions.rank(gv[1]))))

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._by_place.get((group, version, plural))

    def has_version(self, group: str, version: str) -> bool:
        return any(gv.group == group and gv.version == version for gv in self._group_versions)

    def groups(self) -> list[str]:
        """The named groups, in order."""
        return sorted({gv.group for gv in self._group_versions if gv.group})

    def versions(self, group: str) -> list[GroupVersion]:
        """The versions of a group, the least stable first: v1alpha1, v1beta1, v1, v2."""
        return [gv for gv in self._group_versions if gv.group == group]


def _place(served: Served) -> tuple[str, str, str]:
    return (served.resource.group, served.resource.version, served.resource.plural)
