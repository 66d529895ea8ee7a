"""Fills aggregated ClusterRoles with the rules of those that they select.

``builtin`` builds me; I call ``kube.rbac`` and ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, rbac
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CLUSTER_ROLES
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "role-aggregation"


class RoleAggregation:
    """The pass over one aggregated role."""

    def __init__(self, deps: Deps) -> None:
        self._roles = deps.manager.informer(CLUSTER_ROLES)
        self._client = deps.manager.client_for(NAME)

    async def reconcile(self, key: Key) -> Result:
        role = self._roles.get(key)
        if role is None or objects.deleting(role) or not rbac.is_aggregated(role):
            return DONE
        rules = rbac.aggregated_rules(role, self._roles.list())
        if rules != (role.get("rules") or []):
            version = objects.meta(role).get("resourceVersion")
            patch = {"metadata": {"resourceVersion": version}, "rules": rules}
            self._roles.observe(await self._client.patch(CLUSTER_ROLES, key, patch))
        return DONE

    def concerned(self, obj: Object) -> Iterable[Key]:
        """Every aggregated role: the changed one may have been, or may now be, part of any."""
        return {objects.key(one): None for one in (obj, *self._roles.list()) if rbac.is_aggregated(one)}


def controller(deps: Deps) -> Controller:
    """The reconciler, and what wakes it."""
    aggregation = RoleAggregation(deps)
    return Controller(name=NAME, reconciler=aggregation,
                      watches=(Watch(resource=CLUSTER_ROLES, keys=aggregation.concerned),))
