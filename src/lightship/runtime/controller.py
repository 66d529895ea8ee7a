"""What a controller is: a reconciler, the kinds it watches, and how a change becomes a key.

I hold types only. Domains and ``cluster/builtin`` build ``Controller`` values; ``runtime.manager`` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from lightship.kube import objects
from lightship.kube.resources import Resource


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a pass asks for next: nothing, or the same key again after some seconds."""

    requeue_after_seconds: float | None = None


DONE = Result()


class Reconciler(Protocol):
    """Gets a key, never an event: observes, decides purely, applies, writes status once and last.

    Raising ``LightshipError`` (or anything else) makes the manager retry the key with back-off.
    """

    async def reconcile(self, key: objects.Key) -> Result: ...


def own_key(obj: objects.Object) -> Iterable[objects.Key]:
    """The changed object's own key."""
    return (objects.key(obj),)


def owner_key(kind: str) -> Callable[[objects.Object], Iterable[objects.Key]]:
    """The key of the changed object's controller, where that is of ``kind`` and in the same namespace."""

    def keys(obj: objects.Object) -> Iterable[objects.Key]:
        reference = objects.controller_of(obj)
        if reference and reference.get("kind") == kind:
            return (objects.Key(objects.namespace(obj), str(reference["name"])),)
        return ()

    return keys


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A kind to watch, and which keys a change of one of its objects wakes."""

    resource: Resource
    keys: Callable[[objects.Object], Iterable[objects.Key]] = own_key
    label_selector: str = ""
    field_selector: str = ""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A named reconciler with what wakes it; the manager starts it once all informers have synced."""

    name: str
    reconciler: Reconciler
    watches: tuple[Watch, ...]
    workers: int = 4
