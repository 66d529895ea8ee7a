"""HTTP to a port of a Pod, for the ``proxy`` of Pods, Services and Nodes: one request, its answer streamed.

``server`` calls ``pod`` and ``service`` after the access review; the node's ``dial`` connects. The client's own
credentials stay here: the Pod is not to see who asks.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from lightship import errors
from lightship.client.sessions import Streams
from lightship.client.transport import Duplex, Response
from lightship.cluster.apiserver.access import browsers
from lightship.cluster.apiserver.backend import Backend, Call, decode, encode
from lightship.cluster.store.broadcast import Key as StoreKey
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

LIMIT_HEAD_BYTES = 64 * 1024
ANSWER_SECONDS = 60.0
"""How long a Pod may take to begin its answer."""
_READ_BYTES = 64 * 1024
_HOP = frozenset({"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
                  "transfer-encoding", "content-length"})
_NAME = re.compile(r"(?:(https?):)?([a-z0-9][a-z0-9.-]*)(?::([A-Za-z0-9-]*))?\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A Pod's port, and whether it speaks TLS."""

    pod: Key
    port: int
    secure: bool = False


async def pod(backend: Backend, call: Call, streams: Streams | None) -> Response:
    """``pods/[SCHEME:]NAME[:PORT]/proxy/PATH``."""
    scheme, name, port = _parts(call)
    found = _object(backend, call, call.served.store_resource, name)
    containers = objects.spec(found).get("containers") or ()
    ports = {str(each.get("name", "")): int(each["containerPort"]) for c in containers for each in c.get("ports") or ()}
    number = int(port) if port.isdigit() else ports.get(port) if port else next(iter(ports.values()), 80)
    if number is None:
        raise errors.BadRequest(f'pod {name} has no port "{port}"')
    return await _ask(call, Place(pod=Key(call.target.namespace, name), port=number, secure=scheme == "https"), streams)


async def service(backend: Backend, call: Call, streams: Streams | None) -> Response:
    """``services/[SCHEME:]NAME[:PORT]/proxy/PATH``: any Pod that is ready behind it."""
    scheme, name, port = _parts(call)
    found = _object(backend, call, SERVICES.group_resource, name)
    wanted = [each for each in objects.spec(found).get("ports") or ()
              if not port or port in (each.get("name"), str(each["port"]))]
    if not wanted:
        raise errors.NotFound(f'no service port "{port}" found for service "{name}"')
    places = [Place(pod=key, port=number, secure=scheme == "https")
              for key, number in _endpoints(backend, call.target.namespace, name, wanted[0].get("name") or "")]
    if not places:
        raise errors.Unavailable(f'no endpoints available for service "{name}"')
    return await _ask(call, random.choice(places), streams)


async def node(backend: Backend, call: Call) -> Response:
    """``nodes/NAME/proxy/PATH``: of a kubelet's own pages, whether it is well and which Pods it runs."""
    _object(backend, call, NODES.group_resource, call.target.name)
    path = call.target.rest.strip("/")
    if path == "healthz":
        return Response(status=200, headers={"content-type": "text/plain"}, body=b"ok")
    if path in ("pods", "runningpods"):
        pods = [decode(item.entry.value) for item in backend.store.snapshot(PODS.group_resource).items]
        mine = [each for each in pods if objects.spec(each).get("nodeName") == call.target.name]
        body = encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": mine})
        return Response(status=200, headers={"content-type": "application/json"}, body=body)
    raise errors.NotFound(f"the node has no page {path[:100]!r}", remedy="It has /healthz and /pods")


def _parts(call: Call) -> tuple[str, str, str]:
    match = _NAME.match(call.target.name)
    if match is None:
        raise errors.BadRequest(f'"{call.target.name[:100]}" is not a name with an optional scheme and port')
    return match[1] or "http", match[2], match[3] or ""


def _object(backend: Backend, call: Call, resource: str, name: str) -> Object:
    entry = backend.store.get(StoreKey(resource, call.target.namespace, name))
    if entry is None:
        raise errors.NotFound(f'{call.served.resource.group_resource} "{name[:100]}" not found')
    return decode(entry.value)


