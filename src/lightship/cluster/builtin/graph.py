"""Every object of the cluster by its uid and by its owners: what garbage collection and namespace deletion walk.

Both share one of me. I hold metadata-only informers of all kinds, which the manager shares where whole ones are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, Resource

UNTRACKED = (EVENTS,)
"""Kinds that come and go in masses and neither own nor are owned: their namespace's end sweeps them away unseen."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """An object with its kind."""

    resource: Resource
    object: Object

    @property
    def key(self) -> Key:
        return objects.key(self.object)


Listener = Callable[[Resource, Object | None, Object | None], None]
"""Gets ``(resource, old, new)`` of every change, as an informer's subscriber does."""


class Graph:
    """The objects, as far as the informers have come."""

    def __init__(self, deps: Deps) -> None:
        served = {resource.group_resource: resource for resource in deps.resources}.values()
        masses = {resource.plural for resource in UNTRACKED}
        self.resources = tuple(resource for resource in served if resource.plural not in masses)
        self.untracked = UNTRACKED
        self._kinds = {(resource.group, resource.kind): resource for resource in self.resources}
        self._informers = {resource.group_resource: (resource, deps.manager.informer(resource, metadata_only=True))
                           for resource in self.resources}
        self._by_uid: dict[str, tuple[Resource, Key]] = {}
        self._listeners: list[Listener] = []
        for resource, informer in self._informers.values():
            informer.subscribe(partial(self._changed, resource))

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def has(self, uid: str) -> bool:
        return uid in self._by_uid

    def find(self, uid: str) -> tuple[Resource, Key] | None:
        return self._by_uid.get(uid)

    def get(self, resource: Resource, key: Key) -> Object | None:
        return self._informers[resource.group_resource][1].get(key)

    def resource_of(self, reference: dict[str, Any]) -> Resource | None:
        """The kind that an owner reference names, in whatever version."""
        group, _, _ = str(reference.get("apiVersion", "")).rpartition("/")
        return self._kinds.get((group, str(reference.get("kind", ""))))

    def dependents(self, uid: str) -> Iterator[Node]:
        """What names ``uid`` as an owner."""
        for resource, informer in self._informers.values():
            for obj in informer.owned_by(uid):
                yield Node(resource=resource, object=obj)

    def inside(self, namespace: str) -> Iterator[Node]:
        """What lies in the namespace."""
        for resource, informer in self._informers.values():
            if resource.namespaced:
                for obj in informer.list(namespace):
                    yield Node(resource=resource, object=obj)

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._by_uid[objects.uid(new)] = (resource, objects.key(new))
        elif old is not None:
            self._by_uid.pop(objects.uid(old), None)
        for listener in self._listeners:
            listener(resource, old, new)
