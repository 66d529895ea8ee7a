"""Reading Kubernetes objects, which are plain dicts as they came off the wire.

I am pure; everyone calls me. Objects are never mutated in place once shared: functions that change one return a copy
of the part they touch. (No ``from __future__ import annotations`` here: it would take the name of ``annotations``.)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as JSON data."""


class Key(NamedTuple):
    """What names an object within its kind; ``namespace`` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def meta(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("metadata") or {}


def name(obj: Mapping[str, Any]) -> str:
    return str(meta(obj).get("name", ""))


def namespace(obj: Mapping[str, Any]) -> str:
    return str(meta(obj).get("namespace") or "")


def uid(obj: Mapping[str, Any]) -> str:
    return str(meta(obj).get("uid", ""))


def key(obj: Mapping[str, Any]) -> Key:
    return Key(namespace(obj), name(obj))


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    return meta(obj).get("labels") or {}


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    return meta(obj).get("annotations") or {}


def finalizers(obj: Mapping[str, Any]) -> list[str]:
    return meta(obj).get("finalizers") or []


def deleting(obj: Mapping[str, Any]) -> bool:
    """Whether deletion was asked for and finalizers or a grace period still hold the object."""
    return bool(meta(obj).get("deletionTimestamp"))


def generation(obj: Mapping[str, Any]) -> int:
    return int(meta(obj).get("generation") or 0)


def spec(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def status(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("status") or {}


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """A controller reference to ``owner``, which must have come from the server (it needs a uid)."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference that is marked as the controller, if any."""
    for reference in meta(obj).get("ownerReferences") or []:
        if reference.get("controller"):
            return dict(reference)
    return None
