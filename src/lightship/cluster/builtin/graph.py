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
from lightship.runtime.informer import Informer

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
        masses = {resource.plural for resource in UNTRACKED}
        self.untracked = UNTRACKED
        self._manager = deps.manager
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._informers: dict[str, tuple[Resource, Informer]] = {}
        self._by_uid: dict[str, tuple[Resource, Key]] = {}
        self._listeners: list[Listener] = []
        for resource in deps.resources:
            if resource.plural not in masses and resource.group_resource not in self._informers:
                self.serve(resource)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The kinds that I follow now."""
        return tuple(resource for resource, _ in self._informers.values())

    def named(self, group_resource: str) -> Resource | None:
        found = self._informers.get(group_resource)
        return None if found is None else found[0]

    def serve(self, resource: Resource) -> None:
        """Follow a kind, which the server has."""
        informer = self._manager.informer(resource, metadata_only=True)
        self._informers[resource.group_resource] = (resource, informer)
        self._kinds[resource.group, resource.kind] = resource
        informer.subscribe(partial(self._changed, resource))

    def forget(self, resource: Resource) -> None:
        """Follow a kind no more, which the server has no longer: its objects are gone."""
        self._manager.release(resource)
        self._informers.pop(resource.group_resource, None)
        self._kinds.pop((resource.group, resource.kind), None)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def has(self, uid: str) -> bool:
        return uid in self._by_uid

    def find(self, uid: str) -> tuple[Resource, Key] | None:
        return self._by_uid.get(uid)

    def get(self, resource: Resource, key: Key) -> Object | None:
        found = self._informers.get(resource.group_resource)
        return None if found is None else found[1].get(key)

    def resource_of(self, reference: dict[str, Any]) -> Resource | None:
        """The kind that an owner reference names, in whatever version."""
        group, _, _ = str(reference.get("apiVersion", "")).rpartition("/")
        return self._kinds.get((group, str(reference.get("kind", ""))))

    def dependents(self, uid: str, namespace: str = "") -> Iterator[Node]:
        """What names ``uid`` as an owner; with the owner's namespace, only what lies there with it.

        A reference does not cross namespaces: nobody holds back what lies where he may not write.
        """
        for resource, informer in tuple(self._informers.values()):
            for obj in informer.owned_by(uid):
                if not namespace or objects.namespace(obj) == namespace:
                    yield Node(resource=resource, object=obj)

    def inside(self, namespace: str) -> Iterator[Node]:
        """What lies in the namespace."""
        for resource, informer in tuple(self._informers.values()):
            if resource.namespaced:
                for obj in informer.list(namespace):
                    yield Node(resource=resource, object=obj)

    def naming(self, owner: Resource) -> Iterator[Node]:
        """What names some object of this kind as an owner."""
        for resource, informer in tuple(self._informers.values()):
            for obj in informer.list():
                if any(self.resource_of(reference) == owner for reference in
                       objects.meta(obj).get("ownerReferences") or ()):
                    yield Node(resource=resource, object=obj)

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._by_uid[objects.uid(new)] = (resource, objects.key(new))
        elif old is not None:
            self._by_uid.pop(objects.uid(old), None)
        for listener in self._listeners:
            listener(resource, old, new)
