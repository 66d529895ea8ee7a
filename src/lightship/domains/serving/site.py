"""Where InferenceServices are reached, and what the cluster has to reach them by. Pure data; ``app`` makes one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
