"""Finalizers: an object's keeper says "not yet" to its deletion, and later lets go.

Reconcilers call me; I call ``client``. The list is shared with other keepers, so each write names the revision that it
was computed from; on a conflict I read again.
"""

from __future__ import annotations

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

LIMIT_TRIES = 5


async def add(client: Client, resource: Resource, obj: Object, finalizer: str) -> Object:
    """Hold ``obj``; one that is being deleted cannot be held any more and is returned as it is."""
    for _ in range(LIMIT_TRIES):
        held = objects.finalizers(obj)
        if finalizer in held or objects.deleting(obj):
            return obj
        try:
            return await _write(client, resource, obj, [*held, finalizer])
        except errors.Conflict:
            obj = await client.get(resource, objects.name(obj), objects.namespace(obj))
    raise errors.Conflict(f'could not hold {resource.kind} "{objects.key(obj)}": others keep writing it')


async def remove(client: Client, resource: Resource, obj: Object, finalizer: str) -> None:
    """Let go of ``obj``; it being gone, or not held, is well."""
    uid = objects.uid(obj)
    for _ in range(LIMIT_TRIES):
        held = objects.finalizers(obj)
        if finalizer not in held or objects.uid(obj) != uid:
            return
        try:
            await _write(client, resource, obj, [name for name in held if name != finalizer])
            return
        except errors.NotFound:
            return
        except errors.Conflict:
            try:
                obj = await client.get(resource, objects.name(obj), objects.namespace(obj))
            except errors.NotFound:
                return
    raise errors.Conflict(f'could not let go of {resource.kind} "{objects.key(obj)}": others keep writing it')


async def _write(client: Client, resource: Resource, obj: Object, finalizers: list[str]) -> Object:
    metadata = {"finalizers": finalizers, "resourceVersion": objects.meta(obj).get("resourceVersion")}
    return await client.patch(resource, objects.key(obj), {"metadata": metadata})
