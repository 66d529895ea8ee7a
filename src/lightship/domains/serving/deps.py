"""What serving needs from ``app``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightship.client.client import Client, Selection
from lightship.domains.serving.site import Site
from lightship.kube.resources import Resource
from lightship.lib.clock import Clock
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer


@dataclass(frozen=True, kw_only=True)
class ServingDeps:
    """``informer`` is ``Manager.informer``; ``client`` acts as the serving controller; ``site`` is the gateway's."""

    client: Client
    informer: Callable[[Resource, Selection], Informer]
    recorder: Recorder
    clock: Clock
    site: Site
