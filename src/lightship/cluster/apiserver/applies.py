"""Server-side apply: create or merge, with field ownership. ``server`` calls me.

What a manager applied before and no longer applies is removed, unless somebody else owns it too; a field that somebody
else owns and that would change is a conflict, unless the request forces it. Entries are those of ``managed``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, client_side, fields, managed, reads, strict, writes
from lightship.cluster.apiserver.backend import Backend, Call
from lightship.cluster.apiserver.errors import ApplyConflict, Cause
from lightship.cluster.apiserver.fields import LEAF, Fields, Shape
from lightship.cluster.apiserver.managed import Entry
from lightship.kube import times
from lightship.kube.objects import Object

LIMIT_NAMED_CONFLICTS = 100


async def apply(backend: Backend, call: Call) -> Response:
    """PATCH with ``application/apply-patch+yaml``."""
    if not call.query.text("fieldManager"):
        raise errors.BadRequest('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required '
                                "for apply patch")
    manager = managed.manager_of(call)
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
        new = merger.first(applied | {"metadata": metadata | {"name": call.target.name}})
        try:
            target = replace(call.target, name="")
            return strict.warned(await writes.create_object(backend, replace(call, target=target), new), warnings)
        except errors.AlreadyExists:
            continue
    raise errors.Conflict("the object came and went too often")


class _Merger:
    """One apply request against whatever the object is at the time."""

    def __init__(self, call: Call, applied: Object, manager: str, now: str) -> None:
        self._call, self._applied, self._manager, self._now = call, applied, manager, now
        self._force = call.query.flag("force")
        self._migrates = manager == client_side.MANAGER and not call.target.subresource
        self._shape = fields.shape_of(call.served)
        self._fields = managed.owned(fields.of_value(applied, self._shape), call)

    def first(self, obj: Object) -> Object:
        """A new object with the applier's entry."""
        return managed.with_entries(obj, [self._entry([])] if self._fields else [])

    def merged(self, old: Object) -> Object:
        """The object after the apply. Raises ``errors.Conflict``."""
        bare = managed.with_entries(old, [])
        entries = [e for e in old["metadata"].get("managedFields") or [] if isinstance(e.get("fieldsV1"), dict)]
        if not entries:
            before = managed.owned(fields.of_value(bare, self._shape), self._call)
            entries = [managed.entry(managed.BEFORE_APPLY, "Update", self._call, self._now, before)] if before else []
        others = [e for e in entries if not self._mine(e)]
        last: Fields = next((e["fieldsV1"] for e in entries if self._mine(e)), {})
        result = merge(bare, self._applied, self._shape)
        changed = managed.owned((fields.compared(bare, result, self._shape)[0] or {}) if bare != result else {},
                                self._call)
        others = self._settled(others, changed, bare)
        kept = self._fields
        for other in others:
            kept = fields.union(kept, other["fieldsV1"])
        result = without(result, fields.beyond(last, kept), self._shape)
        if self._migrates:
            result = client_side.recorded(result, self._applied)
        return managed.with_entries(result, [*others, *([self._entry(entries)] if self._fields else [])])

    def _entry(self, entries: list[Entry]) -> Entry:
        """My entry, which keeps its time while it says the same."""
        for known in entries:
            if self._mine(known) and known.get("fieldsV1") == self._fields:
                return known
        return managed.entry(self._manager, "Apply", self._call, self._now, self._fields)

    def _mine(self, entry: Entry) -> bool:
        return managed.is_by(entry, self._manager, "Apply", self._call)

    def _settled(self, others: list[Entry], changed: Fields, live: Object) -> list[Entry]:
        """The others' entries, less what I take from them. Raises ``ApplyConflict``."""
        clashes = [(other, found) for other in others if (found := fields.common(other["fieldsV1"], changed))]
        if clashes and not self._force:
            mine = client_side.applied_before(live, self._shape) if self._migrates else {}
            refused = [(_named(other), path) for other, found in clashes
                       for path in fields.members(fields.minus(found, mine))]
            if refused:
                raise _conflict(refused)
        left = [e | {"fieldsV1": fields.minus(e["fieldsV1"], changed)} if any(e is o for o, _ in clashes) else e
                for e in others]
        return [e for e in left if e["fieldsV1"]]