def _endpoints(backend: Backend, namespace: str, name: str, port: str) -> list[tuple[Key, int]]:
    found = []
    for item in backend.store.snapshot(ENDPOINT_SLICES.group_resource, namespace).items:
        made = decode(item.entry.value)
        if (objects.meta(made).get("labels") or {}).get("kubernetes.io/service-name") != name:
            continue
        number = next((int(each["port"]) for each in made.get("ports") or () if (each.get("name") or "") == port), 0)
        for endpoint in made.get("endpoints") or ():
            target = endpoint.get("targetRef") or {}
            ready = (endpoint.get("conditions") or {}).get("ready") is not False
            here = target.get("namespace") in (None, "", namespace)  # who may write slices may not reach elsewhere
            if number and ready and here and target.get("kind") == "Pod":
                found.append((Key(namespace, str(target["name"])), number))
    return found


async def _ask(call: Call, place: Place, streams: Streams | None) -> Response:
    if streams is None:
        raise errors.Unavailable("this server has no node that runs Pods")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await streams.dial(place.pod, place.port)
            try:
                if place.secure:
                    await writer.start_tls(_unverified(), server_hostname=place.pod.name)
                writer.write(_head(call, place) + call.request.body)
                await writer.drain()
                head = await _answer_head(reader)
            except BaseException:
                writer.close()
                raise
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as problem:
        raise errors.Unavailable(f"error trying to reach pod {place.pod.name}, port {place.port}: "
                                 f"{problem or type(problem).__name__}") from problem
    status, headers = head
    if status == 101:
        return Response(status=101, headers=headers | {"connection": "Upgrade"}, upgrade=_joined(reader, writer))
    kept = {name: value for name, value in headers.items() if name not in _HOP and not set(value) & {"\r", "\n"}}
    return Response(status=status, headers=kept, body=_body(call.request.method, status, headers, (reader, writer)))


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a Pod's certificate is its own affair
    return context


def _head(call: Call, place: Place) -> bytes:
    request = call.request
    rest = "/" + call.target.rest.lstrip("/")
    target = rest + (f"?{request.query}" if request.query else "")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in target):
        raise errors.BadRequest("the path behind a proxy must be encoded")
    headers = {name: value for name, value in request.headers.items()
               if name not in _HOP and name not in ("authorization", "host", "expect")
               and not name.startswith("impersonate-") and "\n" not in value}
    if "sec-websocket-protocol" in headers:  # it may bear the client's token
        headers["sec-websocket-protocol"] = ", ".join(browsers.protocols(headers))
    upgrade = "upgrade" in headers
    headers |= {"host": f"{place.pod.name}:{place.port}", "connection": "Upgrade" if upgrade else "close"}
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(request.body))
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _answer_head(reader: StreamReader) -> tuple[int, dict[str, str]]:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = head[0].partition(" ")
        status = int(rest[:3])
        if not version.startswith("HTTP/1.") or not 100 <= status < 600:
            raise ValueError("it does not answer in HTTP/1.1")
        if status != 100:
            break
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return status, headers


async def _body(method: str, status: int, headers: Mapping[str, str],
                connection: tuple[StreamReader, StreamWriter]) -> AsyncGenerator[bytes]:
    reader, writer = connection
    try:
        if method == "HEAD" or status in (204, 304):
            return
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
                async for chunk in _exactly(reader, size):
                    yield chunk
                await reader.readuntil(b"\n")
        elif headers.get("content-length", "").isdigit():
            async for chunk in _exactly(reader, int(headers["content-length"])):
                yield chunk
        else:
            while chunk := await reader.read(_READ_BYTES):
                yield chunk
    finally:
        writer.close()


async def _exactly(reader: StreamReader, left: int) -> AsyncGenerator[bytes]:
    while left:
        chunk = await reader.read(min(left, _READ_BYTES))
        if not chunk:
            raise ConnectionResetError("the Pod's answer ended early")
        left -= len(chunk)
        yield chunk


def _joined(reader: StreamReader, writer: StreamWriter) -> Callable[[Duplex], Awaitable[None]]:
    async def run(duplex: Duplex) -> None:
        async def outwards() -> None:
            while chunk := await reader.read(_READ_BYTES):
                await duplex.write(chunk)

        async def inwards() -> None:
            while chunk := await duplex.read():
                writer.write(chunk)
                await writer.drain()

        tasks = [asyncio.create_task(outwards()), asyncio.create_task(inwards())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    return run
