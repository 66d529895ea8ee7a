"""Empties a namespace that is being deleted, and lets it go when nothing is left in it.

``builtin`` builds me; I call ``client``. Finalizers of what lies in it are honoured: the namespace waits for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lightship import errors
from lightship.client.client import Selection
from lightship.cluster.builtin import names
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.graph import Graph, Node
from lightship.kube import conditions, objects
from lightship.kube.conditions import Condition
from lightship.kube.objects import Key, Object
from lightship.kube.resources import NAMESPACES, Resource
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "namespace-controller"
LIMIT_WRITES_AT_ONCE = 16
BEHIND_SECONDS = 0.5
"""When to look again if the server still lists what the cache has not seen."""


def terminating(namespace: Object) -> bool:
    held = objects.spec(namespace).get("finalizers") or ()
    return objects.deleting(namespace) and names.NAMESPACE_FINALIZER in held


def remaining(inside: Iterable[Node]) -> tuple[Condition, Condition]:
    """What holds a namespace up, in upstream's two conditions. Kinds and finalizers are named and not counted, so that
    a thousand Pods that end one by one are one write of the status and not a thousand."""
    inside = list(inside)
    kinds = sorted({node.resource.group_resource for node in inside})
    held = sorted({name for node in inside for name in objects.meta(node.object).get("finalizers") or ()})
    content = (conditions.make("NamespaceContentRemaining", True, "SomeResourcesRemain",
                               "Some resources are remaining: " + ", ".join(kinds)) if kinds else
               conditions.make("NamespaceContentRemaining", False, "ContentRemoved",
                               "All content successfully removed"))
    finalizers = (conditions.make("NamespaceFinalizersRemaining", True, "SomeFinalizersRemain",
                                  "Some content in the namespace has finalizers remaining: " + ", ".join(held))
                  if held else
                  conditions.make("NamespaceFinalizersRemaining", False, "ContentHasNoFinalizers",
                                  "All content-preserving finalizers finished"))
    return content, finalizers


class NamespaceDeletion:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps, graph: Graph) -> None:
        self._graph = graph
        self._manager = deps.manager
        self._namespaces = deps.manager.informer(NAMESPACES)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        graph.listen(self._changed)

    async def reconcile(self, key: Key) -> Result:
        namespace = self._namespaces.get(key)
        if namespace is None or not terminating(namespace):
            return DONE
        inside = list(self._graph.inside(key.name))
        works = [partial(apply.delete_if_there, self._client, node.resource, node.object)
                 for node in inside if not objects.deleting(node.object)]
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        if works:
            return Result(requeue_after_seconds=BEHIND_SECONDS)  # most are gone by then; what stays is said below
        if inside:
            await self._say(namespace, inside)
            return DONE  # each of them, when it is gone, wakes this key
        for resource in self._graph.untracked:
            await self._client.raw("DELETE", resource.path(key.name))
        if await self._anything_left(key.name):
            return Result(requeue_after_seconds=BEHIND_SECONDS)
        await self._finalize(key)
        return DONE

    async def _say(self, namespace: Object, inside: Iterable[Node]) -> None:
        existing = objects.status(namespace)
        said = existing.get("conditions") or []
        for condition in remaining(inside):
            said = conditions.merge(said, condition, self._clock.now())
        try:
            await apply.patch_status(self._client, NAMESPACES, namespace, {**existing, "conditions": said})
        except errors.NotFound:
            return

    async def _anything_left(self, namespace: str) -> bool:
        """Asks the server itself: a namespace that goes with something in it would leave that for ever."""
        for resource in self._graph.resources:
            if not resource.namespaced:
                continue
            try:
                page = await self._client.list(resource, Selection(namespace=namespace), limit=1)
            except errors.NotFound:
                continue  # a kind that has just gone, with all that was of it
            if page.items:
                return True
        return False

    async def _finalize(self, key: Key) -> None:
        try:
            namespace = await self._client.get(NAMESPACES, key.name)
            kept = [name for name in objects.spec(namespace).get("finalizers") or ()
                    if name != names.NAMESPACE_FINALIZER]
            await self._client.update(NAMESPACES, namespace | {"spec": objects.spec(namespace) | {"finalizers": kept}},
                                      subresource="finalize")
        except errors.NotFound:
            return

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        if not objects.namespace(obj):
            return
        key = Key("", objects.namespace(obj))
        namespace = self._namespaces.get(key)
        if namespace is not None and terminating(namespace) and (old is None or new is None):
            self._manager.wake(NAME, key)


def controller(deps: Deps, graph: Graph) -> Controller:
    return Controller(name=NAME, reconciler=NamespaceDeletion(deps, graph), workers=2,
                      watches=(Watch(resource=NAMESPACES),))
