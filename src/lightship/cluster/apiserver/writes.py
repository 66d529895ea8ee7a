"""Create, update and patch. ``server`` calls me; deletions and special subresources build on my ``modify``.

Every change is compare-and-swap against the revision that was read; who did not name a revision is tried again when
somebody else was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, lifecycle, managed, merging, reads, strict
from lightship.cluster.apiserver.backend import Backend, Call, conflict, decode, encode, packed
from lightship.cluster.apiserver.errors import UnsupportedMediaType
from lightship.cluster.apiserver.registry import Fault, Served
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.errors import RevisionConflict
from lightship.cluster.store.store import Entry, Render
from lightship.kube import objects, patches, times
from lightship.kube.objects import Object

LIMIT_ATTEMPTS = 50
LIMIT_NAME_ATTEMPTS = 8
LIMIT_JUDGED_AT_ONCE_BYTES = 64 * 1024
LIMIT_GENERATED_PREFIX_CHARACTERS = 58
SUFFIX_CHARACTERS = 5

Change = Callable[[Object], Object]
"""What a request makes of the object as it is shown now."""


def render(obj: Object) -> Render:
    """The stored form of an object, once its revision is known."""
    metadata = obj["metadata"]

    def at(revision: int) -> bytes:
        value = packed(obj | {"metadata": metadata | {"resourceVersion": str(revision)}})
        if len(value) > bodies.LIMIT_OBJECT_BYTES:
            raise errors.TooLarge(f"the object has {len(value)} bytes, the limit is {bodies.LIMIT_OBJECT_BYTES}")
        return value

    return at


def inward(served: Served, obj: Object) -> Object:
    """An object as the client wrote it, as it is stored."""
    return served.from_wire(obj) if served.from_wire else obj


async def create(backend: Backend, call: Call) -> Response:
    """POST to a collection."""
    obj, warnings = strict.read(call, bodies.read(call.request))
    return strict.warned(await create_object(backend, call, obj), warnings)


async def create_object(backend: Backend, call: Call, obj: Object) -> Response:
    served, metadata = call.served, obj["metadata"]
    namespace = call.target.namespace
    if metadata.get("resourceVersion"):
        raise errors.BadRequest("resourceVersion should not be set on objects to be created")
    if served.resource.namespaced:
        if metadata.get("namespace") not in (None, "", namespace):
            raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the "
                                    "request")
        backend.require_namespace(namespace, served, obj)
    prefix = "" if metadata.get("name") else metadata.get("generateName") or ""
    for attempt in range(LIMIT_NAME_ATTEMPTS):
        if prefix:
            name = prefix[:LIMIT_GENERATED_PREFIX_CHARACTERS] + backend.ids.suffix(SUFFIX_CHARACTERS)
            obj = obj | {"metadata": obj["metadata"] | {"name": name}}
        try:
            return await _create(backend, call, obj)
        except errors.AlreadyExists:
            if not prefix or attempt == LIMIT_NAME_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def _create(backend: Backend, call: Call, obj: Object) -> Response:
    served, now = call.served, backend.clock.now()
    new = inward(served, lifecycle.created(obj, served, call.target.namespace, (backend.ids.uid(), now)))
    lifecycle.check(new, served, ())
    prepared = backend.admission.prepared(call, new)
    decided = managed.decided(new, prepared, call)
    well = new
    faults: Iterable[Fault]
    if _heavy(call, len(call.request.body)):
        new, faults = await asyncio.to_thread(_judged, served, prepared, None)
        backend.still_served(served)
        if served.resource.namespaced:
            backend.require_namespace(call.target.namespace, served, new)
    else:
        new, faults = lifecycle.admitted(served, prepared, None)
    lifecycle.check(new, served, faults, well)
    if not applying(call):
        new = managed.created(managed.with_entries(new, []), call, times.rfc3339(now), decided)
    key = Key(served.store_resource, call.target.namespace, objects.name(new))
    with backend.admission.held(call, new, None):
        if call.query.dry_run():
            if backend.store.get(key) is not None:
                raise errors.AlreadyExists(f'{served.resource.group_resource} "{key.name}" already exists')
            return reads.answer(backend, call, encode(new), 201)
        entry = await backend.store.put(key, render(new), 0)
    if served.settled:
        await served.settled(decode(entry.value), False)
    return reads.answer(backend, call, entry.value, 201)


def _heavy(call: Call, size_bytes: int) -> bool:
    """Whether a schema judges an object so large that nobody else should wait for it."""
    return size_bytes > LIMIT_JUDGED_AT_ONCE_BYTES and call.served.admit is not None


def _judged(served: Served, new: Object, old: Object | None) -> tuple[Object, list[Fault]]:
    """As ``lifecycle.admitted``, all of it done here: in a thread, beside the loop's other work."""
    admitted, faults = lifecycle.admitted(served, new, old)
    return admitted, list(faults)


