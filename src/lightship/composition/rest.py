"""The HTTP side: every domain's routes behind one gate, and the page."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.routing import BaseRoute

from lightship.composition import access
from lightship.composition.cluster import Cluster
from lightship.composition.domains import History
from lightship.runtime.manager import Manager
from lightship.web import application
from lightship.web.server import Server

IDENTITY = "rest"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the HTTP side is made of."""

    cluster: Cluster
    history: History
    manager: Manager
    routes: Sequence[BaseRoute]


async def start(parts: Parts, listening: socket.socket, stack: AsyncExitStack) -> Server:
    """Answer on ``listening`` from now on."""
    client = parts.cluster.client_for(IDENTITY)
    app = application.build(parts.routes, application.Options(
        authenticate=access.authenticator(client), reviewer=access.reviewer(client)))
    server = Server(app, listening)
    await server.start()
    stack.push_async_callback(server.stop)
    return server