def _named(entry: Entry) -> str:
    text = msgspec.json.encode(entry.get("manager") or "").decode()
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    if entry.get("operation") == "Update":
        text += f" using {entry.get('apiVersion')}"
    return text


def _conflict(clashes: list[tuple[str, str]]) -> ApplyConflict:
    """As upstream words it: clients show the causes."""
    by_manager: dict[str, list[str]] = {}
    for manager, path in clashes[:LIMIT_NAMED_CONFLICTS]:
        by_manager.setdefault(manager, []).append(path)
    if len(clashes) == 1:
        text = f"Apply failed with 1 conflict: conflict with {clashes[0][0]}: {clashes[0][1]}"
    else:
        parts = [f"conflicts with {manager}:\n" + "\n".join(f"- {path}" for path in paths) if len(paths) > 1 else
                 f"conflict with {manager}: {paths[0]}" for manager, paths in sorted(by_manager.items())]
        text = f"Apply failed with {len(clashes)} conflicts: " + "\n".join(parts)
    return ApplyConflict(text, [Cause(path, f"conflict with {manager}")
                                for manager, path in clashes[:LIMIT_NAMED_CONFLICTS]])


def merge(old: Any, new: Any, shape: Shape) -> Any:
    """``new`` laid over ``old``: maps by field, lists by item, everything else whole."""
    if shape.is_map and isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merge(old[key], value, shape.child(key)) if key in old else value
                      for key, value in new.items()}
    if shape.keys is None or not isinstance(old, list) or not isinstance(new, list):
        return new
    old_labels, new_labels = shape.labels(old), shape.labels(new)
    if old_labels is None or new_labels is None:
        return new
    item = shape.item or LEAF
    before = dict(zip(old_labels, old, strict=True))
    merged = {label: merge(before[label], value, item) if label in before else value
              for label, value in zip(new_labels, new, strict=True)}
    return [value for _, value in _ordered(old_labels, before, new_labels, merged)]


def _ordered(old_labels: list[str], before: dict[str, Any], new_labels: list[str], merged: dict[str, Any]
             ) -> list[tuple[str, Any]]:
    """Applied items in the order applied; the others stay behind whatever they followed."""
    result: list[tuple[str, Any]] = []
    at = 0
    for label in old_labels:
        if label not in merged:
            result.append((label, before[label]))
        elif label in new_labels[at:]:
            upto = new_labels.index(label, at) + 1
            result += [(name, merged[name]) for name in new_labels[at:upto]]
            at = upto
    return result + [(name, merged[name]) for name in new_labels[at:]]


def without(value: Any, gone: Fields, shape: Shape) -> Any:
    """``value`` less the members of ``gone``; what holds nothing afterwards goes as well."""
    if not gone:
        return value
    if shape.is_map and isinstance(value, dict):
        result = dict(value)
        for label, below in gone.items():
            name = label[2:]
            if not label.startswith("f:") or name not in result:
                continue
            left = without(result[name], below, shape.child(name)) if below else None
            if not below or (left in ({}, []) and result[name] not in ({}, [])):
                del result[name]
            else:
                result[name] = left
        return result
    labels = shape.labels(value) if shape.keys is not None and isinstance(value, list) else None
    if labels is None:
        return value
    item = shape.item or LEAF
    kept = []
    for label, inner in zip(labels, value, strict=True):
        below = gone.get(label)
        if below is None:
            kept.append(inner)
        elif below and "." not in below:  # Somebody else owns the item itself: it stays.
            kept.append(without(inner, below, item))
    return kept
