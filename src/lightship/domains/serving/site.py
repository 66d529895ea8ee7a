"""Where InferenceServices are reached, and what the cluster has to reach them by. Pure data; ``app`` makes one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from lightship import errors


class Entry(Enum):
    """What brings requests from outside to a service."""

    GATEWAY = "gateway"
    """Our own gateway alone, by the paths of its address."""
    HTTP_ROUTE = "httproute"
    """The cluster's Gateway API, with weights."""
    INGRESS = "ingress"
    """An Ingress, which knows no weights."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """``gateway_url`` has no slash at its end; ``domain`` ends host names."""

    gateway_url: str
    domain: str = "example.com"
    entry: Entry = Entry.GATEWAY
    parent: str = "kserve/kserve-ingress-gateway"
    """The Gateway that HTTPRoutes hang on, as ``namespace/name``; upstream's is the default."""
    ingress_class: str = ""
    keda: bool = False
    """The cluster has ScaledObjects."""


def with_entry(site: Site, text: str) -> Site:
    """The site as the setting has it: ``gateway``, ``httproute:NAMESPACE/NAME``, ``ingress`` or ``ingress:CLASS``.

    Raises ``errors.InvalidInput``.
    """
    kind, _, rest = text.partition(":")
    if kind == Entry.HTTP_ROUTE.value and all(rest.partition("/")):
        return replace(site, entry=Entry.HTTP_ROUTE, parent=rest)
    if kind == Entry.INGRESS.value:
        return replace(site, entry=Entry.INGRESS, ingress_class=rest)
    if text == Entry.GATEWAY.value:
        return site
    raise errors.InvalidInput(f'"{text}" is no way in to served models',
                              remedy="Use gateway, httproute:NAMESPACE/GATEWAY, ingress or ingress:CLASS")
