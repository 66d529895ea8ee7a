"""The gateway's own pages, under ``/-/``: health, metrics, routes, loads. ``exchange`` asks me where no route matched.

Health is open; the others want a token as the data path does. ``/-/load`` is what the autoscaler reads; it may wait
there for the next poke (``?after=NUMBER&wait=SECONDS``). Its counters only grow, so any number of readers may take
differences; another ``gateway`` id says that they began anew.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from lightship.gateway.core import Core
from lightship.gateway.routes import Backend, Route
from lightship.lib import prometheus

OPEN = frozenset({"/healthz", "/-/healthz", "/-/ready"})
_KNOWN = OPEN | {"/-/metrics", "/-/routes", "/-/load"}


class Page(NamedTuple):
    """An answer of the gateway's own."""

    status: int
    content_type: str
    body: bytes


def known(path: str) -> bool:
    return path in _KNOWN


async def page(core: Core, path: str, query: str) -> Page:
    """The page of a path that is ``known``."""
    match path:
        case "/-/ready":
            ready = core.table.loaded and not core.draining
            return _json({"ready": ready}, 200 if ready else 503)
        case "/-/metrics":
            text = core.metrics.render(core.loads, core.balancer.in_flight, core.connections)
            return Page(200, prometheus.CONTENT_TYPE, text)
        case "/-/routes":
            return _json({"loaded": core.table.loaded, "routes": [_route(route) for route in core.table.routes]})
        case "/-/load":
            asked = parse_qs(query)
            try:
                after, wait = int(asked.get("after", ["-1"])[0]), float(asked.get("wait", ["0"])[0])
            except ValueError:
                return _json({"error": "after and wait are numbers"}, 400)
            if math.isfinite(wait):
                await core.pokes.after(after, min(wait, core.limits.load_wait_seconds))
            return _json(_loads(core))
    return _json({"status": "alive"})


def _route(route: Route) -> dict[str, object]:
    return {"inferenceService": route.key, "prefix": route.prefix, "hosts": route.hosts, "message": route.message,
            "timeoutSeconds": route.timeout_seconds, "grpcPort": route.grpc_port, "component": route.entry.name,
            "backends": [_backend(backend) for backend in route.entry.backends],
            "rules": [{"component": rule.component.name, "hosts": rule.hosts, "suffix": rule.suffix,
                       "backends": [_backend(backend) for backend in rule.component.backends]}
                      for rule in route.rules]}


def _backend(backend: Backend) -> dict[str, object]:
    return {"revision": backend.revision, "weight": backend.weight, "tag": backend.tag,
            "concurrencyLimit": backend.limit, "activate": backend.activate,
            "endpoints": [str(endpoint) for endpoint in backend.endpoints]}


def _loads(core: Core) -> dict[str, object]:
    now = perf_counter()
    at_zero = {revision for route in core.table.routes for revision, backend in route.revisions()
               if not backend.endpoints}
    return {"gateway": core.id, "now": now, "poke": core.pokes.number, "revisions": [
        {"namespace": load.revision.namespace, "name": load.revision.name, "component": load.revision.component,
         "revision": load.revision.revision, "inFlight": load.in_flight, "queued": len(load.waiting),
         "activating": len(load.waiting) if load.revision in at_zero else 0,
         "requests": load.requests, "integral": load.integral_at(now)}
        for load in core.loads if load.revision.revision]}


def _json(value: object, status: int = 200) -> Page:
    return Page(status, "application/json", msgspec.json.encode(value))
