"""Kubernetes verbs on dict objects, over any transport.

Everyone above ``client`` calls me; I call a ``Transport``. Errors are ``lightship.errors``; a ``Status`` body from the
server becomes the matching class with the server's message.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from lightship import errors
from lightship.client import statuses
from lightship.client.transport import Request, Response, Transport
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import PODS, Resource

PatchType = Literal["merge", "json", "strategic", "apply"]

_PATCH_TYPES: dict[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, kw_only=True)
class ObjectList:
    """A list as of one revision; ``continue_token`` is empty on the last page."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, kw_only=True)
class WatchEvent:
    """One change: ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR from the server is raised instead."""

    type: str
    object: Object


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to list or watch: one namespace or all (empty), and selectors as Kubernetes writes them."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""


EVERYTHING = Selection()


class Client:
    """The verbs. ``field_manager`` names the writer in managedFields and events."""

    def __init__(self, transport: Transport, *, field_manager: str = "lightship") -> None:
        self._transport = transport
        self.field_manager = field_manager

    async def close(self) -> None:
        await self._transport.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object. Raises ``errors.NotFound``."""
        return await self._object("GET", resource.path(namespace, name))

    async def list(self, resource: Resource, selection: Selection = EVERYTHING, *, limit: int = 0,
                   continue_token: str = "") -> ObjectList:
        """Objects of a kind; with ``limit`` one page of it (objects a page)."""
        query = _selectors(selection)
        if limit:
            query["limit"] = str(limit)
        if continue_token:
            query["continue"] = continue_token
        body = await self._object("GET", resource.path(selection.namespace), query)
        kind, version = resource.kind, resource.api_version
        items = body.get("items") or []
        for item in items:
            item.setdefault("apiVersion", version)
            item.setdefault("kind", kind)
        metadata = objects.meta(body)
        return ObjectList(items=items, resource_version=str(metadata.get("resourceVersion", "")),
                          continue_token=str(metadata.get("continue") or ""))

    async def create(self, resource: Resource, obj: Object, *, subresource: str | None = None,
                     name: str | None = None) -> Object:
        """Create ``obj`` (in its own ``metadata.namespace``). Raises ``errors.AlreadyExists``, ``errors.InvalidInput``.

        ``name`` and ``subresource`` address subresources that are created, such as a ServiceAccount's ``token``.
        """
        path = resource.path(objects.namespace(obj), name, subresource)
        return await self._object("POST", path, {"fieldManager": self.field_manager}, obj)

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        """Replace ``obj``; its resourceVersion, if set, must be current. Raises ``errors.Conflict``."""
        path = resource.path(objects.namespace(obj), objects.name(obj), subresource)
        return await self._object("PUT", path, {"fieldManager": self.field_manager}, obj)

    async def patch(self, resource: Resource, key: objects.Key, patch: Any, *, type: PatchType = "merge",
                    subresource: str | None = None) -> Object:
        """Patch one object. A merge or apply patch may carry ``metadata.resourceVersion`` as a precondition."""
        query = {"fieldManager": self.field_manager}
        if type == "apply":
            query["force"] = "true"
        path = resource.path(key.namespace, key.name, subresource)
        return await self._object("PATCH", path, query, patch, content_type=_PATCH_TYPES[type])

    async def delete(self, resource: Resource, key: objects.Key, *, propagation: str = "Background", uid: str = "",
                     grace_seconds: int | None = None) -> Object:
        """Ask for deletion; ``uid`` is a precondition. Raises ``errors.NotFound``."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return await self._object("DELETE", resource.path(key.namespace, key.name), None, options)

    async def watch(self, resource: Resource, selection: Selection = EVERYTHING, *, resource_version: str,
                    timeout_seconds: int = 0) -> AsyncGenerator[WatchEvent]:
        """Changes after ``resource_version``, until the server ends the stream. Raises ``errors.Gone``.

        A reader that may stop early wraps me in ``contextlib.aclosing``, so that the server lets go at once.
        """
        query = _selectors(selection) | {"watch": "true", "resourceVersion": resource_version,
                                         "allowWatchBookmarks": "true"}
        if timeout_seconds:
            query["timeoutSeconds"] = str(timeout_seconds)
        response = await self._send("GET", resource.path(selection.namespace), query)
        async with aclosing(_lines(response)) as lines:
            async for line in lines:
                event = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    raise statuses.error_of(event["object"])
                yield WatchEvent(type=event["type"], object=event["object"])

    async def log(self, pod: objects.Key, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Chunks of a container's log; ``query`` as in Kubernetes: container, follow, tailLines, previous."""
        async with aclosing(self.stream(PODS.path(pod.namespace, pod.name, "log"), query=query)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stream(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncGenerator[bytes]:
        """Chunks of what a path answers with, as they come: a log's."""
        response = await self._send("GET", path, query)
        if isinstance(response.body, bytes):
            yield response.body
            return
        try:
            async for chunk in response.body:
                yield chunk
        finally:
            await _close(response.body)

    async def raw(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """Any other path, such as ``/version``; JSON in and out."""
        return await self._object(method, path, query, body)

    async def _object(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, *,
                      content_type: str = "application/json") -> Object:
        response = await self._send(method, path, query, body, content_type=content_type)
        decoded: Object = msgspec.json.decode(await _whole(response))
        return decoded

    async def _send(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, *,
                    content_type: str = "application/json") -> Response:
        headers = {"accept": "application/json"}
        data = b""
        if body is not None:
            data = msgspec.json.encode(body)
            headers["content-type"] = content_type
        request = Request(method=method, path=path, query=urlencode(query or {}), headers=headers, body=data)
        response = await self._transport.send(request)
        if response.status >= 400:
            raise statuses.error_of_body(response.status, await _whole(response))
        return response


def _selectors(selection: Selection) -> dict[str, str]:
    query = {}
    if selection.labels:
        query["labelSelector"] = selection.labels
    if selection.fields:
        query["fieldSelector"] = selection.fields
    return query


async def _whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


async def _lines(response: Response) -> AsyncGenerator[bytes]:
    """The body's lines, whatever the chunking; the body is closed when the reader stops."""
    if isinstance(response.body, bytes):
        for line in response.body.splitlines():
            yield line
        return
    body = response.body
    rest = b""
    try:
        async for chunk in body:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line
        if rest:
            raise errors.Unavailable("the watch stream ended inside an event")
    finally:
        await _close(body)


async def _close(body: AsyncIterator[bytes]) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
