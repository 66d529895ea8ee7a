"""The gateway's own pages, under ``/-/``: health, metrics, routes. ``exchange`` asks me where no route matched.

Health is open; the others want a token as the data path does.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from lightship.gateway.core import Core
from lightship.lib import prometheus

OPEN = frozenset({"/healthz", "/-/healthz", "/-/ready"})


class Page(NamedTuple):
    """An answer of the gateway's own."""

    status: int
    content_type: str
    body: bytes


def page(core: Core, path: str) -> Page | None:
    """The page of a path, or None."""
    match path:
        case "/healthz" | "/-/healthz":
            return _json({"status": "alive"})
        case "/-/ready":
            ready = core.table.loaded and not core.draining
            return _json({"ready": ready}, 200 if ready else 503)
        case "/-/metrics":
            return Page(200, prometheus.CONTENT_TYPE, core.metrics.render(core.balancer.in_flight, core.connections))
        case "/-/routes":
            return _json({"loaded": core.table.loaded, "routes": [
                {"inferenceService": route.key, "prefix": route.prefix, "hosts": route.hosts,
                 "timeoutSeconds": route.timeout_seconds, "message": route.message,
                 "backends": [{"revision": backend.revision, "weight": backend.weight,
                               "endpoints": [str(endpoint) for endpoint in backend.endpoints]}
                              for backend in route.backends]}
                for route in core.table.routes]})
    return None


def _json(value: object, status: int = 200) -> Page:
    return Page(status, "application/json", msgspec.json.encode(value))
