"""What training needs from ``composition``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightship.client.client import Client, Selection
from lightship.domains.training import ssh_keys
from lightship.domains.training.site import OTHER, Site
from lightship.kube.resources import Resource
from lightship.lib.clock import Clock
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer


@dataclass(frozen=True, kw_only=True)
class TrainingDeps:
    """``informer`` is ``Manager.informer``; ``client`` acts as the training controller."""

    client: Client
    informer: Callable[[Resource, Selection], Informer]
    recorder: Recorder
    clock: Clock
    site: Site = OTHER
    key_pair: Callable[[], tuple[bytes, bytes]] = ssh_keys.make
    """A new pair of ssh keys: the private one as PEM, the public one as a line of ``authorized_keys``."""
