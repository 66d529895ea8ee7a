"""Copies of requests and answers as CloudEvents over HTTP, in binary mode with upstream's types and extensions.

``payloads`` hands me copies; I post each and want a status below 300. ``Places`` finds the sink: a Service's name is
looked up in the API, since the gateway need not be where the cluster's names resolve.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from lightship import errors
from lightship.client.client import Client
from lightship.gateway import pod_sockets
from lightship.gateway.options import Limits
from lightship.gateway.payloads import EVENT_TYPE, Event
from lightship.kube.resources import SERVICES

_SAFE = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"%')
LIMIT_ANSWER_BYTES = 64 * 1024


class Places:
    """Where sinks are. Raises ``OSError`` where one cannot be found or reached."""

    def __init__(self, client: Client, sockets: Path | None) -> None:
        self._client = client
        self._sockets = sockets

    async def connect(self, url: str, namespace: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a URL's host; a bare name is a Service's of the namespace."""
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        context = ssl.create_default_context() if secure else None
        address = await self._address(host, namespace)
        made = await pod_sockets.connect(self._sockets, address, port)
        name = host if secure else None
        if made is not None:
            return await asyncio.open_connection(sock=made, ssl=context, server_hostname=name)
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=name)

    async def _address(self, host: str, namespace: str) -> str:
        labels = host.removesuffix(".").removesuffix(".cluster.local").removesuffix(".svc").split(".")
        if self._sockets is None or len(labels) > 2 or host == "localhost":
            return host
        try:
            service = await self._client.get(SERVICES, labels[0], labels[1] if len(labels) == 2 else namespace)
        except errors.NotFound:
            return host
        except errors.LightshipError as problem:
            raise OSError(f"could not look up {host}: {problem.message}") from problem
        address = str((service.get("spec") or {}).get("clusterIP") or "")
        return address if address not in ("", "None") else host


class CloudEvents:
    """The sink: one kept-alive connection."""

    def __init__(self, url: str, places: Places, limits: Limits) -> None:
        self._url = url
        self._places = places
        self._limits = limits
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def take(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                async with asyncio.timeout(self._limits.payload_seconds):
                    await self._post(event)
            except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as problem:
                await self.close()
                raise OSError(f"could not deliver to {self._url}: {problem}") from problem

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()

    async def _post(self, event: Event) -> None:
        if self._streams is None:
            self._streams = await self._places.connect(self._url, event.namespace)
        reader, writer = self._streams
        writer.write(request(self._url, event))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else -1
        if 0 <= length <= LIMIT_ANSWER_BYTES and b"connection: close" not in head:
            await reader.readexactly(length)
        elif status != 204:
            await self.close()
        if status >= 300:
            raise OSError(f"it answered {status}")


def request(url: str, event: Event) -> bytes:
    """The POST of one copy."""
    parts = urlsplit(url)
    time = datetime.fromtimestamp(event.time, UTC).isoformat().replace("+00:00", "Z")
    attributes = {
        "specversion": "1.0", "id": event.id, "type": EVENT_TYPE + event.kind,
        "source": f"http://{event.name}-{event.component}.{event.namespace}", "time": time, "recordedtime": time,
        "inferenceservicename": event.name, "namespace": event.namespace, "component": event.component,
        "endpoint": event.endpoint, "metadata": _json(event.metadata), "annotations": _json(dict(event.annotations))}
    lines = [f"POST {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"host: {parts.netloc}",
             f"content-type: {quote(event.content_type or 'application/json', safe=_SAFE + ' ')}",
             f"content-length: {len(event.body)}"]
    # Values are percent-encoded as the binding for HTTP says, so none can end its line.
    lines += [f"ce-{name}: {quote(value, safe=_SAFE)}" for name, value in attributes.items() if value]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + event.body


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() if value else ""
