"""Delete and deletecollection: preconditions, propagation, grace, finalizers. ``server`` calls me.

An object that nothing holds goes at once. Otherwise its deletion is only marked: the node ends a Pod and deletes it
with no grace, controllers take their finalizers off, and the last such change removes it (``writes``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, lifecycle, reads, statuses
from lightship.cluster.apiserver.backend import Backend, Call, conflict, decode, encode
from lightship.cluster.apiserver.writes import LIMIT_ATTEMPTS, render
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.errors import RevisionConflict
from lightship.cluster.store.store import Entry
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_CONCURRENT_DELETES = 64
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_POLICIES = {"Background": "", "Foreground": FOREGROUND, "Orphan": ORPHAN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """``DeleteOptions``, from the body or the query."""

    finalizer: str | None = None
    """The finalizer that the propagation policy asks for; empty for Background, None where nothing was said."""
    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def options(call: Call, body: Any) -> Options:
    """Raises ``errors.BadRequest``."""
    given: dict[str, Any] = {}
    if body is not None:
        if not isinstance(body, dict) or body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise errors.BadRequest("the body of a DELETE must be DeleteOptions")
        given = body
    policy = given.get("propagationPolicy") or call.query.text("propagationPolicy")
    orphan = given.get("orphanDependents")
    if orphan is None and "orphanDependents" in call.query:
        orphan = call.query.flag("orphanDependents")
    if not policy and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if policy and policy not in _POLICIES:
        raise errors.InvalidInput(f"propagationPolicy must be Background, Foreground or Orphan, not {policy!r}"[:300])
    grace = given.get("gracePeriodSeconds")
    if grace is None and call.query.text("gracePeriodSeconds"):
        grace = call.query.number("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace < 2**31):
        raise errors.InvalidInput("gracePeriodSeconds must be a number of seconds, 0 or more")
    preconditions = given.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise errors.BadRequest("preconditions must be an object")
    dry = given.get("dryRun") or []
    if dry not in ([], ["All"]):
        raise errors.BadRequest("dryRun must be All")
    return Options(finalizer=_POLICIES[policy] if policy else None, grace_seconds=grace,
                   uid=str(preconditions.get("uid") or ""),
                   resource_version=str(preconditions.get("resourceVersion") or ""),
                   dry_run=bool(dry) or call.query.dry_run())


async def delete(backend: Backend, call: Call) -> Response:
    """DELETE of one object."""
    return await delete_with(backend, call, options(call, bodies.read(call.request)))


async def delete_with(backend: Backend, call: Call, how: Options) -> Response:
    entry, gone = await delete_entry(backend, call, how)
    if gone and not call.served.returns_deleted:
        obj, resource = decode(entry.value), call.served.resource
        status = statuses.success(name=objects.name(obj), group=resource.group, kind=resource.plural,
                                  uid=objects.uid(obj))
        return Response(status=200, headers=reads.HEADERS, body=encode(status))
    return reads.answer(backend, call, entry.value)


async def delete_entry(backend: Backend, call: Call, how: Options) -> tuple[Entry, bool]:
    """The object as it now is or last was, and whether it is gone."""
    for _ in range(LIMIT_ATTEMPTS):
        entry = backend.entry(call)
        obj = decode(entry.value)
        _check(call, obj, how)
        if call.served.doomed:
            obj = call.served.doomed(obj)
        marked = lifecycle.marked(_held(obj, how), lifecycle.grace_seconds(obj, how.grace_seconds),
                                  backend.clock.now())
        gone = lifecycle.finished(marked)
        if how.dry_run:
            return Entry(entry.revision, encode(obj if gone else marked)), gone
        if not gone and marked == obj:
            return entry, False
        try:
            if not gone:
                entry = await backend.store.put(call.key, render(marked), entry.revision)
                if call.served.settled:
                    await call.served.settled(marked, False)
                return entry, False
            # Watchers see the object as it was, not with a deletion that nobody had to wait for.
            last = marked if objects.deleting(obj) else obj
            entry = await backend.store.delete(call.key, render(last), entry.revision)
            if call.served.settled:
                await call.served.settled(last, True)
            return entry, True
        except RevisionConflict:
            continue
    raise conflict(call, f"{LIMIT_ATTEMPTS} attempts lost against other writers")


def _check(call: Call, obj: Object, how: Options) -> None:
    metadata = obj["metadata"]
    if how.uid and how.uid != metadata["uid"]:
        raise conflict(call, f"Precondition failed: UID in precondition: {how.uid[:100]}, UID in object meta: "
                             f"{metadata['uid']}")
    if how.resource_version and how.resource_version != metadata["resourceVersion"]:
        raise conflict(call, f"Precondition failed: ResourceVersion in precondition: {how.resource_version[:100]}, "
                             f"ResourceVersion in object meta: {metadata['resourceVersion']}")


def _held(obj: Object, how: Options) -> Object:
    """The object with the garbage collector's finalizer that the propagation asks for, and not the other one."""
    if how.finalizer is None:
        return obj
    finalizers = [f for f in objects.finalizers(obj) if f not in (FOREGROUND, ORPHAN) or f == how.finalizer]
    if how.finalizer and how.finalizer not in finalizers:
        finalizers.append(how.finalizer)
    if finalizers == objects.finalizers(obj):
        return obj
    metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
    return obj | {"metadata": metadata | ({"finalizers": finalizers} if finalizers else {})}


async def delete_collection(backend: Backend, call: Call) -> Response:
    """DELETE of all that the selectors choose; what somebody else deletes meanwhile is fine."""
    how = options(call, bodies.read(call.request))
    which = reads.chosen(call)
    snapshot = backend.store.snapshot(call.served.store_resource, call.target.namespace)
    items = [item for item in snapshot.items if which.all or which.matches_value(call.served, item.entry.value)]
    turn = asyncio.Semaphore(LIMIT_CONCURRENT_DELETES)

    async def one(key: Key) -> None:
        target = replace(call.target, namespace=key.namespace, name=key.name)
        async with turn:
            try:
                await delete_entry(backend, replace(call, target=target), how)
            except errors.NotFound:
                return

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(Key(call.served.store_resource, item.namespace, item.name)))
    resource = call.served.resource
    head = encode({"kind": resource.list_kind, "apiVersion": resource.api_version,
                   "metadata": {"resourceVersion": str(backend.store.revision)}})
    body = b",".join(item.entry.value for item in items)
    return Response(status=200, headers=reads.HEADERS, body=b"".join((head[:-1], b',"items":[', body, b"]}")))
