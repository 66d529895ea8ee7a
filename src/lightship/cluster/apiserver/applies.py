"""Server-side apply: create or merge, with field ownership for those who apply. ``server`` calls me.

What a manager applied before and no longer applies is removed, unless another manager applied it too; a field that
another manager applied with another value is a conflict, unless the request forces it. Ownership is kept in
``metadata.managedFields`` of operation ``Apply``. Not done yet: ownership of plain updates, and schemas of custom
resources' lists, which are replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, reads, strict, writes
from lightship.cluster.apiserver.backend import Backend, Call
from lightship.kube import strategic, times
from lightship.kube.objects import Object

LIMIT_MANAGER_CHARACTERS = 128
Fields = dict[str, Any]
"""``fieldsV1``: ``f:NAME`` and ``k:{"name":"x"}`` to what lies below; an empty object is a leaf."""

_NOT_OWNED = frozenset({"apiVersion", "kind"})
_NOT_OWNED_META = frozenset({"name", "namespace", "managedFields", "resourceVersion", "uid", "creationTimestamp",
                             "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"})


async def apply(backend: Backend, call: Call) -> Response:
    """PATCH with ``application/apply-patch+yaml``."""
    manager = call.query.text("fieldManager")
    if not manager or len(manager) > LIMIT_MANAGER_CHARACTERS:
        raise errors.BadRequest("fieldManager is required for apply patch (128 characters at most)")
    applied, warnings = strict.read(call, bodies.read(call.request))
    metadata = applied["metadata"]
    if metadata.get("managedFields"):
        raise errors.BadRequest("metadata.managedFields must be nil")
    if metadata.get("name") not in (None, call.target.name):
        raise errors.BadRequest(f"the name of the object ({metadata['name'][:300]}) does not match the name on the URL "
                                f"({call.target.name})")
    merger = _Merger(call, applied, manager, times.rfc3339(backend.clock.now()))
    for _ in range(writes.LIMIT_ATTEMPTS):
        try:
            entry = await writes.modify_entry(backend, call, merger.merged)
            return strict.warned(reads.answer(backend, call, entry.value), warnings)
        except errors.NotFound:
            if call.target.subresource or metadata.get("resourceVersion") or metadata.get("uid"):
                raise
        new = merger.owned(applied | {"metadata": metadata | {"name": call.target.name}}, [])
        try:
            target = replace(call.target, name="")
            return strict.warned(await writes.create_object(backend, replace(call, target=target), new), warnings)
        except errors.AlreadyExists:
            continue
    raise errors.Conflict("the object came and went too often")


class _Merger:
    """One apply request against whatever the object is at the time."""

    def __init__(self, call: Call, applied: Object, manager: str, now: str) -> None:
        self._kind = "" if call.served.custom else call.served.resource.kind
        self._applied, self._manager, self._now = applied, manager, now
        self._force = call.query.flag("force")
        self._subresource = call.target.subresource
        self._fields = self._fields_of(applied)

    def merged(self, old: Object) -> Object:
        """The object after the apply. Raises ``errors.Conflict``."""
        entries = [e for e in old["metadata"].get("managedFields") or [] if isinstance(e.get("fieldsV1"), dict)]
        others = [e for e in entries if not self._mine(e)]
        mine: Fields = next((e["fieldsV1"] for e in entries if self._mine(e)), {})
        if not self._force:
            self._check_conflicts(old, [e for e in others if e.get("operation") == "Apply"])
        kept = self._fields
        for other in others:
            kept = _union(kept, other["fieldsV1"])
        gone = _minus(mine, kept)
        result = self._merge(self._without(old, gone), self._applied)
        others = [e | {"fieldsV1": _minus(e["fieldsV1"], self._taken(old, e["fieldsV1"]))} for e in others]
        return self.owned(result, [e for e in others if e["fieldsV1"]])

    def owned(self, obj: Object, others: list[dict[str, Any]]) -> Object:
        """``obj`` with my entry among ``managedFields``, which keeps its time while it says the same."""
        entry: dict[str, Any] = {"manager": self._manager, "operation": "Apply", "fieldsType": "FieldsV1",
                                 "apiVersion": self._applied["apiVersion"], "time": self._now,
                                 "fieldsV1": self._fields}
        if self._subresource:
            entry["subresource"] = self._subresource
        for known in obj["metadata"].get("managedFields") or []:
            if self._mine(known) and known.get("fieldsV1") == self._fields:
                entry["time"] = known.get("time", self._now)
        return obj | {"metadata": obj["metadata"] | {"managedFields": [*others, entry]}}

    def _mine(self, entry: dict[str, Any]) -> bool:
        return (entry.get("manager") == self._manager and entry.get("operation") == "Apply"
                and entry.get("subresource", "") == self._subresource)

    def _check_conflicts(self, old: Object, others: list[dict[str, Any]]) -> None:
        clashes = []
        for other in others:
            shared = _common(self._fields, other["fieldsV1"])
            clashes += [f'conflict with "{other.get("manager")}": {path}' for path in self._differing(old, shared)]
        if clashes:
            raise errors.Conflict(f"Apply failed with {len(clashes)} conflict{'s' if len(clashes) > 1 else ''}: "
                                  + ", ".join(clashes[:20]),
                                  remedy="Force the apply to take the fields over, or leave them out")

    def _taken(self, old: Object, fields: Fields) -> Fields:
        """Of another's fields, those that I now set to something else."""
        shared = _common(self._fields, fields)
        return _only(shared, set(self._differing(old, shared)))

    def _differing(self, old: Object, fields: Fields) -> Iterator[str]:
        for path in _leaves(fields):
            if _value(old, path) != _value(self._applied, path):
                yield _shown(path)

    def _fields_of(self, obj: Object) -> Fields:
        top: Fields = {}
        for name, value in obj.items():
            if name == "metadata":
                inner = {f"f:{k}": self._own(k, v) for k, v in value.items() if k not in _NOT_OWNED_META}
                if inner:
                    top["f:metadata"] = inner
            elif name not in _NOT_OWNED:
                top[f"f:{name}"] = self._own(name, value)
        return top

    def _own(self, name: str, value: Any) -> Fields:
        if isinstance(value, dict):
            return {f"f:{key}": self._own(key, inner) for key, inner in value.items()}
        key = self._key(name, value)
        if key:
            return {_item(key, item): {f"f:{k}": self._own(k, v) for k, v in item.items()} for item in value}
        return {}

    def _key(self, name: str, value: Any) -> str:
        """The key by which a list merges; empty for anything that is replaced whole."""
        key = strategic.merge_key(name, self._kind) if self._kind or name == "ownerReferences" else ""
        whole = isinstance(value, list) and value and all(isinstance(i, dict) and key in i for i in value)
        return key if key and whole else ""

    def _merge(self, old: Any, new: Any, name: str = "") -> Any:
        if isinstance(new, dict) and isinstance(old, dict):
            return old | {key: self._merge(old.get(key), value, key) for key, value in new.items()}
        key = self._key(name, new)
        if not key or not isinstance(old, list):
            return new
        result, index = list(old), {item.get(key): number for number, item in enumerate(old) if isinstance(item, dict)}
        for item in new:
            at = index.get(item[key])
            if at is None:
                result.append(item)
            else:
                result[at] = self._merge(result[at], item)
        return result

    def _without(self, value: Any, gone: Fields) -> Any:
        """``value`` less the fields in ``gone``."""
        if isinstance(value, dict):
            result = dict(value)
            for label, below in gone.items():
                name = label[2:]
                if not label.startswith("f:") or name not in result:
                    continue
                if not below:
                    del result[name]
                else:
                    result[name] = self._without(result[name], below)
                    if result[name] in ({}, []) and value[name] not in ({}, []):
                        del result[name]
            return result
        if isinstance(value, list):
            return self._items_without(value, gone)
        return value

    def _items_without(self, items: list[Any], gone: Fields) -> list[Any]:
        result = []
        for item in items:
            found = next(((label, below) for label, below in gone.items()
                          if label.startswith("k:") and _is_item(label, item)), None)
            if found is None:
                result.append(item)
            elif not all(f"f:{key}" in found[1] for key in msgspec.json.decode(found[0][2:])):
                result.append(self._without(item, found[1]))  # Somebody else applied the item's key: it stays.
        return result


