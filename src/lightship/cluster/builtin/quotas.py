"""Keeps the status of ResourceQuotas: what is allowed, and what is used of it.

``builtin`` builds me; I call ``kube.quota`` and ``client``. Admission counts for itself and does not wait for me: the
status is for people and for controllers that read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, quantities, quota
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES, Resource
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.informer import Informer

NAME = "resourcequota-controller"
_WHOLE = (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS)
"""Of these, what is in the object counts; of all others, that it is there."""


class Quotas:
    """The pass over one quota."""

    def __init__(self, deps: Deps) -> None:
        self._manager = deps.manager
        self._quotas = deps.manager.informer(RESOURCE_QUOTAS)
        self._kinds: dict[str, Resource] = {one.group_resource: one for one in deps.resources if one.namespaced}
        self._counted: dict[str, Informer] = {one.group_resource: deps.manager.informer(one) for one in _WHOLE}
        self._client = deps.manager.client_for(NAME)

    async def reconcile(self, key: Key) -> Result:
        found = self._quotas.get(key)
        if found is None or objects.deleting(found):
            return DONE
        hard = objects.spec(found).get("hard") or {}
        used = self._used(found, hard)
        shown = {name: quota.text(name, used.get(name, Decimal(0))) for name in hard}
        allowed = {name: quantities.canonical(quantities.parse(amount), binary=str(amount).endswith("i"))
                   for name, amount in hard.items()}
        await apply.patch_status(self._client, RESOURCE_QUOTAS, found, {"hard": allowed, "used": shown})
        return DONE

    def _used(self, found: Object, hard: Iterable[str]) -> quota.Usage:
        used: quota.Usage = {}
        for resource in {quota.resource_of(name) for name in hard}:
            informer = self._informer(resource)
            for obj in informer.list(objects.namespace(found)) if informer else ():
                if quota.concerns(objects.spec(found), resource, obj):
                    quota.add(used, quota.usage(resource, obj))
        return used

    def _informer(self, name: str) -> Informer | None:
        """Of a kind that some quota counts; it wakes the quotas of its namespaces from its first use on."""
        if name not in self._counted and name in self._kinds:
            informer = self._manager.informer(self._kinds[name], metadata_only=True)
            self._counted[name] = informer
            informer.subscribe(self._changed)
        return self._counted.get(name)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            for key in self.concerned(new or old or {}):
                self._manager.wake(NAME, key)

    def concerned(self, obj: Object) -> Iterable[Key]:
        """The quotas of the object's namespace."""
        return [objects.key(one) for one in self._quotas.list(objects.namespace(obj))]


def controller(deps: Deps) -> Controller:
    """The reconciler, and what wakes it."""
    quotas = Quotas(deps)
    return Controller(name=NAME, reconciler=quotas, watches=(
        Watch(resource=RESOURCE_QUOTAS), *(Watch(resource=one, keys=quotas.concerned) for one in _WHOLE)))
