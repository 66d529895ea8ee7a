"""Says behind which addresses a Service's Pods are: in EndpointSlices, and in the Endpoints of older clients.

``builtin`` builds me; I call ``client``. ``endpoint_slices`` makes the objects. A Service without a selector is its
owner's affair: Endpoints that a person wrote for it are shown as slices, too, since all readers here read slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from lightship.cluster.builtin import endpoint_slices as made
from lightship.cluster.builtin import names
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Resource
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.informer import Informer

NAME = "endpointslice-controller"
LIMIT_WRITES_AT_ONCE = 8


class Endpoints:
    """The pass: observe, decide, apply. The key is the Service's."""

    def __init__(self, deps: Deps) -> None:
        self._services = deps.manager.informer(SERVICES)
        self._pods = deps.manager.informer(PODS)
        self._slices = deps.manager.informer(ENDPOINT_SLICES)
        self._legacy = deps.manager.informer(ENDPOINTS) if deps.serves(ENDPOINTS) else None
        self._client = deps.manager.client_for(NAME)

    async def reconcile(self, key: Key) -> Result:
        service = self._services.get(key)
        if service is None or objects.deleting(service):
            return DONE  # garbage collection takes the slices
        there = [found for found in self._slices.owned_by(objects.uid(service))
                 if objects.labels(found).get(names.SLICE_MANAGED_BY) in (names.SLICE_MANAGER, names.MIRROR_MANAGER)]
        wanted: list[Object] = []
        legacy = self._legacy.get(key) if self._legacy is not None else None
        works = []
        if made.is_managed(service):
            members = [pod for pod in self._pods.list(key.namespace) if made.selects(service, pod)]
            wanted = made.make_slices(service, members, there)
            if self._legacy is not None:
                works.append(partial(self._write, ENDPOINTS, self._legacy, made.make_endpoints(service, members)))
        elif legacy is not None and made.is_mirrored(service, legacy):
            wanted = made.mirror(service, legacy)
        works += [partial(self._write, ENDPOINT_SLICES, self._slices, one) for one in wanted]
        kept = {objects.name(one) for one in wanted}
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        for one in there:
            if objects.name(one) not in kept:
                await apply.delete_if_there(self._client, ENDPOINT_SLICES, one)
        return DONE

    async def _write(self, resource: Resource, informer: Informer, wanted: Object) -> None:
        existing = informer.get(objects.key(wanted))
        if existing is None:
            informer.observe(await apply.ensure(self._client, resource, wanted, None))
            return
        patch = _patch(existing, wanted)
        if patch:
            informer.observe(await self._client.patch(resource, objects.key(wanted), patch))

    def keys_of(self, pod: Object) -> Iterable[Key]:
        """The Services that choose the Pod."""
        return [objects.key(service) for service in self._services.list(objects.namespace(pod))
                if made.selects(service, pod)]


def _patch(existing: Object, wanted: Object) -> dict[str, Any]:
    """Lists are ours alone and go as a whole: what an endpoint no longer has must not stay."""
    patch = apply.difference(existing, {"metadata": wanted["metadata"]})
    for name in ("ports", "endpoints", "subsets"):
        if name in wanted and (existing.get(name) or []) != wanted[name]:
            patch[name] = wanted[name]
    return patch


def _owner_service(one: Mapping[str, Any]) -> Iterable[Key]:
    name = objects.labels(one).get(names.SERVICE_NAME)
    return (Key(objects.namespace(one), name),) if name else ()


def controller(deps: Deps) -> Controller:
    reconciler = Endpoints(deps)
    watches = [Watch(resource=SERVICES), Watch(resource=PODS, keys=reconciler.keys_of),
               Watch(resource=ENDPOINT_SLICES, keys=_owner_service)]
    if deps.serves(ENDPOINTS):
        watches.append(Watch(resource=ENDPOINTS))  # they bear their Service's name
    return Controller(name=NAME, reconciler=reconciler, watches=tuple(watches))
