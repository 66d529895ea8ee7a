"""A small API server in memory for tests of reconcilers and informers: verbs, revisions, watches, induced failures.

Reconciler tables and the runtime's tests call me; I am a ``client.transport.Transport``. I keep what reconcilers lean
on: revisions and conflicts, the split of spec and status, finalizers and preconditions, watches that end, break or are
Gone on demand. An apply is a merge that may create; who owns which field is not kept. Admission, access and discovery
are the real server's, which the conformance suite drives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from lightship import errors
from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.kube import objects, patches, selectors, times
from lightship.kube.objects import Key, Object
from lightship.lib import clock as clocks
from lightship.lib import ids


class Place(NamedTuple):
    """Where a path points: a collection (``/api/v1/pods``), a key in it, a subresource."""

    collection: str
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)


class Write(NamedTuple):
    """One write that was asked for: ``verb`` is create, update, patch or delete; ``body`` as it was sent."""

    verb: str
    plural: str
    key: Key
    subresource: str
    body: Any


Fault = Callable[[Write], errors.LightshipError | None]
"""Looks at a write before it happens and may make it fail."""

_CODES: dict[type[errors.LightshipError], int] = {
    errors.BadRequest: 400, errors.NotFound: 404, errors.AlreadyExists: 409, errors.Conflict: 409, errors.Gone: 410,
    errors.InvalidInput: 422, errors.Unavailable: 503,
}


@dataclass(frozen=True, kw_only=True)
class _Event:
    revision: int
    collection: str
    namespace: str
    type: str
    object: Object


class MemoryApi:
    """``writes`` is what was asked for since it was last cleared; ``fault`` may make writes fail."""

    def __init__(self, clock: clocks.Clock = clocks.SYSTEM, id_source: ids.IdSource | None = None) -> None:
        self.writes: list[Write] = []
        self.fault: Fault | None = None
        self.logs: dict[Key, bytes] = {}
        """What Pods have said, by their key."""
        self.watches_open = 0
        self.lists_served = 0
        self.watches_served = 0
        self._clock = clock
        self._ids = id_source or ids.SeededIds(1)
        self._collections: dict[str, dict[Key, Object]] = {}
        self._revision = 100
        self._oldest = 0
        self._events: list[_Event] = []
        self._changed: list[asyncio.Event] = []
        self._broken = 0
        self._flowing = asyncio.Event()
        self._flowing.set()

    def client(self, field_manager: str = "test") -> Client:
        return Client(self, field_manager=field_manager)

    async def close(self) -> None:
        return None

    def forget_history(self) -> None:
        """Compact everything: a watch from any earlier revision is Gone, those that run are told so."""
        self._oldest = self._revision
        self._events.clear()
        self.break_watches()

    def stall_watches(self) -> None:
        """Deliver nothing to watches until ``resume_watches``: readers see what was."""
        self._flowing.clear()

    def resume_watches(self) -> None:
        self._flowing.set()

    def break_watches(self) -> None:
        """End all open watch streams."""
        self._broken += 1
        self._wake()

    def insert(self, collection: str, obj: Object) -> Object:
        """Put ``obj`` there as it is, with what a server adds: for a test's starting state."""
        stamped = self._stamp(dict(obj))
        return self._store(Place(collection, objects.namespace(obj), objects.name(obj), ""), stamped, "ADDED")

    def collections(self) -> list[str]:
        """The paths of the collections that have ever held something."""
        return list(self._collections)

    def snapshot(self) -> dict[str, dict[Key, Object]]:
        """Everything as it is now; writes replace objects, so this stays."""
        return {path: dict(collection) for path, collection in self._collections.items()}

    def find(self, collection: str, key: Key) -> Object | None:
        return self._collections.get(collection, {}).get(key)

    def all(self, collection: str) -> list[Object]:
        return list(self._collections.get(collection, {}).values())

    async def send(self, request: Request) -> Response:
        try:
            return await self._serve(request)
        except errors.LightshipError as error:
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 500)
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                      "reason": error.reason, "message": error.message}
            return Response(status=code, body=msgspec.json.encode(status))

    async def _serve(self, request: Request) -> Response:
        query = dict(parse_qsl(request.query))
        place = _place(request.path)
        if request.method == "GET" and not place.name:
            if query.get("watch") == "true":
                self._check_revision(query.get("resourceVersion", ""))
                self.watches_served += 1
                return Response(status=200, body=self._watch(place, query))
            self.lists_served += 1
            return _json(self._list(place, query))
        if request.method == "GET" and place.subresource == "log":
            return Response(status=200, body=self.logs.get(place.key, b""))
        if request.method == "GET":
            return _json(self._existing(place))
        body = msgspec.json.decode(request.body) if request.body else {}
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]
        key = place.key if place.name else Key(place.namespace, str(objects.meta(body).get("name", "")))
        write = Write(verb, place.collection.rpartition("/")[2], key, place.subresource, body)
        self.writes.append(write)
        if self.fault is not None and (error := self.fault(write)) is not None:
            raise error
        if verb == "create":
            return _json(self._create(place, body), 201)
        if verb == "delete" and not place.name:
            return _json(self._delete_all(place))
        if verb == "delete":
            return _json(self._delete(place, body))
        return _json(self._change(place, request, body))

    def _list(self, place: Place, query: dict[str, str]) -> Object:
        found = [obj for obj in self.all(place.collection) if _selected(obj, place, query)]
        found.sort(key=objects.key)
        limit, start = int(query.get("limit", 0)), 0
        metadata = {"resourceVersion": str(self._revision)}
        if token := query.get("continue", ""):
            revision, _, offset = token.partition(":")
            if int(revision) < self._oldest:
                raise errors.Gone("the list's revision is too old")
            start = int(offset)
        if limit and start + limit < len(found):
            metadata["continue"] = f"{self._revision}:{start + limit}"
            found = found[start:start + limit]
        else:
            found = found[start:]
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": found}

    def _check_revision(self, revision: str) -> None:
        if not revision.isdigit():
            raise errors.BadRequest(f"cannot watch from revision {revision!r}")
        if int(revision) < self._oldest:
            raise errors.Gone(f"too old resource version: {revision} ({self._oldest})")

    async def _watch(self, place: Place, query: dict[str, str]) -> AsyncGenerator[bytes]:
        seen, broken = int(query["resourceVersion"]), self._broken
        changed = asyncio.Event()
        self._changed.append(changed)
        self.watches_open += 1
        try:
            while broken == self._broken:
                changed.clear()
                for event in [event for event in self._events if event.revision > seen]:
                    seen = event.revision
                    if event.collection == place.collection and _selected(event.object, place, query):
                        await self._flowing.wait()
                        yield _line(event.type, event.object)
                await changed.wait()
        finally:
            self.watches_open -= 1
            self._changed.remove(changed)

    def bookmark(self, collection: str, api_version: str, kind: str) -> None:
        """Tell watchers of ``collection`` the revision that they are at."""
        metadata = {"resourceVersion": str(self._revision)}
        self._revision += 1
        obj = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        self._events.append(_Event(revision=self._revision, collection=collection, namespace="", type="BOOKMARK",
                                   object=obj))
        metadata["resourceVersion"] = str(self._revision)
        self._wake()

    def _create(self, place: Place, body: Object) -> Object:
        if place.subresource:
            return self._create_subresource(place, body)
        obj = dict(body)
        metadata = dict(objects.meta(obj))
        if not metadata.get("name"):
            metadata["name"] = str(metadata.get("generateName", "")) + self._ids.suffix(5)
        if place.namespace:
            metadata["namespace"] = place.namespace
        obj["metadata"] = metadata
        place = place._replace(name=metadata["name"])
        if place.key in self._collections.get(place.collection, {}):
            raise errors.AlreadyExists(f'{place.collection} "{place.key}" already exists')
        return self._store(place, self._stamp(obj), "ADDED")

    def _create_subresource(self, place: Place, body: Object) -> Object:
        """A Pod's ``binding`` and ``eviction``; a Namespace's ``finalize`` comes as an update."""
        pod = self._existing(place)
        if place.subresource == "binding":
            if objects.spec(pod).get("nodeName"):
                raise errors.Conflict(f'pod "{place.key}" is bound already')
            bound = pod | {"spec": objects.spec(pod) | {"nodeName": body["target"]["name"]}}
            self._store(place, bound, "MODIFIED")
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise errors.BadRequest(f"no subresource {place.subresource!r} here")

    def _change(self, place: Place, request: Request, body: Any) -> Object:
        kind = request.headers.get("content-type", "")
        if kind.startswith("application/apply-patch") and self.find(place.collection, place.key) is None:
            return self._create(place, body)
        old = self._existing(place)
        if request.method == "PUT":
            new = dict(body)
        elif kind.startswith("application/json-patch"):
            new = patches.json_patch(old, body)
        else:
            new = patches.merge(old, body)
        wanted = objects.meta(body).get("resourceVersion") if isinstance(body, dict) else None
        if wanted and wanted != objects.meta(old)["resourceVersion"]:
            raise errors.Conflict(f'{place.collection} "{place.key}" has changed')
        if place.subresource == "status":
            new = old | {"status": new.get("status")}
        elif place.subresource in ("", "finalize"):
            if "status" in old:
                new = new | {"status": old["status"]}
            elif objects.meta(old).get("generation") is not None and "status" in new and request.method == "PUT":
                new = {key: value for key, value in new.items() if key != "status"}
        metadata = dict(objects.meta(new)) | {key: objects.meta(old)[key] for key in ("uid", "resourceVersion")}
        if new.get("spec") != old.get("spec"):
            metadata["generation"] = objects.generation(old) + 1
        new = new | {"metadata": metadata}
        if new == old:
            return old
        if objects.deleting(new) and not objects.finalizers(new) and not (
                place.collection.endswith("/namespaces") and objects.spec(new).get("finalizers")):
            return self._remove(place, new)
        return self._store(place, new, "MODIFIED")

    def _delete(self, place: Place, options: Any) -> Object:
        old = self._existing(place)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != objects.uid(old):
            raise errors.Conflict(f'{place.collection} "{place.key}" has another uid')
        held = objects.finalizers(old)
        wanted_by_policy = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(
            str(options.get("propagationPolicy")), "")
        if wanted_by_policy and wanted_by_policy not in held:
            held = [*held, wanted_by_policy]
        if not held and not (place.collection.endswith("/namespaces") and objects.spec(old).get("finalizers")):
            return self._remove(place, old)
        if objects.deleting(old):
            return old
        metadata = objects.meta(old) | {"deletionTimestamp": times.rfc3339(self._clock.now()), "finalizers": held}
        return self._store(place, old | {"metadata": metadata}, "MODIFIED")

    def _delete_all(self, place: Place) -> Object:
        for obj in self.all(place.collection):
            if objects.namespace(obj) == place.namespace:
                self._delete(place._replace(name=objects.name(obj)), {})
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _existing(self, place: Place) -> Object:
        obj = self._collections.get(place.collection, {}).get(place.key)
        if obj is None:
            raise errors.NotFound(f'{place.collection} "{place.key}" not found')
        return obj

    def _stamp(self, obj: Object) -> Object:
        added = {"uid": self._ids.uid(), "generation": 1,
                 "creationTimestamp": times.rfc3339(self._clock.now())}
        return obj | {"metadata": added | dict(objects.meta(obj))}

    def _store(self, place: Place, obj: Object, type: str) -> Object:
        self._revision += 1
        stored = obj | {"metadata": objects.meta(obj) | {"resourceVersion": str(self._revision)}}
        self._collections.setdefault(place.collection, {})[place.key] = stored
        self._announce(place, stored, type)
        return stored

    def _remove(self, place: Place, obj: Object) -> Object:
        self._revision += 1
        del self._collections[place.collection][place.key]
        last = obj | {"metadata": objects.meta(obj) | {"resourceVersion": str(self._revision)}}
        self._announce(place, last, "DELETED")
        return last

    def _announce(self, place: Place, obj: Object, type: str) -> None:
        self._events.append(_Event(revision=self._revision, collection=place.collection, namespace=place.namespace,
                                   type=type, object=obj))
        self._wake()

    def _wake(self) -> None:
        for changed in self._changed:
            changed.set()


def _place(path: str) -> Place:
    parts = path.strip("/").split("/")
    head, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *_ = [*rest, "", "", ""]
    return Place("/" + "/".join([*head, plural]), namespace, name, subresource)


def _selected(obj: Object, place: Place, query: dict[str, str]) -> bool:
    if place.namespace and objects.meta(obj).get("namespace") != place.namespace:
        return False
    wanted = query.get("labelSelector", "")
    if wanted and obj.get("kind") is not None and not selectors.parse_labels(wanted).matches(objects.labels(obj)):
        return False
    fields = query.get("fieldSelector", "")

    def value_of(path: str) -> str:
        value: Any = obj
        for part in path.split("."):
            value = (value or {}).get(part)
        return "" if value is None else str(value)

    return not fields or selectors.parse_fields(fields).matches(value_of)


def _line(type: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": type, "object": obj}) + b"\n"


def _json(body: Any, status: int = 200) -> Response:
    return Response(status=status, headers={"content-type": "application/json"}, body=msgspec.json.encode(body))
