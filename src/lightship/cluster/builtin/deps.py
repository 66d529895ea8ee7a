"""What the built-in controllers need from outside; ``app`` makes one and passes it to ``builtin.controllers``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightship.kube.resources import Resource
from lightship.lib import clock as clocks
from lightship.lib import ids
from lightship.runtime.manager import Manager


@dataclass(frozen=True, kw_only=True)
class Deps:
    """``resources`` is every served kind that can be owned or owns: what garbage collection and the deletion of
    namespaces look at. ``ca_pem`` is what Pods check the API server's certificate against."""

    manager: Manager
    resources: Sequence[Resource]
    ca_pem: str = ""
    clock: clocks.Clock = clocks.SYSTEM
    id_source: ids.IdSource = field(default_factory=ids.RandomIds)

    def serves(self, resource: Resource) -> bool:
        """Whether the server has the kind: an informer of one that it lacks would hold up the manager."""
        return any(known.group_resource == resource.group_resource for known in self.resources)