async def update(backend: Backend, call: Call) -> Response:
    """PUT of an object or of its status."""
    obj, warnings = strict.read(call, bodies.read(call.request))
    if not objects.name(obj):
        raise errors.BadRequest("the object must have a name")
    return strict.warned(await modify(backend, call, lambda old: obj), warnings)


APPLY = "application/apply-patch+yaml"
_PATCH_TYPES = {
    "application/json-patch+json": "json", "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic", APPLY: "apply",
}


_UNOWNED = ("binding", "eviction")


def applying(call: Call) -> bool:
    """Whether the request is a server-side apply, which keeps its own account of fields."""
    return call.request.method == "PATCH" and bodies.content_type(call.request) == APPLY


async def patch(backend: Backend, call: Call) -> Response:
    """PATCH of an object, its status or another part that ``modify`` knows."""
    kind = _PATCH_TYPES.get(bodies.content_type(call.request))
    if kind is None or (kind == "strategic" and call.served.custom):
        accepted = [name for name, known in _PATCH_TYPES.items() if known != "strategic" or not call.served.custom]
        raise UnsupportedMediaType("the body of the request was in an unknown format - accepted media types include: "
                                   + ", ".join(accepted))
    assert kind != "apply", "applies.apply serves that"
    data = bodies.read(call.request)
    if kind != "json" and not isinstance(data, dict):
        raise errors.BadRequest("the patch must be an object")

    def change(old: Object) -> Object:
        changed = _patched(old, data, kind)
        if not isinstance(changed, dict):
            raise errors.InvalidInput("the patch leaves no object")
        obj, warnings[:] = strict.read(call, changed)
        return obj

    warnings: list[str] = []
    return strict.warned(await modify(backend, call, change), warnings)


def _patched(old: Object, data: Any, kind: str) -> Any:
    if kind == "merge":
        return patches.merge(old, data)
    if kind == "json":
        changed = patches.json_patch(old, data)
        bodies.check_depth(changed)  # each operation may go a little deeper than the one before
        return changed
    return patches.strategic_merge(old, data, lists=merging.of_kind(old["apiVersion"], old["kind"]))


async def modify(backend: Backend, call: Call, change: Change) -> Response:
    """Change the object that the call names, or only its status where the call is about that."""
    entry = await modify_entry(backend, call, change)
    return reads.answer(backend, call, entry.value)


async def modify_entry(backend: Backend, call: Call, change: Change) -> Entry:
    """Like ``modify``; the entry is the object after the change (also after one that ended its deletion)."""
    for _ in range(LIMIT_ATTEMPTS):
        entry = backend.entry(call)
        old = decode(entry.value)
        shown = call.served.to_wire(old) if call.served.to_wire else old
        wanted = change(shown)
        lifecycle.check_identity(shown, wanted, call.served)
        named = wanted["metadata"].get("resourceVersion")
        if named and named != str(entry.revision):
            raise conflict(call)
        if _heavy(call, max(len(call.request.body), len(entry.value))):
            new = await asyncio.to_thread(_admitted, call, old, inward(call.served, wanted))
            backend.still_served(call.served)
        else:
            new = _admitted(call, old, inward(call.served, wanted))
        if new == old:
            return entry
        if not applying(call) and call.target.subresource not in _UNOWNED:
            new = managed.updated(old, new, call, times.rfc3339(backend.clock.now()))
        gone = lifecycle.finished(new)
        try:
            with backend.admission.held(call, new, old):
                if call.query.dry_run():
                    return Entry(entry.revision, encode(new))
                write = backend.store.delete if gone else backend.store.put
                entry = await write(call.key, render(new), entry.revision)
            if call.served.settled:
                await call.served.settled(decode(entry.value), gone)
            return entry
        except RevisionConflict:
            continue  # Whoever named a revision meets the new one at the top; anybody else tries again.
    raise conflict(call, f"{LIMIT_ATTEMPTS} attempts lost against other writers")


def _admitted(call: Call, old: Object, wanted: Object) -> Object:
    served = call.served
    if call.target.subresource == "binding":
        return wanted  # Made by the server itself (``subresources.bind``).
    if call.target.subresource == "status":
        new = lifecycle.with_status(old, wanted)
        if applying(call) and new != old:
            new = managed.with_entries(new, wanted["metadata"].get("managedFields") or [])
        if served.admit and new != old:
            new, found = served.admit(new, old)
            lifecycle.check(new, served, found)
        return old if new == old else new
    new = lifecycle.updated(old, wanted, served)
    if call.target.subresource == "finalize":
        new = old | {"spec": objects.spec(wanted)}
    new, faults = lifecycle.admitted(served, new, old)
    if new == old:
        return old
    lifecycle.check(new, served, [*lifecycle.finalizer_faults(old, new), *faults])
    return lifecycle.bumped(old, new, served)
