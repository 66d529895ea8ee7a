"""The controllers that Kubernetes itself would bring: what the platform needs of them.

``app`` calls ``controllers`` and gives them to its manager; they reach the server through ``client`` only. On a real
cluster none of them runs.
"""

from __future__ import annotations

from collections.abc import Callable

from lightship.cluster.builtin import (
    account_tokens,
    claims,
    cronjobs,
    custom_kinds,
    daemonsets,
    deployments,
    disruption,
    endpoints,
    events_expiry,
    garbage,
    hpa,
    jobs,
    jobsets,
    namespace_deletion,
    namespaces,
    nodes,
    pod_collection,
    podgroups,
    quotas,
    replicasets,
    role_aggregation,
    scheduler,
    statefulsets,
)
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.graph import Graph
from lightship.kube.resources import (
    CRON_JOBS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOB_SETS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    POD_GROUPS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from lightship.runtime.controller import Controller

__all__ = ["controllers", "Deps"]


_WHERE_SERVED: tuple[tuple[Resource, Callable[[Deps], Controller]], ...] = (
    (STATEFUL_SETS, statefulsets.controller), (DAEMON_SETS, daemonsets.controller), (CRON_JOBS, cronjobs.controller),
    (JOB_SETS, jobsets.controller), (POD_GROUPS, podgroups.controller), (POD_DISRUPTION_BUDGETS, disruption.controller),
    (HORIZONTAL_POD_AUTOSCALERS, hpa.controller), (REPLICATION_CONTROLLERS, replicasets.old_kind),
)


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
        nodes.controller(deps),
        events_expiry.controller(deps),
        quotas.controller(deps),
        role_aggregation.controller(deps),
        account_tokens.controller(deps),
    ]
    for resource, make in _WHERE_SERVED:
        if deps.serves(resource):
            made.append(make(deps))
    if deps.serves(PERSISTENT_VOLUMES):
        made += claims.controllers(deps)
    graph = Graph(deps)  # last: it takes the whole objects that the others keep, and trimmed ones of other kinds
    made += [garbage.controller(deps, graph), namespace_deletion.controller(deps, graph)]
    if deps.serves(CUSTOM_RESOURCE_DEFINITIONS):
        made.append(custom_kinds.controller(deps, graph))
    return made
