"""The route table: an immutable snapshot of who is served where. Pure.

``feed`` makes a ``Table`` of all route objects and swaps it in whole; ``proxy`` asks it for each request. A route
object is the JSON that the serving controller writes into a ConfigMap's ``route.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from lightship.gateway.errors import BadRoute


class Endpoint(NamedTuple):
    """Where a ready Pod listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One revision, its share of the traffic, and its ready Pods."""

    revision: str
    weight: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One InferenceService. ``message`` says why it has no endpoint, where its controller knows."""

    namespace: str
    name: str
    hosts: tuple[str, ...]
    prefix: str
    timeout_seconds: float
    backends: tuple[Backend, ...]
    message: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def ready(self) -> bool:
        return any(backend.endpoints for backend in self.backends)


class Match(NamedTuple):
    """The route of a request, and the path to ask the model server for."""

    route: Route
    path: str


@dataclass(frozen=True)
class Table:
    """All routes of one moment. ``loaded`` is False only before the first list has come in."""

    routes: tuple[Route, ...] = ()
    loaded: bool = True
    _hosts: Mapping[str, Route] = field(init=False, repr=False, compare=False)
    _prefixes: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hosts", {host: route for route in self.routes for host in route.hosts})
        object.__setattr__(self, "_prefixes", {route.prefix: route for route in self.routes})

    def match(self, host: str, path: str) -> Match | None:
        """The route for a Host header and a path (with its query), or None.

        A host name that is a route's takes the whole path; any other host is looked at by its path's first three
        parts (``/serving/<namespace>/<name>``), which are cut off.
        """
        by_host = self._hosts.get(host.partition(":")[0].lower())
        if by_host is not None:
            return Match(by_host, path)
        if not path.startswith("/"):
            return None
        bare, question, query = path.partition("?")
        parts = bare.split("/", 4)
        if len(parts) < 4:
            return None
        by_prefix = self._prefixes.get("/".join(parts[:4]))
        if by_prefix is None:
            return None
        rest = "/" + (parts[4] if len(parts) > 4 else "")
        return Match(by_prefix, f"{rest}{question}{query}")

    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every route."""
        return frozenset(endpoint for route in self.routes for backend in route.backends
                         for endpoint in backend.endpoints)


class _Backend(msgspec.Struct):
    revision: str = ""
    weight: int = 100
    endpoints: list[str] = []


class _Route(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    prefix: str
    hosts: list[str] = []
    timeout_seconds: float = 60.0
    backends: list[_Backend] = []
    message: str = ""


def parse(text: str | bytes) -> Route:
    """A route object. Raises ``BadRoute``."""
    try:
        found = msgspec.json.decode(text, type=_Route)
    except msgspec.DecodeError as problem:
        raise BadRoute(f"the route cannot be read: {problem}") from problem
    if found.prefix.count("/") != 3 or not found.prefix.startswith("/") or found.prefix.endswith("/"):
        raise BadRoute(f'the route\'s prefix "{found.prefix}" is not of the form /serving/<namespace>/<name>')
    if found.timeout_seconds <= 0:
        raise BadRoute(f"the route's timeoutSeconds is {found.timeout_seconds}; it must be more than 0")
    if any(backend.weight < 0 for backend in found.backends):
        raise BadRoute("a backend's weight is less than 0")
    return Route(
        namespace=found.namespace, name=found.name, prefix=found.prefix, message=found.message,
        hosts=tuple(host.lower() for host in found.hosts), timeout_seconds=found.timeout_seconds,
        backends=tuple(Backend(revision=backend.revision, weight=backend.weight,
                               endpoints=tuple(map(_endpoint, backend.endpoints))) for backend in found.backends))


def table(routes: Iterable[Route]) -> Table:
    """A snapshot of routes, in an order that does not depend on who came first."""
    return Table(tuple(sorted(routes, key=lambda route: route.key)))


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRoute(f'the endpoint "{text}" is not of the form address:port')
    return Endpoint(host, int(port))