def _item(key: str, item: dict[str, Any]) -> str:
    return "k:" + msgspec.json.encode({key: item[key]}).decode()


def _is_item(label: str, item: Any) -> bool:
    return isinstance(item, dict) and all(item.get(k) == v for k, v in msgspec.json.decode(label[2:]).items())


def _union(a: Fields, b: Fields) -> Fields:
    return a | {key: _union(a[key], below) if key in a else below for key, below in b.items()}


def _common(a: Fields, b: Fields) -> Fields:
    """The leaves that are in both."""
    found = {key: _common(below, b[key]) for key, below in a.items() if key in b}
    return {key: below for key, below in found.items() if below or not (a[key] or b[key])}


def _minus(a: Fields, b: Fields) -> Fields:
    """The leaves of ``a`` that are not in ``b``."""
    result: Fields = {}
    for key, below in a.items():
        if key not in b:
            result[key] = below
        elif below:
            left = _minus(below, b[key])
            if left:
                result[key] = left
    return result


def _leaves(fields: Fields, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, below in fields.items():
        if below:
            yield from _leaves(below, (*path, key))
        else:
            yield (*path, key)


def _only(fields: Fields, shown: set[str]) -> Fields:
    result: Fields = {}
    for path in _leaves(fields):
        if _shown(path) in shown:
            level = result
            for key in path:
                level = level.setdefault(key, {})
    return result


def _shown(path: tuple[str, ...]) -> str:
    return "".join(f".{key[2:]}" if key.startswith("f:") else f"[{key[2:]}]" for key in path)


def _value(obj: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if key.startswith("f:"):
            obj = obj.get(key[2:]) if isinstance(obj, dict) else None
        else:
            obj = next((item for item in obj if _is_item(key, item)), None) if isinstance(obj, list) else None
    return obj
