"""Subresources with a shape of their own: scale, binding, token, log, proxy. ``server`` calls me."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from lightship import errors
from lightship.client.transport import Request, Response
from lightship.cluster.apiserver import bodies, reads, scales, shapes, statuses, tables, writes
from lightship.cluster.apiserver.backend import Backend, Call, conflict, decode, encode
from lightship.cluster.apiserver.errors import MethodNotAllowed, UnsupportedMediaType
from lightship.cluster.apiserver.queries import Query
from lightship.kube import conditions, objects, patches, times
from lightship.kube.objects import Key, Object


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """What of a container's log is wanted. ``limit_bytes`` and ``tail_lines`` are None where unlimited."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


class LogSource(Protocol):
    """Where container logs come from: the node. Raises ``errors`` for a container that has no log."""

    def logs(self, key: Key, query: LogQuery) -> Awaitable[AsyncIterator[bytes]]: ...


LOG_OF = "logs.lightship.dev/"
"""Before the name of a container that a Pod lacks: the annotation tells whose log is given in its place."""
ProxyHandler = Callable[[Request], Awaitable[Response]]
"""Answers a request to a Service through ``/proxy/``; the request's path is what follows."""


async def scale(backend: Backend, call: Call) -> Response:
    """GET, PUT or PATCH of ``scale``."""
    method = call.request.method
    if method == "GET":
        return _scale_answer(backend, call, backend.entry(call).value)
    if method not in ("PUT", "PATCH"):
        raise MethodNotAllowed(f"{method} is not allowed on scale")
    data, kind = bodies.read(call.request), bodies.content_type(call.request)

    def change(old: Object) -> Object:
        wanted = data
        if method == "PATCH":
            shown = scales.shown(old, call.served)
            if kind == "application/json-patch+json":
                wanted = patches.json_patch(shown, data)
            elif kind in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
                wanted = patches.merge(shown, data)
            else:
                raise UnsupportedMediaType(f"cannot patch scale with {kind!r}")
        return scales.scaled(old, wanted, call.served)

    entry = await writes.modify_entry(backend, call, change)
    return _scale_answer(backend, call, entry.value)


def _scale_answer(backend: Backend, call: Call, value: bytes) -> Response:
    shown = scales.shown(decode(value), call.served)
    if call.format.shape == "table":
        shown = tables.table(scales.SERVED, [shown], version=call.format.version, now=backend.clock.now(),
                             include=tables.include_object(call.query.text("includeObject")))
    return Response(status=200, headers=reads.HEADERS, body=encode(shown))


class _Target(msgspec.Struct):
    name: str


class _BindingMeta(msgspec.Struct):
    uid: str | None = None
    annotations: dict[str, str] | None = None


class _Binding(msgspec.Struct):
    target: _Target
    metadata: _BindingMeta | None = None


async def bind(backend: Backend, call: Call) -> Response:
    """POST to a Pod's ``binding``: puts the Pod on a node."""
    binding = shapes.convert(bodies.read(call.request), _Binding, "")
    now = backend.clock.now()

    def change(old: Object) -> Object:
        wanted = binding.metadata.uid if binding.metadata else None
        if wanted and wanted != objects.uid(old):
            raise conflict(call, f"Precondition failed: UID in precondition: {wanted[:100]}, UID in object meta: "
                                 f"{objects.uid(old)}")
        bound = objects.spec(old).get("nodeName")
        if bound and bound != binding.target.name:
            raise errors.Conflict(f'pod {objects.name(old)} is already assigned to node "{bound}"')
        scheduled = conditions.merge(objects.status(old).get("conditions"), conditions.make("PodScheduled", True), now)
        status = {name: value for name, value in objects.status(old).items() if name != "nominatedNodeName"}
        metadata = old["metadata"]
        if binding.metadata and binding.metadata.annotations:  # what the scheduler decided goes with the Pod
            metadata = metadata | {"annotations": objects.annotations(old) | binding.metadata.annotations}
        return old | {"metadata": metadata, "spec": objects.spec(old) | {"nodeName": binding.target.name},
                      "status": status | {"conditions": scheduled}}

    await writes.modify_entry(backend, call, change)
    return Response(status=201, headers=reads.HEADERS, body=encode(statuses.success(201)))


async def log(backend: Backend, call: Call, source: LogSource | None) -> Response:
    """GET of a Pod's ``log``."""
    if source is None:
        raise errors.Unavailable("this server has no node to ask for logs")
    pod = decode(backend.entry(call).value)
    query = call.query
    names = [str(c["name"]) for field in ("containers", "initContainers")
             for c in objects.spec(pod).get(field) or []]
    container = query.text("container") or _default_container(pod, names)
    if container not in names:  # a Pod may say which of its logs stands for that of a container it does without
        container = objects.annotations(pod).get(f"{LOG_OF}{container}", container)
    if container not in names:
        raise errors.BadRequest(f"container {container[:100]} is not valid for pod {call.target.name}")
    if not objects.spec(pod).get("nodeName"):  # as upstream: there is no log yet, and that is no error
        return Response(status=200, headers={"content-type": "text/plain"}, body=b"")
    stream = await source.logs(Key(call.target.namespace, call.target.name), LogQuery(
        container=container, follow=query.flag("follow"), previous=query.flag("previous"),
        timestamps=query.flag("timestamps"), since=_since(query, backend.clock.now()),
        tail_lines=query.number("tailLines") if query.text("tailLines") else None,
        limit_bytes=query.number("limitBytes") if query.text("limitBytes") else None))
    return Response(status=200, headers={"content-type": "text/plain"}, body=stream)


def _since(query: Query, now: datetime) -> datetime | None:
    if query.text("sinceSeconds"):
        return now - timedelta(seconds=min(query.number("sinceSeconds"), 10**9))
    return times.parse(query.text("sinceTime")) if query.text("sinceTime") else None


def _default_container(pod: Object, names: list[str]) -> str:
    named = objects.annotations(pod).get("kubectl.kubernetes.io/default-container")
    if named:
        return named
    containers = [str(c["name"]) for c in objects.spec(pod).get("containers") or []]
    if len(containers) != 1:
        raise errors.BadRequest(f"a container name must be specified for pod {objects.name(pod)}, choose one of: "
                                f"{names}".replace("'", ""))
    return containers[0]


_SERVICE = re.compile(r"(?:(https?):)?([a-z0-9-]+)(?::([a-z0-9-]+))?\Z", re.ASCII)


def proxy_of(call: Call, handlers: Mapping[Key, ProxyHandler]) -> ProxyHandler | None:
    """Whoever the app named for the Service of a request, if anyone."""
    match = _SERVICE.match(call.target.name)
    return handlers.get(Key(call.target.namespace, match[2])) if match else None


async def proxy(call: Call, handlers: Mapping[Key, ProxyHandler]) -> Response:
    """Any request to a Service's ``proxy``: handed to whoever the app named for that Service."""
    handler = proxy_of(call, handlers)
    if handler is None:
        raise errors.NotFound(f'no proxy to service "{call.target.name[:100]}" in namespace '
                              f'"{call.target.namespace[:100]}"')
    rest = "/" + call.target.rest.lstrip("/")  # clients join a base that ends in a slash with a path that begins so
    if call.request.path.endswith("/") and not rest.endswith("/"):
        rest += "/"
    return await handler(replace(call.request, path=rest, user=call.user))
