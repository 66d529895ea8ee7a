"""Strategic merge patch: like a merge patch, but lists of known fields merge by a key of their items.

I am pure; ``patches`` exposes me. The table of merge keys is upstream's ``patchMergeKey`` metadata for the built-in
kinds that Lightship serves, by field name: names are unambiguous but for ``ports``.
"""

from __future__ import annotations

from typing import Any

from lightship import errors

MERGE_KEYS: dict[str, str] = {
    "addresses": "type", "conditions": "type", "containers": "name", "env": "name", "ephemeralContainers": "name",
    "hostAliases": "ip", "hostIPs": "ip", "imagePullSecrets": "name", "initContainers": "name",
    "ownerReferences": "uid", "podIPs": "ip", "resourceClaims": "name", "schedulingGates": "name", "secrets": "name",
    "taints": "key", "topologySpreadConstraints": "topologyKey", "volumeDevices": "devicePath",
    "volumeMounts": "mountPath", "volumes": "name", "volumesAttached": "name",
}
"""Field name to the key by which items of its list merge."""

PRIMITIVE_SETS = frozenset({"finalizers", "podCIDRs"})
"""Lists of strings that a patch adds to rather than replaces."""

_PORT_KEYS = {"Service": "port", "EndpointSlice": "", "Endpoints": ""}
_DIRECTIVES = ("$patch", "$retainKeys")


def merge_key(field: str, kind: str) -> str:
    """The merge key of the list ``field`` in objects of ``kind``; empty where the list is replaced whole."""
    if field == "ports":
        return _PORT_KEYS.get(kind, "containerPort")
    if field == "conditions" and kind == "EndpointSlice":
        return ""
    return MERGE_KEYS.get(field, "")


def merge(target: Any, patch: Any, *, kind: str) -> Any:
    """``patch`` applied to an object of ``kind``. Raises ``errors.InvalidInput``."""
    if not isinstance(patch, dict):
        raise errors.InvalidInput("a strategic merge patch is an object")
    return _Merger(kind).objects(target if isinstance(target, dict) else {}, patch)


class _Merger:
    def __init__(self, kind: str) -> None:
        self._kind = kind

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
                result[key] = self.objects(old if isinstance(old, dict) else {}, value)
            elif isinstance(value, list):
                result[key] = self.lists(key, result.get(key), value)
            else:
                result[key] = value
        return self._ordered(result, patch)

    def lists(self, field: str, existing: Any, patch: list[Any]) -> list[Any]:
        target: list[Any] = existing if isinstance(existing, list) else []
        if field in PRIMITIVE_SETS:
            return target + [item for item in patch if item not in target]
        key = merge_key(field, self._kind)
        if not key:
            return [item for item in patch if not (isinstance(item, dict) and item.get("$patch"))]
        if not all(isinstance(item, dict) for item in patch):
            raise errors.InvalidInput(f"items of {field!r} are objects")
        if any(item.get("$patch") == "replace" for item in patch):
            return [item for item in patch if "$patch" not in item]
        result = list(target)
        for item in patch:
            name = item.get(key)
            if name is None:
                raise errors.InvalidInput(f"an item of {field!r} lacks its merge key {key!r}")
            at = next((i for i, old in enumerate(result) if isinstance(old, dict) and old.get(key) == name), None)
            if item.get("$patch") == "delete":
                if at is not None:
                    del result[at]
            elif at is None:
                result.append(self.objects({}, item))
            else:
                result[at] = self.objects(result[at], item)
        return result

    def _ordered(self, result: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        """Lists put into the order that ``$setElementOrder`` names; items it does not name keep their place after."""
        for directive, order in patch.items():
            if not directive.startswith("$setElementOrder/") or not isinstance(order, list):
                continue
            field = directive.partition("/")[2]
            items, key = result.get(field), merge_key(field, self._kind)
            if not isinstance(items, list):
                continue
            names = [entry.get(key) if isinstance(entry, dict) else entry for entry in order]
            rank = {name: number for number, name in enumerate(names) if isinstance(name, str | int)}

            def place(item: Any, rank: dict[Any, int] = rank, key: str = key) -> int:
                return rank.get(item.get(key) if isinstance(item, dict) else item, len(rank))

            result[field] = sorted(items, key=place)
        return result
