"""Strategic merge patch: like a merge patch, but lists of known fields merge by a key of their items.

I am pure; ``patches`` exposes me. Which list merges by which key is the business of whoever knows the types
(``Lists``): the API server has upstream's table.
"""

from __future__ import annotations

from typing import Any, Protocol

from lightship import errors


class Lists(Protocol):
    """How the lists in one type's fields merge."""

    def key(self, field: str) -> str | None:
        """The key of the items of the list ``field``; empty for a set of plain values; None: it is replaced whole."""
        ...

    def below(self, field: str) -> Lists:
        """The type of the field, or of its items."""
        ...


_DIRECTIVES = ("$patch", "$retainKeys")


def merge(target: Any, patch: Any, *, lists: Lists) -> Any:
    """``patch`` applied to an object of the type ``lists``. Raises ``errors.InvalidInput``."""
    if not isinstance(patch, dict):
        raise errors.InvalidInput("a strategic merge patch is an object")
    return _Merger(lists).objects(target if isinstance(target, dict) else {}, patch)


def _in_order(items: list[Any], patch: list[Any], target: list[Any], key: str = "") -> list[Any]:
    """Merged items in the order of the patch; those that it does not name stay before what they stood before."""
    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted, before = [name(item) for item in patch], [name(item) for item in target]
    named = sorted((item for item in items if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    others, result = [item for item in items if name(item) not in wanted], list[Any]()
    while named and others:
        mine, theirs = name(named[0]), name(others[0])
        first = mine in before and theirs in before and before.index(theirs) < before.index(mine)
        result.append((others if first else named).pop(0))
    return result + named + others


class _Merger:
    """Merges objects of one type."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    def objects(self, target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        directive = patch.get("$patch")
        if directive == "replace":
            return {key: value for key, value in patch.items() if key not in _DIRECTIVES}
        if directive == "delete":
            return {}
        if directive not in (None, "merge"):
            raise errors.InvalidInput(f"unknown $patch directive {directive!r}")
        result = dict(target)
        retain = patch.get("$retainKeys")
        if retain is not None:
            if not isinstance(retain, list):
                raise errors.InvalidInput("$retainKeys is a list of field names")
            result = {key: value for key, value in result.items() if key in retain}
        for key, value in patch.items():
            if key in _DIRECTIVES or key.startswith("$setElementOrder/"):
                continue
            if key.startswith("$deleteFromPrimitiveList/"):
                field = key.partition("/")[2]
                gone = value if isinstance(value, list) else []
                result[field] = [item for item in result.get(field) or [] if item not in gone]
            elif value is None:
                result.pop(key, None)
            elif isinstance(value, dict):
                old = result.get(key)
                below = _Merger(self._lists.below(key))
                result[key] = below.objects(old if isinstance(old, dict) else {}, value)
            elif isinstance(value, list):
                result[key] = self.lists(key, result.get(key), value)
            else:
                result[key] = value
        return self._ordered(result, patch)

    def lists(self, field: str, existing: Any, patch: list[Any]) -> list[Any]:
        target: list[Any] = existing if isinstance(existing, list) else []
        key = self._lists.key(field)
        if key == "":
            return _in_order(target + [item for item in patch if item not in target], patch, target)
        if key is None:
            return [item for item in patch if not (isinstance(item, dict) and item.get("$patch"))]
        if not all(isinstance(item, dict) for item in patch):
            raise errors.InvalidInput(f"items of {field!r} are objects")
        if any(item.get("$patch") == "replace" for item in patch):
            return [item for item in patch if "$patch" not in item]
        result, below = list(target), _Merger(self._lists.below(field))
        for item in patch:
            name = item.get(key)
            if name is None:
                raise errors.InvalidInput(f"an item of {field!r} lacks its merge key {key!r}")
            at = next((i for i, old in enumerate(result) if isinstance(old, dict) and old.get(key) == name), None)
            if item.get("$patch") == "delete":
                if at is not None:
                    del result[at]
            elif at is None:
                result.append(below.objects({}, item))
            else:
                result[at] = below.objects(result[at], item)
        return _in_order(result, patch, target, key)

    def _ordered(self, result: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        """Lists put into the order that ``$setElementOrder`` names; items it does not name keep their place after."""
        for directive, order in patch.items():
            if not directive.startswith("$setElementOrder/") or not isinstance(order, list):
                continue
            field = directive.partition("/")[2]
            items, key = result.get(field), self._lists.key(field) or ""
            if not isinstance(items, list):
                continue
            names = [entry.get(key) if isinstance(entry, dict) else entry for entry in order]
            rank = {name: number for number, name in enumerate(names) if isinstance(name, str | int)}

            def place(item: Any, rank: dict[Any, int] = rank, key: str = key) -> int:
                return rank.get(item.get(key) if isinstance(item, dict) else item, len(rank))

            result[field] = sorted(items, key=place)
        return result
