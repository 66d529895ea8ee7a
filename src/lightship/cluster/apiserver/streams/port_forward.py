"""Ports of a Pod at a client: SPDY streams in pairs (``kubectl``), or two channels a port (the Python clients).

``endpoint`` calls me once the connection has left HTTP; ``dial`` is the node's. Each connection is copied both ways
and either side may end first.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence

from lightship import errors
from lightship.cluster.apiserver.streams import spdy
from lightship.cluster.apiserver.streams.websocket import WebSocket
from lightship.lib import tasks

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
CHANNELS = ("v4.channel.k8s.io", "v5.channel.k8s.io")
LIMIT_CONNECTIONS = 512
"""Connections that one client may have at once."""
LIMIT_HALVES = 64
"""Streams that wait for their other half."""
_READ_BYTES = 64 * 1024

Dial = Callable[[int], Awaitable[tuple[StreamReader, StreamWriter]]]

_log = logging.getLogger(__name__)


async def serve_spdy(connection: spdy.Connection, dial: Dial) -> None:
    """Until the client leaves."""
    halves: dict[str, dict[str, spdy.Stream]] = {}
    running = tasks.Tasks("forwarded ports")
    try:
        while (stream := await connection.accept()) is not None:
            kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
            if kind not in ("data", "error") or len(halves) > LIMIT_HALVES or len(running) >= LIMIT_CONNECTIONS:
                await stream.reset()
                continue
            pair = halves.setdefault(request, {})
            if kind in pair:
                await pair[kind].reset()
            pair[kind] = stream
            if len(pair) == 2:
                del halves[request]
                running.spawn(_forward(pair["data"], pair["error"], dial))
    finally:
        await running.close()


async def _forward(data: spdy.Stream, error: spdy.Stream, dial: Dial) -> None:
    error.discard()
    try:
        await _forwarded(data, error, dial)
    finally:
        data.discard()


async def _forwarded(data: spdy.Stream, error: spdy.Stream, dial: Dial) -> None:
    try:
        port = _port(data.headers.get("port", ""))
        reader, writer = await dial(port)
    except (errors.LightshipError, OSError) as problem:
        await error.write(f"error forwarding port {data.headers.get('port', '')[:20]}: {problem}".encode())
        await error.finish()
        await data.finish()
        return
    try:
        await _copy(reader, writer, data)
    except OSError as problem:
        _log.debug("a forwarded connection broke", extra={"cause": str(problem)})
        await data.reset()
    finally:
        writer.close()
    await error.finish()


async def _copy(reader: StreamReader, writer: StreamWriter, data: spdy.Stream) -> None:
    async def outwards() -> None:
        while chunk := await reader.read(_READ_BYTES):
            await data.write(chunk)
        await data.finish()

    async def inwards() -> None:
        while chunk := await data.read():
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    await _both(outwards(), inwards())


async def _both(*works: Awaitable[None]) -> None:
    """Both to their end; the first error ends the other and is raised."""
    running = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:6]) < 65536:
        raise errors.BadRequest(f"{text[:20]!r} is no port")
    return int(text)


def ports_of(texts: Sequence[str]) -> list[int]:
    """The ports of a request for channels. Raises ``errors.BadRequest``."""
    ports = [_port(text.strip()) for each in texts for text in each.split(",")]
    if not ports or len(ports) > 100:
        raise errors.BadRequest("name the ports to forward, 100 at most, as `ports=80`")
    return ports


async def serve_channels(websocket: WebSocket, ports: Sequence[int], dial: Dial) -> None:
    """Channel 2n carries the n-th port's data, 2n+1 its errors; each begins with the port's two bytes."""
    writers: dict[int, StreamWriter] = {}
    running = tasks.Tasks("forwarded channels")

    async def outwards(channel: int, reader: StreamReader) -> None:
        try:
            while chunk := await reader.read(_READ_BYTES):
                await websocket.send(bytes((channel,)) + chunk)
        except OSError as problem:
            await websocket.send(bytes((channel + 1,)) + str(problem).encode())
        left.discard(channel)
        if not left:
            await websocket.close()

    left = {2 * number for number in range(len(ports))}
    try:
        for channel, port in ((2 * number, port) for number, port in enumerate(ports)):
            await websocket.send(bytes((channel,)) + port.to_bytes(2, "little"))
            await websocket.send(bytes((channel + 1,)) + port.to_bytes(2, "little"))
            try:
                reader, writers[channel] = await dial(port)
            except (errors.LightshipError, OSError) as problem:
                await websocket.send(bytes((channel + 1,)) + f"error forwarding port {port}: {problem}".encode())
                left.discard(channel)
                continue
            running.spawn(outwards(channel, reader))
        while left and (message := await websocket.receive()) is not None:
            writer = writers.get(message[0]) if message else None
            if writer is not None and len(message) > 1:
                writer.write(message[1:])
                await writer.drain()
        await websocket.close()
    finally:
        for writer in writers.values():
            writer.close()
        await running.close()
