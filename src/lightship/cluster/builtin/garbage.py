"""Deletes what nobody owns any more, and holds back or frees dependents as a deletion asked (foreground, orphan).

``builtin`` builds me; I call ``client``. A key of mine is ``(namespace, "plural.group/name")``, since it may be of any
kind. That an owner is gone is never believed of the cache alone, which may only be behind: it is asked of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lightship import errors
from lightship.cluster.builtin import names
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.graph import Graph, Node
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.lib import tasks
from lightship.runtime import finalizers
from lightship.runtime.controller import DONE, Controller, Result
from lightship.runtime.manager import Manager

NAME = "garbage-collector"
LIMIT_WRITES_AT_ONCE = 16

OwnerState = Literal["present", "absent", "waiting"]
"""Of an owner: there; gone; or there and waiting, in foreground deletion, for its blocking dependents."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Delete:
    propagation: str


@dataclass(frozen=True, kw_only=True)
class Disown:
    """Keep the object for the owners that are left; ``references`` is what remains."""

    references: tuple[dict[str, Any], ...]


def decide(obj: Object, owners: Sequence[tuple[dict[str, Any], OwnerState]], has_dependents: bool) -> (
        Keep | Delete | Disown):
    """What becomes of an object, given its owner references and what is known of each owner."""
    if not owners or objects.deleting(obj):
        return Keep()
    present = tuple(reference for reference, state in owners if state == "present")
    if present:
        return Keep() if len(present) == len(owners) else Disown(references=present)
    waiting = any(state == "waiting" for _, state in owners)
    if waiting and has_dependents:
        return Delete(propagation="Foreground")
    held = objects.finalizers(obj)
    if names.ORPHAN_FINALIZER in held:
        return Delete(propagation="Orphan")
    return Delete(propagation="Foreground" if names.FOREGROUND_FINALIZER in held else "Background")


def blocks(dependent: Object, owner_uid: str) -> bool:
    """Whether the dependent's reference says that its owner must wait for it."""
    return any(reference.get("uid") == owner_uid and reference.get("blockOwnerDeletion")
               for reference in references(dependent))


def references(obj: Object) -> list[dict[str, Any]]:
    return objects.meta(obj).get("ownerReferences") or []


def key_of(resource: Resource, obj: Object) -> Key:
    """The key under which I look at an object of whatever kind."""
    return Key(objects.namespace(obj), f"{resource.group_resource}/{objects.name(obj)}")


class Garbage:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps, graph: Graph) -> None:
        self._graph = graph
        self._manager: Manager = deps.manager
        self._client = deps.manager.client_for(NAME)
        graph.listen(self._changed)

    async def reconcile(self, key: Key) -> Result:
        group_resource, _, name = key.name.partition("/")
        resource = self._graph.named(group_resource)
        obj = self._graph.get(resource, Key(key.namespace, name)) if resource is not None else None
        if resource is None or obj is None:
            return DONE
        if objects.deleting(obj):
            await self._finish(resource, obj)
            return DONE
        owners = [(reference, await self._state(reference, key.namespace)) for reference in references(obj)]
        has_dependents = next(self._graph.dependents(objects.uid(obj), key.namespace), None) is not None
        plan = decide(obj, owners, has_dependents)
        try:
            if isinstance(plan, Delete):
                await self._client.delete(resource, objects.key(obj), uid=objects.uid(obj),
                                          propagation=plan.propagation)
            elif isinstance(plan, Disown):
                await self._disown(resource, obj, plan.references)
        except errors.NotFound:
            return DONE
        return DONE

    async def _state(self, reference: dict[str, Any], namespace: str) -> OwnerState:
        uid = str(reference.get("uid", ""))
        resource = self._graph.resource_of(reference)
        if resource is None:
            return "present"  # a kind that we do not know: its owner is not ours to judge
        if resource.namespaced and not namespace:
            return "present"  # not a reference that can hold: upstream lets such an object be, and so do we
        known = self._graph.find(uid)
        if known is not None and known[1].namespace in ("", namespace):
            owner = self._graph.get(*known)
        else:
            owner = await self._ask(resource, str(reference.get("name", "")), namespace, uid)
        if owner is None:
            return "absent"
        waits = objects.deleting(owner) and names.FOREGROUND_FINALIZER in objects.finalizers(owner)
        return "waiting" if waits and reference.get("blockOwnerDeletion") else "present"

    async def _ask(self, resource: Resource, name: str, namespace: str, uid: str) -> Object | None:
        """The owner as the server has it; one of that name with another uid is another object."""
        try:
            owner = await self._client.get(resource, name, namespace if resource.namespaced else "")
        except errors.NotFound:
            return None
        return owner if objects.uid(owner) == uid else None

    async def _finish(self, resource: Resource, obj: Object) -> None:
        """Let an object go whose deletion waits for its dependents, once they are gone or freed."""
        held, uid = objects.finalizers(obj), objects.uid(obj)
        dependents = list(self._graph.dependents(uid, objects.namespace(obj)))
        if names.ORPHAN_FINALIZER in held:
            await tasks.each([partial(self._free, node, uid) for node in dependents], at_once=LIMIT_WRITES_AT_ONCE)
            await finalizers.remove(self._client, resource, await self._whole(resource, obj), names.ORPHAN_FINALIZER)
        elif names.FOREGROUND_FINALIZER in held:
            blocking = [node for node in dependents if blocks(node.object, uid)]
            for node in dependents:
                self._wake(node.resource, node.object)
            if not blocking:
                await finalizers.remove(self._client, resource, await self._whole(resource, obj),
                                        names.FOREGROUND_FINALIZER)

    async def _whole(self, resource: Resource, obj: Object) -> Object:
        try:
            return await self._client.get(resource, objects.name(obj), objects.namespace(obj))
        except errors.NotFound:
            return {"metadata": {}}

    async def _free(self, node: Node, owner_uid: str) -> None:
        remaining = tuple(ref for ref in references(node.object) if ref.get("uid") != owner_uid)
        try:
            await self._disown(node.resource, node.object, remaining)
        except errors.NotFound:
            return

    async def _disown(self, resource: Resource, obj: Object, remaining: Sequence[dict[str, Any]]) -> None:
        metadata = {"ownerReferences": list(remaining) or None, "uid": objects.uid(obj),
                    "resourceVersion": objects.meta(obj).get("resourceVersion")}
        await self._client.patch(resource, objects.key(obj), {"metadata": metadata})

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        """Wake what a change may concern: few changes do."""
        if new is None:
            assert old is not None
            for node in self._graph.dependents(objects.uid(old)):
                self._wake(node.resource, node.object)
            self._wake_owners(old)
            return
        if references(new) and (old is None or references(old) != references(new)):
            self._wake(resource, new)
            if old is not None:
                self._wake_owners(old)
        if objects.deleting(new) and {names.FOREGROUND_FINALIZER, names.ORPHAN_FINALIZER} & set(
                objects.finalizers(new)):
            self._wake(resource, new)

    def _wake_owners(self, obj: Object) -> None:
        """An owner in foreground deletion may have waited for this one."""
        for reference in references(obj):
            known = self._graph.find(str(reference.get("uid", "")))
            owner = self._graph.get(*known) if known else None
            if known and owner is not None and objects.deleting(owner):
                self._wake(known[0], owner)

    def _wake(self, resource: Resource, obj: Object) -> None:
        self._manager.wake(NAME, key_of(resource, obj))


def controller(deps: Deps, graph: Graph) -> Controller:
    return Controller(name=NAME, reconciler=Garbage(deps, graph), watches=())
