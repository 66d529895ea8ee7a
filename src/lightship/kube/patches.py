"""Kubernetes' patches: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge.

I am pure: patches return new objects and share the parts they did not touch. The API server applies them; tests and
``runtime.apply`` compute them. A patch that cannot be applied raises ``errors.InvalidInput``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lightship import errors
from lightship.kube import strategic

LIMIT_JSON_PATCH_OPERATIONS = 10_000
LIMIT_POINTER_DEPTH = 200
LIMIT_COPIED_BYTES = 3 * 1024 * 1024
"""What the copies of one JSON patch may add: each could double the object."""
LIMIT_REBUILT_ITEMS = 60_000_000
"""Entries of lists and objects that one JSON patch may rebuild: many small operations on a huge one take long."""

strategic_merge = strategic.merge


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge key by key, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merge(result.get(key), value)
        else:
            result[key] = value
    return result


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that turns ``old`` into ``new``; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            inner = diff(old[key], value)
            if inner:
                patch[key] = inner
        elif value != old[key] or type(value) is not type(old[key]):
            patch[key] = value
    return patch


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902: add, remove, replace, move, copy, test."""
    if not isinstance(operations, list):
        raise errors.InvalidInput("a JSON patch is a list of operations")
    if len(operations) > LIMIT_JSON_PATCH_OPERATIONS:
        raise errors.TooLarge(f"a JSON patch may have {LIMIT_JSON_PATCH_OPERATIONS} operations")
    patcher = _JsonPatch()
    for number, operation in enumerate(operations):
        try:
            target = patcher.operate(target, operation)
        except errors.TooLarge:
            raise
        except errors.InvalidInput as e:
            raise errors.InvalidInput(f"operation {number} of the JSON patch: {e.message}") from e
    return target


class _JsonPatch:
    """One patch, and what it has cost so far."""

    def __init__(self) -> None:
        self._copied = self._rebuilt = 0

    def operate(self, target: Any, operation: Any) -> Any:
        if not isinstance(operation, dict):
            raise errors.InvalidInput("not an object")
        verb, path = operation.get("op"), _pointer(operation.get("path"))
        if verb in ("add", "replace", "test") and "value" not in operation:
            raise errors.InvalidInput(f"{verb} needs a value")
        self._count(target, path)
        match verb:
            case "add":
                return _put(target, path, operation["value"], insert=True)
            case "replace":
                _at(target, path)
                return _put(target, path, operation["value"], insert=False)
            case "remove":
                return _remove(target, path)
            case "test":
                if _at(target, path) != operation["value"]:
                    raise errors.InvalidInput(f"test failed: {operation['path']} has another value")
                return target
            case "copy" | "move":
                source = _pointer(operation.get("from"))
                value = _at(target, source)
                if verb == "copy":
                    self._copy(value)
                elif path[:len(source)] == source and path != source:
                    raise errors.InvalidInput("cannot move a value into itself")
                else:
                    self._count(target, source)
                    target = _remove(target, source)
                return _put(target, path, value, insert=True)
        raise errors.InvalidInput(f"unknown op {verb!r}")

    def _copy(self, value: Any) -> None:
        self._copied += len(msgspec.json.encode(value))
        if self._copied > LIMIT_COPIED_BYTES:
            raise errors.TooLarge(f"the copies of a JSON patch may have {LIMIT_COPIED_BYTES} bytes")

    def _count(self, target: Any, path: list[str]) -> None:
        """What is above the place of an operation is made anew."""
        for part in path:
            if isinstance(target, dict):
                self._rebuilt += len(target)
                target = target.get(part)
            elif isinstance(target, list):
                self._rebuilt += len(target)
                target = target[int(part)] if part.isascii() and part.isdigit() and len(part) < 10 and int(
                    part) < len(target) else None
            else:
                break
        if self._rebuilt > LIMIT_REBUILT_ITEMS:
            raise errors.TooLarge(f"a JSON patch may rebuild {LIMIT_REBUILT_ITEMS} entries of lists and objects",
                                  remedy="Split the patch, or send the object whole")


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise errors.InvalidInput(f"{text!r} is not a JSON pointer")
    if text.count("/") > LIMIT_POINTER_DEPTH:
        raise errors.InvalidInput(f"a JSON pointer may be {LIMIT_POINTER_DEPTH} levels deep")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(container: list[Any], part: str, *, limit: int) -> int:
    if not (part.isascii() and part.isdigit()) or len(part) > 9 or (part != "0" and part.startswith("0")):
        raise errors.InvalidInput(f"{part!r} is not an index")
    if int(part) > limit:
        raise errors.InvalidInput(f"index {part} is out of range")
    return int(part)


def _at(target: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(target, dict) and part in target:
            target = target[part]
        elif isinstance(target, list):
            target = target[_index(target, part, limit=len(target) - 1)]
        else:
            raise errors.InvalidInput(f"there is nothing at {'/' + '/'.join(path)!r}")
    return target


def _put(target: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(target, dict):
        if rest and part not in target:
            raise errors.InvalidInput(f"there is no {part!r} to add to")
        return target | {part: _put(target.get(part), rest, value, insert=insert)}
    if isinstance(target, list):
        if not rest and insert:
            index = len(target) if part == "-" else _index(target, part, limit=len(target))
            return [*target[:index], value, *target[index:]]
        index = _index(target, part, limit=len(target) - 1)
        return [*target[:index], _put(target[index], rest, value, insert=insert), *target[index + 1:]]
    raise errors.InvalidInput(f"{part!r} is below a value that is neither an object nor a list")


def _remove(target: Any, path: list[str]) -> Any:
    if not path:
        raise errors.InvalidInput("cannot remove the whole object")
    part, rest = path[0], path[1:]
    if isinstance(target, dict) and part in target:
        if rest:
            return target | {part: _remove(target[part], rest)}
        return {key: value for key, value in target.items() if key != part}
    if isinstance(target, list):
        index = _index(target, part, limit=len(target) - 1)
        kept = [_remove(target[index], rest)] if rest else []
        return [*target[:index], *kept, *target[index + 1:]]
    raise errors.InvalidInput(f"there is no {part!r} to remove")
