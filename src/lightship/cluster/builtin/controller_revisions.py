"""The history of a template, kept as ControllerRevisions, for StatefulSets and DaemonSets and ``rollout undo`` of them.

Both controllers call me. Deciding is pure; ``Revisions`` applies it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightship import errors
from lightship.cluster.builtin import children, names
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONTROLLER_REVISIONS, Resource
from lightship.runtime import apply

HASH = "controller.kubernetes.io/hash"
POD_REVISION = "controller-revision-hash"
DEFAULT_HISTORY = 10


def revision_of(pod: Object) -> str:
    """The revision of its controller that a Pod was made by."""
    return str(objects.labels(pod).get(POD_REVISION, ""))


@dataclass(frozen=True, kw_only=True)
class History:
    """The revisions of an owner, the oldest first, and the one of its present template."""

    all: tuple[Object, ...]
    present: Object

    def find(self, name: str) -> Object | None:
        return next((found for found in self.all if objects.name(found) == name), None)


def number(revision: Object) -> int:
    return int(revision.get("revision") or 0)


def template_of(revision: Object) -> dict[str, Any]:
    """The Pod template that the revision holds."""
    template = ((revision.get("data") or {}).get("spec") or {}).get("template") or {}
    return {name: value for name, value in template.items() if name != "$patch"}


def hash_of(revision: Object) -> str:
    return str(objects.labels(revision).get(HASH, ""))


def make(owner: Object, latest: int) -> Object:
    """The revision of the owner's template, which comes after ``latest``."""
    template = objects.spec(owner).get("template") or {}
    data = {"spec": {"template": dict(template) | {"$patch": "replace"}}}
    collisions = objects.status(owner).get("collisionCount")
    text = apply.digest([data, collisions] if collisions else data)
    annotations = {name: value for name, value in objects.annotations(owner).items() if name != names.LAST_APPLIED}
    metadata: dict[str, Any] = {
        "name": f"{objects.name(owner)[:223]}-{text}", "namespace": objects.namespace(owner),
        "labels": objects.labels(template) | {HASH: text}, "ownerReferences": [objects.owner_reference(owner)]}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": data,
            "revision": latest + 1}


def spent(history: History, owner: Object, used: Collection[str]) -> list[Object]:
    """Revisions beyond the owner's limit that nothing uses, the oldest first."""
    value = objects.spec(owner).get("revisionHistoryLimit")
    limit = DEFAULT_HISTORY if value is None else int(value)
    unused = [found for found in history.all
              if objects.name(found) not in used and found is not history.present]
    return unused[:max(0, len(unused) - limit)]


class Revisions:
    """The revisions of owners of one kind."""

    def __init__(self, deps: Deps, name: str, owner: Resource) -> None:
        self.children = children.Children(deps, name, owner=owner, child=CONTROLLER_REVISIONS)
        self._revisions = deps.manager.informer(CONTROLLER_REVISIONS)
        self._client = deps.manager.client_for(name)

    async def history(self, owner: Object) -> History:
        """The owner's revisions, after its present template has one and that is the latest."""
        owned = sorted(self.children.owned(owner), key=number)
        latest = number(owned[-1]) if owned else 0
        wanted = make(owner, latest)
        present = next((found for found in owned if template_of(found) == template_of(wanted)), None)
        if present is None:
            present = await self._create(owner, wanted)
            return History(all=(*owned, present), present=present)
        if number(present) < latest:
            raised = await self.children.patch(present, {"revision": latest + 1})
            owned = [found for found in owned if found is not present]
            present = raised or present
            owned.append(present)
        return History(all=tuple(owned), present=present)

    async def _create(self, owner: Object, wanted: Object) -> Object:
        try:
            made = await self._client.create(CONTROLLER_REVISIONS, wanted)
        except errors.AlreadyExists:
            made = await self._client.get(CONTROLLER_REVISIONS, objects.name(wanted), objects.namespace(wanted))
            if (objects.controller_of(made) or {}).get("uid") != objects.uid(owner):
                raise
        self._revisions.observe(made)
        return made

    async def prune(self, history: History, owner: Object, used: Collection[str]) -> None:
        await self.children.delete(spent(history, owner, used), [])


def pod_template(owner: Object, revision: Object) -> Mapping[str, Any]:
    """The template of ``revision``, which belongs to ``owner``."""
    return template_of(revision) or objects.spec(owner).get("template") or {}


def names_of(found: Sequence[Object]) -> set[str]:
    return {objects.name(obj) for obj in found}
