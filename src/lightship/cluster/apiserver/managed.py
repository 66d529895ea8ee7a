"""``metadata.managedFields``: kept for every plain write. Pure; ``writes`` calls me, ``applies`` shares my entries.

A plain write owns what it changes, whoever owned it before. Objects that have no entries (from an older data directory,
or because a client reset them) are not followed until somebody applies them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import fields
from lightship.cluster.apiserver.backend import Call
from lightship.cluster.apiserver.errors import Cause, Invalid
from lightship.cluster.apiserver.fields import Fields
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_MANAGER_CHARACTERS = 128
LIMIT_UPDATE_ENTRIES = 10
LIMIT_REMEMBERED = 1000
ANCIENT, BEFORE_APPLY = "ancient-changes", "before-first-apply"
_NOT_OWNED_META: Fields = {f"f:{name}": {} for name in (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
    "deletionTimestamp", "deletionGracePeriodSeconds")}
Entry = dict[str, Any]


def manager_of(call: Call) -> str:
    """Who writes: what the client says, the head of its User-Agent, or who it is."""
    given = call.query.text("fieldManager")
    if len(given) > LIMIT_MANAGER_CHARACTERS or not given.isprintable():
        raise errors.BadRequest(f"fieldManager has at most {LIMIT_MANAGER_CHARACTERS} printable characters")
    return given or _manager(call.request.headers.get("user-agent", ""), call.user.name)


@lru_cache(maxsize=LIMIT_REMEMBERED)
def _manager(agent: str, user: str) -> str:
    name = agent.partition("/")[0] or user.rpartition(":")[2]
    return "".join(c for c in name if c.isprintable())[:LIMIT_MANAGER_CHARACTERS]


def owned(found: Fields, call: Call) -> Fields:
    """``found`` less what nobody owns: the system's fields, and a status that has its own subresource."""
    result = {key: below for key, below in found.items() if key not in ("f:apiVersion", "f:kind", ".")}
    if "f:metadata" in result:
        metadata = fields.minus(result["f:metadata"], _NOT_OWNED_META | {".": {}})
        metadata.pop(".", None)
        if metadata:
            result["f:metadata"] = metadata
        else:
            del result["f:metadata"]
    if call.target.subresource == "status":
        return {key: below for key, below in result.items() if key == "f:status"}
    if "status" in call.served.resource.subresources:
        result.pop("f:status", None)
    return result


def decided(obj: Object, prepared: Object, call: Call) -> Fields:
    """What admission added to a new object: nobody owns it, so that nobody who stops to apply it takes it away."""
    if obj is prepared or obj == prepared:
        return {}
    return fields.compared(obj, prepared, fields.shape_of(call.served))[0] or {}


def created(new: Object, call: Call, now: str, decided: Fields) -> Object:
    """A new object with its one entry."""
    shape, outline = fields.shape_of(call.served), fields.outline(new)
    place = (shape, "status" in call.served.resource.subresources, outline)
    found = _created.get(place) if outline else None
    if found is None:
        found = owned(fields.added(new, shape, dots=False), call)
        if outline:
            if len(_created) >= LIMIT_REMEMBERED:
                _created.clear()
            _created[place] = found
    if decided:
        found = fields.minus(found, decided)
    return with_entries(new, [entry(manager_of(call), "Update", call, now, found)] if found else [])


_created: dict[Any, Fields] = {}
"""What the creator of an object owns, by the object's outline: objects that are made in masses are alike."""


def updated(old: Object, new: Object, call: Call, now: str) -> Object:
    """``new`` with the entries that follow from what it changes in ``old``."""
    given = objects.meta(new).get("managedFields")
    if given is not None and given != objects.meta(old).get("managedFields"):
        _check(given, new)
    entries = [e for e in given or [] if e]
    if not entries:
        return with_entries(new, [])
    bare = with_entries(new, [])
    changed, gone = fields.compared(with_entries(old, []), bare, fields.shape_of(call.served))
    mine, removed = owned(changed or {}, call), owned(gone or {}, call)
    if not mine and not removed:
        return new
    manager, result, kept = manager_of(call), [], None
    for known in entries:
        held = known.get("fieldsV1") or {}
        if is_by(known, manager, "Update", call):
            kept = known
            continue
        left = fields.minus(fields.minus(held, mine), removed)
        if left:
            result.append(known if left == held else known | {"fieldsV1": left})
    before = (kept or {}).get("fieldsV1") or {}
    after = fields.union(fields.minus(before, removed), mine)
    if kept is not None and after == before:
        result.append(kept)
    elif after:
        result.append(entry(manager, "Update", call, now, after))
    return with_entries(new, _capped(result))


def entry(manager: str, operation: str, call: Call, now: str, found: Fields) -> Entry:
    made: Entry = {"manager": manager, "operation": operation, "apiVersion": call.served.resource.api_version,
                   "time": now, "fieldsType": "FieldsV1", "fieldsV1": found}
    if call.target.subresource in ("status", "scale"):
        made["subresource"] = call.target.subresource
    return made


def is_by(known: Entry, manager: str, operation: str, call: Call) -> bool:
    subresource = call.target.subresource if call.target.subresource in ("status", "scale") else ""
    return (known.get("manager") == manager and known.get("operation") == operation
            and (known.get("subresource") or "") == subresource
            and known.get("apiVersion") == call.served.resource.api_version)


def with_entries(obj: Object, entries: list[Entry]) -> Object:
    metadata = obj["metadata"]
    if not entries:
        if "managedFields" not in metadata:
            return obj
        return obj | {"metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    return obj | {"metadata": metadata | {"managedFields": entries}}


def _capped(entries: list[Entry]) -> list[Entry]:
    """The oldest plain writers share an entry where there are too many."""
    updates = sorted((e for e in entries if e.get("operation") == "Update" and not e.get("subresource")),
                     key=lambda e: str(e.get("time") or ""))
    extra = updates[:max(0, len(updates) - LIMIT_UPDATE_ENTRIES + 1)] if len(updates) > LIMIT_UPDATE_ENTRIES else []
    if not extra:
        return entries
    merged: Fields = {}
    for old in extra:
        merged = fields.union(merged, old.get("fieldsV1") or {})
    return [e for e in entries if e not in extra] + [extra[-1] | {"manager": ANCIENT, "fieldsV1": merged}]


def _check(entries: list[Any], obj: Object) -> None:
    """Entries that a client wrote. Raises ``Invalid``."""
    for number, given in enumerate(entries):
        if not given:
            continue
        place, why = f"metadata.managedFields[{number}]", ""
        if given.get("operation") not in ("Apply", "Update"):
            place, why = f"{place}.operation", "Invalid value: must be `Apply` or `Update`"
        elif given.get("fieldsType") not in (None, "", "FieldsV1"):
            place, why = f"{place}.fieldsType", "Invalid value: must be `FieldsV1`"
        elif not _well_formed(given.get("fieldsV1") or {}):
            place, why = f"{place}.fieldsV1", "Invalid value: not a set of fields"
        if why:
            raise Invalid(f'{obj["kind"]} "{objects.name(obj)}"', [Cause(place, why)])


def _well_formed(found: Any) -> bool:
    return isinstance(found, dict) and all((key == "." or _is_path(key)) and _well_formed(below)
                                           for key, below in found.items())


def _is_path(key: str) -> bool:
    if key.startswith("f:"):
        return True
    try:
        value = msgspec.json.decode(key[2:])
    except msgspec.MsgspecError:
        return False
    return isinstance(value, dict) if key.startswith("k:") else key[:2] in ("v:", "i:")
