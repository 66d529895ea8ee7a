"""Keeps the registry in step with the CustomResourceDefinitions in the store.

``server`` builds me; I am the admission of the kind (its name conflicts and status), and ``settled`` is told of each of
its writes once it is on disk and before it is answered: whoever created a definition can use its kind at once. A
deletion first deletes all objects, which may take as long as their finalizers hold; the last one that goes ends it. The
domains' kinds have definitions too, which say what is served but change nothing: ``builtin`` has those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from lightship import errors
from lightship.client.client import Client
from lightship.cluster.apiserver.backend import decode
from lightship.cluster.apiserver.crds import builtin, definition, serving
from lightship.cluster.apiserver.registry import FieldFault, Registry, Served
from lightship.cluster.store.store import Store
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from lightship.lib.clock import Clock

STORE_RESOURCE = CUSTOM_RESOURCE_DEFINITIONS.group_resource


class Registrar:
    """One server's."""

    def __init__(self, registry: Registry, store: Store, clock: Clock, client: Client) -> None:
        self._registry, self._store, self._clock, self._client = registry, store, clock, client
        self._builtin: Mapping[str, Object] = builtin.definitions(registry.served)
        self._known: dict[str, Object] = {}
        """Definitions that are served, by name."""
        self._cleaning: dict[str, asyncio.Task[None]] = {}
        self._judged: tuple[Object, list[FieldFault]] = ({}, [])
        self._resumed: list[asyncio.Task[None]] = []
        """Deletions that an earlier server began."""
        registry.install(CUSTOM_RESOURCE_DEFINITIONS.group, CUSTOM_RESOURCE_DEFINITIONS.plural, [self._kind()])
        self._load()

    def _kind(self) -> Served:
        """The kind CustomResourceDefinition itself."""
        return Served(resource=CUSTOM_RESOURCE_DEFINITIONS, schema=definition.Definition, default=self._default,
                      validate=self._validate, settled=self._settled, doomed=self._doomed, amended=self._amended)

    def _load(self) -> None:
        """Serve what the store defines."""
        for item in self._store.snapshot(STORE_RESOURCE).items:
            obj = decode(item.entry.value)
            self._serve(obj)
            if objects.deleting(obj) and objects.name(obj) in self._known:
                self._resumed.append(asyncio.get_running_loop().create_task(self._clean(objects.name(obj))))

    async def ensure(self) -> None:
        """Write the definitions of the domains' kinds where they are missing or another version's."""
        for name, wanted in self._builtin.items():
            entry = self._store.get(builtin.store_key(name))
            if entry is None:
                await self._client.create(CUSTOM_RESOURCE_DEFINITIONS, wanted)
            elif objects.spec(decode(entry.value)) != objects.spec(wanted):
                await self._client.update(CUSTOM_RESOURCE_DEFINITIONS, decode(entry.value))

    def _amended(self, obj: Object) -> tuple[Object, list[str]]:
        """Whoever writes the definition of a built-in kind means ours: nobody conflicts with it, nobody changes it."""
        fixed = self._builtin.get(objects.name(obj))
        if fixed is None or objects.spec(obj) == objects.spec(fixed):
            return obj, []
        return builtin.kept(obj, fixed), [f"{objects.name(obj)} is built in: what its definition specifies stays as it "
                                          "is"]

    def _default(self, obj: Object) -> Object:
        """Defaults, and the status that goes with the specification. Objects of built-in kinds keep ours."""
        obj = definition.default(obj)
        fixed = self._builtin.get(objects.name(obj))
        if fixed is not None:
            obj = builtin.kept(obj, fixed)
        status, spec = objects.status(obj), objects.spec(obj)
        if self._faults(obj):
            return obj  # it will be refused
        conflict = self._conflict(obj)
        stored = [version["name"] for version in spec["versions"] if version.get("storage")]
        kept = [name for name in status.get("storedVersions") or () if name not in stored]
        known = status.get("conditions")
        for one in _conditions(conflict):
            known = conditions.merge(known, one, self._now())
        return obj | {"status": status | {"acceptedNames": {} if conflict else spec["names"], "conditions": known,
                                          "storedVersions": kept + stored}}

    def _now(self) -> datetime:
        return self._clock.now()

    def _validate(self, obj: Object, old: Object | None) -> list[FieldFault]:
        return [*self._faults(obj), *(definition.changes(obj, old) if old is not None else ())]

    def _faults(self, obj: Object) -> list[FieldFault]:
        """A definition's faults, which are found once for the two steps of one admission: some have a megabyte."""
        if self._judged[0] is not obj["spec"]:
            self._judged = (obj["spec"], definition.validate(obj))
        return self._judged[1]

    def _conflict(self, obj: Object) -> tuple[str, str] | None:
        """Why the names cannot be had, as reason and message: others of the group have one of them."""
        names, group = objects.spec(obj)["names"], objects.spec(obj)["group"]
        mine = {names["plural"], names["singular"], *(names.get("shortNames") or ())}
        for served in self._registry.served:
            resource = served.resource
            if resource.group != group or resource.plural == names["plural"]:
                continue
            taken = mine & {resource.plural, resource.singular or resource.kind.lower(), *resource.short_names}
            if taken:
                word = sorted(taken)[0]
                return ("PluralConflict" if word == names["plural"] else "ShortNamesConflict",
                        f'"{word}" is already in use')
            if names["kind"] in (resource.kind, resource.list_kind):
                return "KindConflict", f'"{names["kind"]}" is already in use'
        return None

    def _doomed(self, obj: Object) -> Object:
        """A definition whose deletion is asked for."""
        if objects.name(obj) in self._builtin:
            raise errors.Forbidden(f'{STORE_RESOURCE} "{objects.name(obj)}" is forbidden: the kind is built in and '
                                   "cannot be deleted")
        if objects.deleting(obj):
            return obj
        held = objects.finalizers(obj)
        metadata = obj["metadata"] | {"finalizers": [*held, *({definition.CLEANUP} - set(held))]}
        ending = conditions.make("Terminating", True, "InstanceDeletionPending",
                                 "CustomResource deletion is in progress")
        merged = conditions.merge(objects.status(obj).get("conditions"), ending, self._now())
        return obj | {"metadata": metadata, "status": objects.status(obj) | {"conditions": merged}}

    async def _settled(self, obj: Object, gone: bool) -> None:
        """A definition was written."""
        name, spec = objects.name(obj), objects.spec(obj)
        if name in self._builtin:
            return
        if gone:
            if self._known.pop(name, None) is not None:
                await self._empty(_collection(obj))  # what was on its way to disk when the last one seemed to go
            self._registry.remove(spec["group"], spec["names"]["plural"])
            self._registry.end_streams(spec["group"], spec["names"]["plural"])
            await self._reconsider(spec["group"])
            return
        self._serve(obj)
        if objects.deleting(obj) and definition.CLEANUP in objects.finalizers(obj):
            await self._clean(name)

    def _serve(self, obj: Object) -> None:
        name, spec = objects.name(obj), objects.spec(obj)
        if name in self._builtin or not conditions.is_true(obj, "Established"):
            return
        known = self._known.get(name)
        self._known[name] = obj
        if known is not None and objects.spec(known) == spec and objects.deleting(known) == objects.deleting(obj):
            return
        ending = objects.deleting(obj)

        async def settled(instance: Object, gone: bool) -> None:
            if gone and not self._store.count(name) and name not in self._cleaning:
                await self._clean(name)

        versions = serving.served(obj, settled if ending else None)
        if ending:
            versions = [serving.closed(one) for one in versions]
        self._registry.install(spec["group"], spec["names"]["plural"], versions)
        if known is not None and objects.spec(known) != spec:
            self._registry.end_streams(spec["group"], spec["names"]["plural"])

    async def _clean(self, name: str) -> None:
        """Delete all objects of a definition that is being deleted, and let it go once there is none.

        A client that goes away does not stop this; one cleaning of a definition runs at a time.
        """
        running = self._cleaning.get(name)
        if running is None:
            running = self._cleaning[name] = asyncio.get_running_loop().create_task(self._cleanup(name))
        await asyncio.shield(running)

    async def _cleanup(self, name: str) -> None:
        try:
            await self._empty(_collection(self._known[name]))
            if self._store.count(name):
                return  # Finalizers hold some; the last of them to go comes here again.
        finally:
            del self._cleaning[name]
        entry = self._store.get(builtin.store_key(name))
        if entry is not None:
            held = [f for f in objects.finalizers(decode(entry.value)) if f != definition.CLEANUP]
            wanted = {"metadata": {"finalizers": held or None}}
            await self._client.patch(CUSTOM_RESOURCE_DEFINITIONS, Key("", name), wanted)

    async def _empty(self, resource: Resource) -> None:
        for namespace in sorted({item.namespace for item in self._store.snapshot(resource.group_resource).items}):
            await self._client.raw("DELETE", resource.path(namespace or None))

    async def _reconsider(self, group: str) -> None:
        """Names were given back: definitions that wanted them may have them now."""
        for item in self._store.snapshot(STORE_RESOURCE).items:
            obj = decode(item.entry.value)
            if objects.spec(obj)["group"] == group and objects.name(obj) not in self._known and (
                    not self._conflict(obj) and not objects.deleting(obj)):
                note = {"metadata": {"annotations": {builtin.RECONSIDERED: str(self._store.revision)}}}
                await self._client.patch(CUSTOM_RESOURCE_DEFINITIONS, Key("", objects.name(obj)), note)


def _collection(obj: Object) -> Resource:
    """A version of the definition by which its objects can be reached: one is always served while they are deleted."""
    versions = objects.spec(obj)["versions"]
    return serving.resource_of(obj, next((v for v in versions if v.get("served")), serving.stored(versions)))


def _conditions(conflict: tuple[str, str] | None) -> list[Object]:
    if conflict:
        reason, message = conflict
        return [conditions.make("NamesAccepted", False, reason, message),
                conditions.make("Established", False, "NotAccepted", "not all names are accepted")]
    return [conditions.make("NamesAccepted", True, "NoConflicts", "no conflicts found"),
            conditions.make("Established", True, "InitialNamesAccepted", "the initial names have been accepted")]
