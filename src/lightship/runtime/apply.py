"""Writing what is wanted with as few words as possible: create, or patch only what differs, or do nothing.

Reconcilers call me; I call ``client``. Objects that others own carry fields which we do not model, so I never put an
object back: a patch carries the difference, and where there is none no request is made. That is what keeps a second
pass silent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects, patches
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

NAME_LIMIT_CHARACTERS = 253
LABEL_LIMIT_CHARACTERS = 63
_HASH_CHARACTERS = 10


async def ensure(client: Client, resource: Resource, wanted: Object, existing: Object | None) -> Object:
    """Make the object as ``wanted`` says; returns it as it is now. ``existing`` comes from an informer.

    ``wanted`` is partial: only the fields in it are ours, others stay; a field whose value is None is removed. A name
    that is taken meanwhile (the informer was behind) is read once and patched. An object of that name which belongs to
    another controller is left alone, and ``errors.AlreadyExists`` is raised.
    """
    if existing is None:
        try:
            return await client.create(resource, _without_nulls(wanted))
        except errors.AlreadyExists:
            existing = await client.get(resource, objects.name(wanted), objects.namespace(wanted))
    _check_owner(resource, wanted, existing)
    patch = difference(existing, wanted)
    if not patch:
        return existing
    return await client.patch(resource, objects.key(wanted), patch)


async def patch_status(client: Client, resource: Resource, existing: Object, status: Mapping[str, Any]) -> Object:
    """Make the status exactly ``status``; returns the object as it is now. Writes only what differs.

    For the controller that owns the whole status; a part of one is written by a patch of that part.
    """
    patch = patches.diff(objects.status(existing), status)
    if not patch:
        return existing
    return await client.patch(resource, objects.key(existing), {"status": patch}, subresource="status")


async def delete_if_there(client: Client, resource: Resource, obj: Object, *, propagation: str = "Background",
                          grace_seconds: int | None = None) -> None:
    """Ask for the deletion of exactly this object: not of another that took its name. Gone already is well."""
    try:
        await client.delete(resource, objects.key(obj), propagation=propagation, uid=objects.uid(obj),
                            grace_seconds=grace_seconds)
    except errors.NotFound:
        return
    except errors.Conflict:
        try:
            there = await client.get(resource, objects.name(obj), objects.namespace(obj))
        except errors.NotFound:
            return
        if objects.uid(there) == objects.uid(obj):
            raise  # it is still the one that was meant: somebody else wrote it at the same time


def difference(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that puts ``wanted``'s fields into ``existing``; empty where they are there already.

    Lists of named things (containers, ports, env) are matched by name, so that what a server filled in stays.
    """
    patch: dict[str, Any] = {}
    for key, value in wanted.items():
        if key in ("apiVersion", "kind"):
            continue
        current = existing.get(key)
        if value is None:
            if key in existing:
                patch[key] = None
        elif isinstance(value, Mapping):
            if not isinstance(current, Mapping):
                patch[key] = _without_nulls(value)
            elif inner := difference(current, value):
                patch[key] = inner
        elif isinstance(value, list):
            merged = _merged_list(current, value)
            if merged != current:
                patch[key] = merged
        elif value != current or isinstance(value, bool) != isinstance(current, bool):
            patch[key] = value
    return patch


def child_name(parent: str, *parts: str) -> str:
    """``parent-part-part``, where it fits into a label, else cut and ended by a hash of the whole: always the same."""
    name = "-".join((parent, *parts))
    if len(name) <= LABEL_LIMIT_CHARACTERS:
        return name
    kept = LABEL_LIMIT_CHARACTERS - _HASH_CHARACTERS - 1
    return f"{name[:kept].rstrip('-.')}-{digest(name)}"


def digest(value: Any) -> str:
    """A short hash of JSON data, the same whatever the order of keys; letters and digits only."""
    encoded = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:_HASH_CHARACTERS]


def _check_owner(resource: Resource, wanted: Object, existing: Object) -> None:
    owner, current = objects.controller_of(wanted), objects.controller_of(existing)
    if owner is not None and current is not None and owner.get("uid") != current.get("uid"):
        raise errors.AlreadyExists(
            f'{resource.kind} "{objects.key(wanted)}" belongs to {current.get("kind")} "{current.get("name")}"',
            remedy=f"Rename {owner.get('kind')} \"{owner.get('name')}\", or delete the other")


def _merged_list(current: Any, wanted: list[Any]) -> list[Any]:
    """``wanted``, each element laid over the one of the same name (or else place) in ``current``."""
    if not isinstance(current, list):
        return [_without_nulls(value) for value in wanted]
    named = {element["name"]: element for element in current if isinstance(element, Mapping) and "name" in element}
    merged = []
    for place, value in enumerate(wanted):
        if isinstance(value, Mapping) and "name" in value:
            under = named.get(value["name"])
        else:
            under = current[place] if len(current) == len(wanted) else None
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged.append(patches.merge(under, difference(under, value)))
        else:
            merged.append(_without_nulls(value))
    return merged


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(element) for element in value]
    return value
