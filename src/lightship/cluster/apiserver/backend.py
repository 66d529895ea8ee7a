"""What the verbs work on: the store, the kinds, clock and ids; and one request as they see it.

``server`` makes a ``Call`` a request and hands it to a verb.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from lightship import errors
from lightship.client.transport import Request, User
from lightship.cluster.apiserver.errors import NamespaceTerminating
from lightship.cluster.apiserver.formats import Format
from lightship.cluster.apiserver.queries import Query
from lightship.cluster.apiserver.registry import Registry, Served
from lightship.cluster.apiserver.routes import Target
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Entry, Store
from lightship.kube.objects import Object
from lightship.kube.resources import NAMESPACES
from lightship.lib.clock import Clock
from lightship.lib.ids import IdSource

decode = msgspec.json.Decoder(dict[str, Any]).decode
_encoder = msgspec.json.Encoder()
encode = _encoder.encode
_buffer = bytearray()


def packed(obj: Object) -> bytes:
    """Like ``encode``, for what is kept: the encoder's own answer may hold half as much memory again as it has text."""
    _encoder.encode_into(obj, _buffer)
    return bytes(_buffer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One authorised request for a resource."""

    request: Request
    user: User
    target: Target
    query: Query
    format: Format

    @property
    def served(self) -> Served:
        return self.target.served

    @property
    def key(self) -> Key:
        return Key(self.target.served.store_resource, self.target.namespace, self.target.name)


class Admission(Protocol):
    """What others decide about an object on its way to the store; ``admission.Admission`` fits."""

    def prepared(self, call: Call, obj: Object) -> Object: ...

    def held(self, call: Call, new: Object, old: Object | None) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Shared by all verbs."""

    store: Store
    registry: Registry
    clock: Clock
    ids: IdSource
    admission: Admission
    namespaces: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Name to (revision, terminating): what was read of namespaces, so that a create need not decode them."""

    def entry(self, call: Call) -> Entry:
        """The stored object that the call names. Raises ``errors.NotFound``."""
        entry = self.store.get(call.key)
        if entry is None:
            raise not_found(call)
        return entry

    def still_served(self, served: Served) -> None:
        """Raises where a kind was changed or went while one of its objects was judged."""
        resource = served.resource
        if self.registry.find(resource.group, resource.version, resource.plural) is not served:
            raise errors.Conflict(f"the definition of {resource.group_resource} has changed meanwhile",
                                  remedy="Try again")

    def require_namespace(self, name: str, served: Served, obj: Object) -> None:
        """Raises unless ``name`` is a namespace that takes new objects, such as ``obj``."""
        entry = self.store.get(Key(NAMESPACES.group_resource, "", name))
        if entry is None:
            self.namespaces.pop(name, None)
            raise errors.NotFound(f'namespaces "{name}" not found', remedy="Create the namespace first")
        known = self.namespaces.get(name)
        if known is None or known[0] != entry.revision:
            known = (entry.revision, bool(decode(entry.value)["metadata"].get("deletionTimestamp")))
            self.namespaces[name] = known
        if known[1]:
            new = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
            raise NamespaceTerminating(f'{served.resource.group_resource} "{new}"', name)


def not_found(call: Call) -> errors.NotFound:
    return errors.NotFound(f'{call.served.resource.group_resource} "{call.target.name}" not found')


def conflict(call: Call, why: str = "the object has been modified; please apply your changes to the latest version "
                                    "and try again") -> errors.Conflict:
    return errors.Conflict(f"Operation cannot be fulfilled on {call.served.resource.group_resource} "
                           f'"{call.target.name}": {why}')


def on_wire(served: Served, value: bytes) -> bytes:
    """A stored object as this version of its kind shows it."""
    return encode(served.to_wire(decode(value))) if served.to_wire else value


def object_of(served: Served, value: bytes) -> Object:
    """Like ``on_wire``, decoded."""
    obj = decode(value)
    return served.to_wire(obj) if served.to_wire else obj
