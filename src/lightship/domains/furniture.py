"""The furniture that every domain room has: one ``Domain`` value a room, which ``app`` composes.

I hold types only. A room's ``__init__`` builds its ``Domain``, or its ``domain`` where the room has verbs, which must
start without what a server needs; nothing is imported from a room but that, and ``commands``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.runtime.controller import Controller

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One thing wrong with an object: the field's path (``spec.predictor.model``), the bad value's story."""

    path: str
    message: str


def _keep(obj: Object) -> Object:
    return obj


def _accept(obj: Object, old: Object | None) -> Sequence[FieldError]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A served kind with its admission: pure functions, the same in the embedded server and as a webhook.

    ``default`` returns the object with defaults filled in (it may return its argument); ``validate`` gets the new and,
    on update, the old object. A ``schema`` (structural, OpenAPI v3) is applied before them: it prunes, fills in its
    defaults, checks types, and tells ``kubectl explain``; without one everything is kept as it comes.

    A kind whose validity rests on another object names that in ``related``; ``validate_with`` then gets it as it is, or
    None where it is not there.

    A kind whose objects have Pods may give these more than their makers did: ``pod_of`` names the object that a new Pod
    belongs to, and ``amend_pod`` gets the Pod and that object. On a real cluster that is a mutating webhook.
    """

    resource: Resource
    default: Callable[[Object], Object] = _keep
    validate: Callable[[Object, Object | None], Sequence[FieldError]] = _accept
    schema: Mapping[str, Any] | None = None
    related: Callable[[Object], tuple[Resource, Key] | None] | None = None
    validate_with: Callable[[Object, Object | None, Object | None], Sequence[FieldError]] | None = None
    pod_of: Callable[[Object], Key | None] | None = None
    amend_pod: Callable[[Object, Object], Object] | None = None


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One domain as ``app`` sees it. ``deps`` is the room's own dataclass of what it needs (client, records, ...)."""

    name: str
    kinds: tuple[Kind, ...] = ()
    controllers: Callable[[Any], Sequence[Controller]] = field(default=lambda deps: ())
    routes: Callable[[Any], Sequence[BaseRoute]] = field(default=lambda deps: ())
    commands: Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], None] = field(default=lambda verbs: None)
