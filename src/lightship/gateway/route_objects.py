"""What the serving controller writes for the gateway, and how it is read. Pure; ``feed`` calls me.

One ConfigMap an InferenceService, labelled ``lightship.dev/gateway-route: "true"``, with this JSON in ``route.json``
(what has a default may be left out)::

    {"namespace": "default", "name": "iris",
     "prefix": "/serving/default/iris",          always of this form; cut off before the request goes on
     "hosts": ["iris-default.example.com"],      NAME-NAMESPACE.DOMAIN only
     "timeoutSeconds": 60,                       to the answer's first byte, and between two pieces of it
     "message": "",                              why nothing is ready; told to those who call meanwhile
     "component": "predictor",                   the one that requests enter at
     "backends": [{"revision": "iris-predictor-00002", "weight": 90,
                   "endpoints": ["10.244.0.7:8080"],   ready Pods
                   "concurrencyLimit": 0,              of each endpoint (containerConcurrency); 0: none
                   "activate": false,                  true: may scale to zero, so requests wait for the first Pod
                   "tag": ""}],                        also reached at TAG-HOST, or by the header Knative-Serving-Tag
     "rules": [{"component": "explainer", "suffix": ":explain", "backends": []},
               {"component": "predictor", "hosts": ["iris-predictor-default.example.com"], "backends": []}],
     "logger": {"mode": "all",                   all, request or response
                "url": "http://sink",            CloudEvents; without it files in "format"
                "format": "json",                json (lines) or parquet
                "metadataHeaders": [], "annotations": {}},
     "grpcPort": 0}                              a port of the gateway's that is this service's alone

A backend of weight 0 gets no traffic but by its tag. Weights need not sum to 100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from lightship.gateway.errors import BadRoute
from lightship.gateway.routes import PREDICTOR, Backend, Component, Endpoint, PayloadLog, Route, Rule

_TAG = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MODES = ("all", "request", "response")
_FORMATS = ("", "json", "parquet")


class _Backend(msgspec.Struct, rename="camel"):
    revision: str = ""
    weight: int = 100
    endpoints: list[str] = []
    concurrency_limit: int = 0
    activate: bool = False
    tag: str = ""


class _Rule(msgspec.Struct, rename="camel"):
    component: str
    hosts: list[str] = []
    suffix: str = ""
    backends: list[_Backend] = []


class _Logger(msgspec.Struct, rename="camel"):
    mode: str = "all"
    url: str = ""
    format: str = ""
    metadata_headers: list[str] = []
    annotations: dict[str, str] = {}


class _Route(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    prefix: str
    hosts: list[str] = []
    timeout_seconds: float = 60.0
    component: str = PREDICTOR
    backends: list[_Backend] = []
    rules: list[_Rule] = []
    message: str = ""
    logger: _Logger | None = None
    grpc_port: int = 0


def parse(text: str | bytes, since: str = "") -> Route:
    """A route object that was made at ``since`` (a Kubernetes time). Raises ``BadRoute``."""
    try:
        found = msgspec.json.decode(text, type=_Route)
    except msgspec.DecodeError as problem:
        raise BadRoute(f"the route cannot be read: {problem}") from problem
    if found.prefix.count("/") != 3 or not found.prefix.startswith("/") or found.prefix.endswith("/"):
        raise BadRoute(f'the route\'s prefix "{found.prefix}" is not of the form /serving/<namespace>/<name>')
    if not _NAME.fullmatch(found.namespace) or not _NAME.fullmatch(found.name):
        raise BadRoute(f'"{found.namespace}/{found.name}" is no name of an InferenceService')
    if found.timeout_seconds <= 0:
        raise BadRoute(f"the route's timeoutSeconds is {found.timeout_seconds}; it must be more than 0")
    if not 0 <= found.grpc_port < 65536:
        raise BadRoute(f"the route's grpcPort is {found.grpc_port}, which is no port")
    return Route(
        namespace=found.namespace, name=found.name, prefix=found.prefix, message=found.message,
        hosts=_lower(found.hosts), timeout_seconds=found.timeout_seconds,
        entry=_component(found.component, found.backends),
        rules=tuple(Rule(component=_component(rule.component, rule.backends), hosts=_lower(rule.hosts),
                         suffix=rule.suffix) for rule in found.rules),
        log=_log(found.logger) if found.logger is not None else None, grpc_port=found.grpc_port, since=since)


def _component(name: str, backends: Sequence[_Backend]) -> Component:
    return Component(name=name, backends=tuple(map(_backend, backends)))


def _backend(found: _Backend) -> Backend:
    if found.weight < 0 or found.concurrency_limit < 0:
        raise BadRoute("a backend's weight and concurrencyLimit cannot be less than 0")
    if found.tag and not _TAG.fullmatch(found.tag):
        raise BadRoute(f'the tag "{found.tag}" cannot be part of a host name')
    return Backend(revision=found.revision, weight=found.weight, endpoints=tuple(map(_endpoint, found.endpoints)),
                   limit=found.concurrency_limit, activate=found.activate, tag=found.tag)


def _log(found: _Logger) -> PayloadLog:
    if found.mode not in _MODES:
        raise BadRoute(f'the logger\'s mode "{found.mode}" is none of {", ".join(_MODES)}')
    if found.format not in _FORMATS:
        raise BadRoute(f'the logger\'s format "{found.format}" is neither json nor parquet')
    if found.url and not found.url.startswith(("http://", "https://")):
        raise BadRoute(f'the logger\'s url "{found.url}" is not of http or https')
    return PayloadLog(
        url=found.url, format="" if found.url else found.format or "json",
        requests=found.mode != "response", responses=found.mode != "request",
        headers=tuple(name.lower().encode() for name in found.metadata_headers),
        annotations=tuple(sorted(found.annotations.items())))


def _lower(hosts: Sequence[str]) -> tuple[str, ...]:
    return tuple(host.lower() for host in hosts)


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRoute(f'the endpoint "{text}" is not of the form address:port')
    return Endpoint(host, int(port))
