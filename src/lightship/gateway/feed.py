"""Brings the routes: watches their ConfigMaps and swaps a new table in whole.

``__main__`` runs me; I call ``runtime.informer`` and ``core.swap``. Many changes at once make one swap. A route that
cannot be read is logged and left as it last was; the others are not touched by it. When the API server is away, the
last table serves on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from lightship.client.client import Client, Selection
from lightship.gateway import route_objects, routes
from lightship.gateway.core import Core
from lightship.gateway.errors import BadRoute
from lightship.gateway.routes import Route
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS
from lightship.lib.clock import SYSTEM, Clock
from lightship.runtime.informer import Informer

logger = logging.getLogger(__name__)

ROUTES = Selection(labels="lightship.dev/gateway-route=true")
ROUTE_KEY = "route.json"


class Feed:
    """The routes of one cluster."""

    def __init__(self, core: Core, client: Client, clock: Clock = SYSTEM) -> None:
        self._core = core
        self._routes: dict[Key, Route] = {}
        self._scheduled = False
        self._informer = Informer(client, CONFIGMAPS, ROUTES, clock)
        self._informer.subscribe(self._changed)

    async def run(self) -> None:
        """Follow the routes until cancelled."""
        await self._informer.start()
        try:
            await self._informer.synced.wait()
            self._swap()
            await asyncio.Event().wait()
        finally:
            await self._informer.stop()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._routes.pop(objects.key(old), None)
        else:
            key = objects.key(new)
            try:
                self._routes[key] = read(new)
            except BadRoute as problem:
                logger.warning("a route cannot be used; it stays as it was",
                               extra={"configMap": str(key), "problem": str(problem)})
        if self._informer.synced.is_set() and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._swap)

    def _swap(self) -> None:
        self._scheduled = False
        self._core.swap(routes.table(self._routes.values()))


def read(config_map: Object) -> Route:
    """The route in a ConfigMap. Raises ``BadRoute``.

    Whoever may write a ConfigMap in one namespace must not be able to take over another namespace's addresses, so a
    route serves its own namespace's prefix and host names only.
    """
    text = (config_map.get("data") or {}).get(ROUTE_KEY)
    if text is None:
        raise BadRoute(f"there is no {ROUTE_KEY}")
    route = route_objects.parse(text, str(objects.meta(config_map).get("creationTimestamp") or ""))
    if route.namespace != objects.namespace(config_map):
        raise BadRoute(f'it is for namespace "{route.namespace}", and lies in another')
    if route.prefix != f"/serving/{route.namespace}/{route.name}":
        raise BadRoute(f'its prefix "{route.prefix}" is not its own')
    own = [f"{route.name}-{route.namespace}."]
    _own_hosts(route.hosts, own)
    for rule in route.rules:
        _own_hosts(rule.hosts, [*own, f"{route.name}-{rule.component.name}-{route.namespace}."])
    return route


def _own_hosts(hosts: Sequence[str], own: Sequence[str]) -> None:
    for host in hosts:
        if not host.startswith(tuple(own)):
            raise BadRoute(f'its host "{host}" is not its own')
