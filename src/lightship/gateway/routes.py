"""The route table: an immutable snapshot of who is served where. Pure.

``feed`` makes a ``Table`` of all route objects and swaps it in whole; ``exchange`` asks it for each request. What a
route object says is in ``route_objects``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

PREDICTOR = "predictor"


class Endpoint(NamedTuple):
    """Where a ready Pod listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Revision(NamedTuple):
    """What is counted, limited and scaled as one: a revision of a component of an InferenceService."""

    namespace: str
    name: str
    component: str
    revision: str

    def __str__(self) -> str:
        return f'revision "{self.revision}" of InferenceService "{self.namespace}/{self.name}"'


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One revision, its share of the traffic, and its ready Pods."""

    revision: str
    weight: int
    endpoints: tuple[Endpoint, ...]
    limit: int = 0
    """Requests that one endpoint may have in flight; more wait in a queue. 0: any number."""
    activate: bool = False
    """Whether a request that finds no endpoint waits until the autoscaler has made one."""
    tag: str = ""
    """A name under which this revision alone is reached, whatever its weight."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A predictor, transformer or explainer: the revisions that share its traffic."""

    name: str = PREDICTOR
    backends: tuple[Backend, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A component with addresses of its own: host names, or the end of a path (``:explain``) under the route's own."""

    component: Component
    hosts: tuple[str, ...] = ()
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class PayloadLog:
    """Where copies of requests and answers go: a URL that takes CloudEvents, or files in a format."""

    url: str = ""
    format: str = ""
    requests: bool = True
    responses: bool = True
    headers: tuple[bytes, ...] = ()
    """Request headers that go along as metadata."""
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One InferenceService. ``message`` says why it has no endpoint, where its controller knows."""

    namespace: str
    name: str
    hosts: tuple[str, ...]
    prefix: str
    timeout_seconds: float
    entry: Component
    """Who gets what no rule takes."""
    rules: tuple[Rule, ...] = ()
    message: str = ""
    log: PayloadLog | None = None
    grpc_port: int = 0
    """A port of the gateway's that is this service's alone, for gRPC clients that can say neither host nor path."""
    since: str = ""
    """When the route was made: of two that claim one host name the older has it."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def components(self) -> tuple[Component, ...]:
        return (self.entry, *(rule.component for rule in self.rules))

    def revisions(self) -> Iterable[tuple[Revision, Backend]]:
        for component in self.components():
            for backend in component.backends:
                yield Revision(self.namespace, self.name, component.name, backend.revision), backend


class Match(NamedTuple):
    """The route of a request, the component that it is for, the path to ask it for, and the tag it names, if any."""

    route: Route
    component: Component
    path: str
    tag: str = ""


class _Place(NamedTuple):
    route: Route
    rule: Rule | None
    tag: str


@dataclass(frozen=True)
class Table:
    """All routes of one moment. ``loaded`` is False only before the first list has come in."""

    routes: tuple[Route, ...] = ()
    loaded: bool = True
    _hosts: Mapping[str, _Place] = field(init=False, repr=False, compare=False)
    _prefixes: Mapping[str, Route] = field(init=False, repr=False, compare=False)
    _ports: Mapping[int, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hosts: dict[str, _Place] = {}
        ports: dict[int, Route] = {}
        by_age = sorted(self.routes, key=lambda route: (route.since, route.key))
        for route in by_age:
            for host, place in _places(route):
                hosts.setdefault(host, place)
            if route.grpc_port:
                ports.setdefault(route.grpc_port, route)
        # Names made of tags come last: no tag takes a name that is another service's own.
        for route in by_age:
            for host, place in _tagged(route):
                hosts.setdefault(host, place)
        object.__setattr__(self, "_hosts", hosts)
        object.__setattr__(self, "_ports", ports)
        object.__setattr__(self, "_prefixes", {route.prefix: route for route in self.routes})

    def match(self, host: str, path: str, tag: str = "") -> Match | None:
        """The route for a Host header and a path (with its query), or None.

        A host name that is a route's takes the whole path; any other host is looked at by its path's first three
        parts (``/serving/<namespace>/<name>``), which are cut off. ``tag`` is what the request's own header names.
        """
        place = self._hosts.get(host) or self._hosts.get(host.partition(":")[0].lower())
        if place is not None:
            component = place.rule.component if place.rule is not None else _by_suffix(place.route, path)
            return Match(place.route, component, path, place.tag or tag)
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
        return Match(by_prefix, _by_suffix(by_prefix, rest), f"{rest}{question}{query}", tag)

    def on_port(self, port: int, path: str, tag: str = "") -> Match | None:
        """The route of a port that is one service's alone."""
        route = self._ports.get(port)
        return Match(route, route.entry, path, tag) if route is not None else None

    def ports(self) -> frozenset[int]:
        return frozenset(self._ports)

    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every route."""
        return frozenset(endpoint for route in self.routes for _, backend in route.revisions()
                         for endpoint in backend.endpoints)


def table(routes: Iterable[Route]) -> Table:
    """A snapshot of routes, in an order that does not depend on who came first."""
    return Table(tuple(sorted(routes, key=lambda route: route.key)))


def _places(route: Route) -> Iterable[tuple[str, _Place]]:
    for host in route.hosts:
        yield host, _Place(route, None, "")
    for rule in route.rules:
        for host in rule.hosts:
            yield host, _Place(route, rule, "")


def _tagged(route: Route) -> Iterable[tuple[str, _Place]]:
    """A revision with a tag is at TAG-HOST, too, as Knative has it."""
    for host, place in _places(route):
        component = place.rule.component if place.rule is not None else route.entry
        for backend in component.backends:
            if backend.tag:
                yield f"{backend.tag}-{host}", _Place(route, place.rule, backend.tag)


def _by_suffix(route: Route, path: str) -> Component:
    if route.rules:
        bare = path.partition("?")[0]
        for rule in route.rules:
            if rule.suffix and bare.endswith(rule.suffix):
                return rule.component
    return route.entry
