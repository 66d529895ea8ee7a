"""Get and list. ``server`` calls me; I read the store's memory and never wait for the disk."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import tables
from lightship.cluster.apiserver.backend import Backend, Call, decode, encode, object_of, on_wire
from lightship.cluster.apiserver.errors import ListExpired
from lightship.cluster.apiserver.registry import Served
from lightship.cluster.apiserver.statuses import JSON
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Item, Snapshot
from lightship.kube import jsonpath, objects, selectors
from lightship.kube.objects import Object

HEADERS = {"content-type": JSON}
NEWEST = -1
"""In a continue token: go on with what is there now, which is no longer of one piece with the first page."""
Matches = Callable[[Object], bool]


class _Labelled(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: _Labelled


_head = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A request's selectors. ``name`` is set where only one name can match."""

    labels: selectors.LabelSelector
    fields: selectors.FieldSelector
    name: str | None
    paths: dict[str, Callable[[Any], list[Any]]]
    needles: tuple[bytes, ...] = ()
    """What the text of every object with the labels must hold: most others need not be decoded."""

    @property
    def all(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: Object) -> bool:
        """Whether an object as the request's kind shows it is selected."""
        if self.labels and not self.labels.matches(objects.labels(obj)):
            return False
        return not self.fields or self.fields.matches(lambda name: self._value(obj, name))

    def matches_value(self, served: Served, value: bytes) -> bool:
        for needle in self.needles:
            if needle not in value:
                return False
        if not self.fields:
            return self.labels.matches(_head(value).metadata.labels or {})
        return self.matches(object_of(served, value))

    def _value(self, obj: Object, name: str) -> str:
        found = self.paths[name](obj)
        if not found or found[0] is None:
            return ""
        return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])


_NEED_THE_LABEL = frozenset({"in", "exists", "gt", "lt"})
_COMMON_FIELDS = {"metadata.name": ".metadata.name", "metadata.namespace": ".metadata.namespace"}


def chosen(call: Call) -> Chosen:
    """The call's selectors. Raises ``errors.BadRequest`` for a field that cannot be selected by."""
    labels = selectors.parse_labels(call.query.text("labelSelector"))
    fields = selectors.parse_fields(call.query.text("fieldSelector"))
    known = _COMMON_FIELDS | dict(call.served.fields)
    paths = {}
    for requirement in fields.requirements:
        path = known.get(requirement.field)
        if path is None:
            name = requirement.field[:200]
            raise errors.BadRequest(
                f"field label not supported: {name}" if call.served.fields or call.served.custom else
                f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')
        paths[requirement.field] = jsonpath.compile(path)
    return Chosen(labels=labels, fields=fields, name=fields.exact("metadata.name"), paths=paths,
                  needles=tuple(encode(requirement.key) for requirement in labels.requirements
                                if requirement.operator in _NEED_THE_LABEL))


def answer(backend: Backend, call: Call, value: bytes, status: int = 200) -> Response:
    """One stored object in the shape that the client wants."""
    if call.format.shape == "object":
        return Response(status=status, headers=HEADERS, body=on_wire(call.served, value))
    obj = object_of(call.served, value)
    if call.format.shape == "metadata":
        return Response(status=status, headers=HEADERS, body=encode(tables.partial(obj)))
    shown = tables.table(call.served, [obj], version=call.format.version, now=backend.clock.now(),
                         include=tables.include_object(call.query.text("includeObject")))
    shown["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    return Response(status=status, headers=HEADERS, body=encode(shown))


def get(backend: Backend, call: Call) -> Response:
    return answer(backend, call, backend.entry(call).value)


def revision_of(text: str) -> int:
    """A resourceVersion from a client. Raises ``errors.BadRequest``."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise errors.BadRequest(f"invalid resource version {text[:100]!r}")
    return int(text)


class _Page(msgspec.Struct):
    """What a continue token holds: the first page's revision, or ``NEWEST``, and the last object given."""

    revision: int
    namespace: str
    name: str


def list_objects(backend: Backend, call: Call) -> Response:
    """A list, whole or a page of it; pages of one list are all as of the first page's revision."""
    which = chosen(call)
    limit = call.query.number("limit")
    snapshot, after = _snapshot(backend, call, which)
    items = snapshot.items
    if after is not None:
        items = [item for item in items if (item.namespace, item.name) > after]
    if not which.all:
        items = [item for item in items if which.matches_value(call.served, item.entry.value)]
    metadata: dict[str, Any] = {"resourceVersion": str(snapshot.revision)}
    if limit and len(items) > limit:
        last = items[limit - 1]
        metadata["continue"] = _token(_Page(snapshot.revision, last.namespace, last.name))
        if which.all:
            metadata["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    return Response(status=200, headers=HEADERS, body=_render(backend, call, items, metadata))


def _snapshot(backend: Backend, call: Call, which: Chosen) -> tuple[Snapshot, tuple[str, str] | None]:
    store, query, served = backend.store, call.query, call.served
    namespace, token = call.target.namespace, query.text("continue")
    if token:
        page = _page(token)
        if page.revision == NEWEST:
            return store.snapshot(served.store_resource, namespace), (page.namespace, page.name)
        try:
            return store.snapshot(served.store_resource, namespace, revision=page.revision), (page.namespace, page.name)
        except errors.Gone as e:
            raise ListExpired(_token(_Page(NEWEST, page.namespace, page.name))) from e
    revision = _wanted_revision(store.revision, query)
    if revision is None and which.name is not None and (namespace or not served.resource.namespaced):
        entry = store.get(Key(served.store_resource, namespace, which.name))
        return Snapshot(store.revision, [Item(namespace, which.name, entry)] if entry else []), None
    return store.snapshot(served.store_resource, namespace, revision=revision), None


def _wanted_revision(current: int, query: Any) -> int | None:
    """The exact revision to list at, or None for the newest, which is never older than asked."""
    version, match = query.text("resourceVersion"), query.text("resourceVersionMatch")
    if match not in ("", "Exact", "NotOlderThan"):
        raise errors.BadRequest(f"resourceVersionMatch must be Exact or NotOlderThan, not {match[:100]!r}")
    if not version:
        if match:
            raise errors.BadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
        return None
    wanted = revision_of(version)
    if match == "Exact":
        if wanted == 0:
            raise errors.BadRequest('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
        return wanted
    if wanted > current:
        raise errors.DeadlineExceeded(f"Too large resource version: {wanted}, current: {current}")
    return None


def _token(page: _Page) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(page)).decode().rstrip("=")


def _page(token: str) -> _Page:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=_Page)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as e:
        raise errors.BadRequest("continue key is not valid") from e


def _render(backend: Backend, call: Call, items: list[Item], metadata: dict[str, Any]) -> bytes:
    served, shape = call.served, call.format.shape
    if shape == "table":
        shown = tables.table(served, (object_of(served, item.entry.value) for item in items), now=backend.clock.now(),
                             version=call.format.version,
                             include=tables.include_object(call.query.text("includeObject")))
        shown["metadata"] = metadata
        return encode(shown)
    if shape == "metadata":
        return encode({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                       "items": [tables.partial(decode(item.entry.value)) for item in items]})
    resource = served.resource
    head = encode({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
    values = [on_wire(served, item.entry.value) if served.to_wire else item.entry.value for item in items] or [b""]
    values[0] = b'%b,"items":[%b' % (head[:-1], values[0])
    values[-1] += b"]}"
    return b",".join(values)
