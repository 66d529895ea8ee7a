"""The controllers that Kubernetes itself would bring: what the platform needs of them.

``app`` calls ``controllers`` and gives them to its manager; they reach the server through ``client`` only. On a real
cluster none of them runs.
"""

from __future__ import annotations

from lightship.cluster.builtin import (
    deployments,
    endpoints,
    garbage,
    jobs,
    namespace_deletion,
    namespaces,
    pod_collection,
    replicasets,
    scheduler,
)
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.graph import Graph
from lightship.runtime.controller import Controller

__all__ = ["controllers", "Deps"]


def controllers(deps: Deps) -> list[Controller]:
    """All of them. Call me after the domains have asked for their informers: what they keep whole is shared."""
    made = [
        scheduler.controller(deps),
        deployments.controller(deps),
        replicasets.controller(deps),
        jobs.controller(deps),
        endpoints.controller(deps),
        namespaces.controller(deps),
        pod_collection.controller(deps),
    ]
    graph = Graph(deps)  # last: it takes the whole objects that the others keep, and trimmed ones of other kinds
    return [*made, garbage.controller(deps, graph), namespace_deletion.controller(deps, graph)]
