"""The HTTP side: every domain's routes behind one gate, and the page."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from lightship.client.client import EVERYTHING
from lightship.composition import access, services
from lightship.composition.cluster import Cluster
from lightship.composition.domains import History
from lightship.domains.serving.kinds import INFERENCE_SERVICES
from lightship.kube.objects import Object
from lightship.runtime.manager import Manager
from lightship.web import application
from lightship.web.page import routes as page
from lightship.web.server import Server

IDENTITY = "rest"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the HTTP side is made of."""

    cluster: Cluster
    history: History
    manager: Manager
    routes: Sequence[BaseRoute]


def make(parts: Parts, listening: socket.socket) -> Server:
    """What will answer on ``listening`` once it is started."""
    client = parts.cluster.client_for(IDENTITY)
    served = parts.manager.informer(INFERENCE_SERVICES, EVERYTHING)
    history = parts.history

    async def endpoints(namespace: str) -> Sequence[Object]:
        return served.list(namespace)

    streams = page.streams(history.notices)
    shown = page.Page(database=history.database, artifacts=history.artifacts, clock=parts.cluster.clock,
                      endpoints=endpoints, streams=streams)
    app = application.build([*parts.routes, *page.routes(shown)], application.Options(
        authenticate=access.authenticator(client), reviewer=access.reviewer(client)))
    for service in (services.PIPELINES, services.REGISTRY):
        parts.cluster.server.proxies[service] = services.handler(app)
    for prefix in services.MOUNTS:
        parts.cluster.server.mounts[prefix] = services.handler(app)
    return Server(app, listening, closing=streams.close)
