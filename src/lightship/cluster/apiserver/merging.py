"""How lists of the built-in kinds merge in a strategic patch: upstream's table, type by type.

Pure; ``writes`` hands me to ``kube.strategic``.
"""

from __future__ import annotations

from functools import cache

from lightship.cluster.apiserver import kubernetes_types


class TypeLists:
    """Of one type; of none where the type is not known, so that every list is replaced."""

    def __init__(self, name: str) -> None:
        self._fields = kubernetes_types.json_fields(name) if name else {}

    def key(self, field: str) -> str | None:
        found = self._fields.get(field)
        if found is None or "merge" not in found.merge:
            return None
        return found.merge.partition(":")[2]

    def below(self, field: str) -> TypeLists:
        found = self._fields.get(field)
        return of_type(found.type if found is not None and "." in found.type else "")


@cache
def of_type(name: str) -> TypeLists:
    return TypeLists(name)


def of_kind(api_version: str, kind: str) -> TypeLists:
    return of_type(kubernetes_types.name_of(api_version, kind))
