"""The children of a controller: which are its own, making and deleting them, and remembering what was just done.

Every built-in controller that owns Pods (or ReplicaSets) has one of me. Which objects are whose is decided as upstream
does: an owner adopts what its selector chooses and nobody controls, and lets go of what it no longer chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from lightship import errors
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, selectors
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.lib import tasks
from lightship.runtime.controller import Watch, owner_key
from lightship.runtime.events import Announcement
from lightship.runtime.expectations import Expectations

LIMIT_WRITES_AT_ONCE = 16
FIRST_BATCH = 1
"""Creations begin with so many and double while they succeed: where all would be refused, few are tried."""
_ORPHANS = "children:orphans"


class Words(NamedTuple):
    """How events tell of a child made and deleted; ``{name}`` and ``{owner}`` are filled in."""

    created: str
    deleted: str


class Children:
    """The objects of kind ``child`` that objects of kind ``owner`` have."""

    def __init__(self, deps: Deps, name: str, *, owner: Resource, child: Resource, words: Words | None = None) -> None:
        self._owner, self._child = owner, child
        kind = "pod" if child.kind == "Pod" else child.kind
        self._words = words or Words(f"Created {kind}: {{name}}", f"Deleted {kind}: {{name}}")
        self._informer = deps.manager.informer(child)
        self._owners = deps.manager.informer(owner)
        self._client = deps.manager.client_for(name)
        self._expectations = Expectations(self._informer)
        self._informer.add_index(_ORPHANS, _orphan_place)

    def get(self, key: Key) -> Object | None:
        """A child as I know it."""
        found = self._informer.get(key)
        return None if found is None or not self._expectations.view((found,)) else found

    def owned(self, owner: Object) -> list[Object]:
        """What the owner controls, whether or not its selector still chooses it."""
        uid = objects.uid(owner)
        return [child for child in self._expectations.view(self._informer.owned_by(uid))
                if (objects.controller_of(child) or {}).get("uid") == uid]

    async def claim(self, owner: Object, selector: selectors.LabelSelector, *,
                    may: Callable[[Object], bool] = bool, adding: Mapping[str, Any] | None = None) -> list[Object]:
        """What is the owner's after it has let go of what it does not choose, and adopted what it does.

        ``may`` says what may be adopted; ``adding`` is further metadata of what is.
        """
        kept: list[Object] = []
        strangers: list[Object] = []
        for child in self.owned(owner):
            (kept if selector.matches(objects.labels(child)) else strangers).append(child)
        if objects.deleting(owner):
            return kept
        orphans = [child for child in self._orphans(objects.namespace(owner))
                   if selector.matches(objects.labels(child)) and may(child)]
        if orphans and await self._still_there(owner):
            for child in orphans:
                references = [*(objects.meta(child).get("ownerReferences") or ()), objects.owner_reference(owner)]
                adopted = await self._rewrite(child, {"ownerReferences": references} | dict(adding or {}))
                kept += [adopted] if adopted is not None else []
        for child in strangers:
            await self._rewrite(child, {"ownerReferences": [
                ref for ref in objects.meta(child).get("ownerReferences") or ()
                if ref.get("uid") != objects.uid(owner)] or None})
        return kept

    async def create(self, bodies: Sequence[Object], done: list[Announcement]) -> None:
        """Make all, in batches that double; the first that fails ends it, is announced and raised."""
        size, start = FIRST_BATCH, 0
        while start < len(bodies):
            batch = bodies[start:start + size]
            await tasks.each([partial(self._create, body, done) for body in batch], at_once=LIMIT_WRITES_AT_ONCE)
            start, size = start + size, size * 2

    async def delete(self, doomed: Iterable[Object], done: list[Announcement]) -> None:
        """Ask for the deletion of exactly these; gone already is well."""
        await tasks.each([partial(self._delete, child, done) for child in doomed], at_once=LIMIT_WRITES_AT_ONCE)

    async def delete_whole(self, child: Object) -> None:
        """Ask for the deletion of a child that goes once all that it owns has gone."""
        await self._delete(child, [], propagation="Foreground")

    async def patch(self, child: Object, patch: Mapping[str, Any]) -> Object | None:
        """Change a child; None when it has gone. The patch may name the revision that it was computed from."""
        try:
            changed = await self._client.patch(self._child, objects.key(child), patch)
        except errors.NotFound:
            self._expectations.removed(child)
            return None
        self._expectations.wrote(changed)
        return changed

    async def drop_finalizer(self, child: Object, finalizer: str) -> None:
        """Let go of a child that a finalizer of ours holds."""
        left = [name for name in objects.finalizers(child) if name != finalizer]
        if len(left) != len(objects.finalizers(child)):
            await self._rewrite(child, {"finalizers": left or None})

    def _orphans(self, namespace: str) -> list[Object]:
        found = self._informer.indexed(_ORPHANS, namespace)
        return [child for child in self._expectations.view(found) if not objects.deleting(child)]

    async def _still_there(self, owner: Object) -> bool:
        """Asks the server: nothing may be adopted by what is going or gone."""
        try:
            fresh = await self._client.get(self._owner, objects.name(owner), objects.namespace(owner))
        except errors.NotFound:
            return False
        return objects.uid(fresh) == objects.uid(owner) and not objects.deleting(fresh)

    async def _rewrite(self, child: Object, metadata: Mapping[str, Any]) -> Object | None:
        """Change metadata whose lists others write too: only if nobody has meanwhile."""
        return await self.patch(child, {"metadata": dict(metadata) | {
            "uid": objects.uid(child), "resourceVersion": objects.meta(child).get("resourceVersion")}})

    async def _create(self, body: Object, done: list[Announcement]) -> None:
        try:
            child = await self._client.create(self._child, body)
        except errors.LightshipError as error:
            if not isinstance(error, errors.Unavailable):
                done.append(Announcement("Warning", "FailedCreate", f"Error creating: {error}"))
            raise
        self._expectations.wrote(child)
        done.append(Announcement("Normal", "SuccessfulCreate", self._said(self._words.created, child)))

    async def _delete(self, child: Object, done: list[Announcement], propagation: str = "Background") -> None:
        try:
            answer = await self._client.delete(self._child, objects.key(child), uid=objects.uid(child),
                                               propagation=propagation)
        except errors.NotFound:
            self._expectations.removed(child)
            return
        except errors.Conflict:
            if await self._is_there(child):
                raise  # somebody else wrote it at the same time
            self._expectations.removed(child)  # another has its name now
            return
        self._expectations.deleted(child, answer)
        done.append(Announcement("Normal", "SuccessfulDelete", self._said(self._words.deleted, child)))

    async def _is_there(self, child: Object) -> bool:
        try:
            there = await self._client.get(self._child, objects.name(child), objects.namespace(child))
        except errors.NotFound:
            return False
        return objects.uid(there) == objects.uid(child)

    def _said(self, words: str, child: Object) -> str:
        return words.format(name=objects.name(child), owner=str((objects.controller_of(child) or {}).get("name", "")))

    def watches(self) -> tuple[Watch, ...]:
        """What wakes the owner: itself, its children, and orphans that it may adopt."""
        return (Watch(resource=self._owner), Watch(resource=self._child, keys=owner_key(self._owner.kind)),
                Watch(resource=self._child, keys=self._adopters))

    def _adopters(self, child: Object) -> Iterable[Key]:
        """Those owners whose selector chooses a child that nobody controls."""
        if objects.controller_of(child) is not None or objects.deleting(child) or not objects.labels(child):
            return ()
        return [objects.key(owner) for owner in self._owners.list(objects.namespace(child))
                if _chooses(owner, objects.labels(child))]


def _chooses(owner: Object, labels: Mapping[str, str]) -> bool:
    """Whether the owner's selector chooses these labels; parses it only where the cheap part fits."""
    selector = _selector(owner)
    if not selector or not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    return not selector.get("matchExpressions") or selector_of(owner).matches(labels)


def selector_of(owner: Object) -> selectors.LabelSelector:
    """The owner's ``spec.selector``; a ReplicationController's is but a map of labels."""
    return selectors.from_object(_selector(owner))


def _selector(owner: Object) -> dict[str, Any]:
    selector = objects.spec(owner).get("selector") or {}
    return {"matchLabels": selector} if selector and owner.get("kind") == "ReplicationController" else selector


def pod_from(template: Mapping[str, Any], owner: Object, name: str, generate_name: str) -> Object:
    """A Pod from a template; what an owner adds to it, it adds to the result."""
    metadata = objects.meta(template)
    made: Object = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": objects.namespace(owner), "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [objects.owner_reference(owner)],
        },
        "spec": dict(objects.spec(template)),
    }
    if generate_name:
        made["metadata"]["generateName"] = generate_name
    if metadata.get("finalizers"):
        made["metadata"]["finalizers"] = list(metadata["finalizers"])
    return made


def _orphan_place(child: Object) -> Iterable[str]:
    """The namespace of a child that nobody controls."""
    return () if objects.controller_of(child) is not None else (objects.namespace(child),)
