"""Exec and attach: one session's streams as a client knows them, over a WebSocket or SPDY.

``endpoint`` calls ``serve`` once the connection has left HTTP. Each client is a ``Client``: where output goes, and
what feeds the session. A client that leaves ends the session.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from lightship import errors
from lightship.client.sessions import STDERR, STDIN, STDOUT, End, Session, Wanted
from lightship.cluster.apiserver import statuses
from lightship.cluster.apiserver.streams import spdy
from lightship.cluster.apiserver.streams.websocket import INTERNAL_ERROR, WebSocket

ERROR, RESIZE, CLOSE = 3, 4, 255
STREAM_SECONDS = 30.0
"""How long a SPDY client may take to make the streams that it asked for."""

WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                       "base64.channel.k8s.io")
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")

Open = Callable[[], Awaitable[Session]]


class Client(Protocol):
    """The client's side of a session."""

    async def feed(self, session: Session) -> None:
        """Input and sizes into the session, until the client has left."""
        ...

    async def send(self, stream: int, data: bytes) -> None: ...

    async def finish(self, status: dict[str, Any]) -> None:
        """The session has ended so; the client is told and let go."""
        ...


async def serve(client: Client, open_session: Open, wanted: Wanted) -> None:
    """One session from its beginning to its end. Raises ``ConnectionError`` when the client is gone."""
    try:
        session = await open_session()
    except errors.LightshipError as error:
        await client.finish(statuses.status_of(error))
        return
    try:
        feeding = asyncio.create_task(client.feed(session))
        working = asyncio.create_task(_work(client, session, wanted))
        try:
            await asyncio.wait((feeding, working), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            elif feeding.done():
                feeding.result()
        finally:
            for task in (feeding, working):
                task.cancel()
            await asyncio.gather(feeding, working, return_exceptions=True)
    finally:
        await session.close()


async def _work(client: Client, session: Session, wanted: Wanted) -> None:
    async def pump(stream: int) -> None:
        while data := await session.read(stream):
            await client.send(stream, data)

    outputs = [STDOUT] * wanted.stdout + [STDERR] * (wanted.stderr and not wanted.tty)
    pumps = [asyncio.create_task(pump(stream)) for stream in outputs]
    try:
        await asyncio.gather(*pumps)
        end = await session.wait()
    finally:
        for task in pumps:
            task.cancel()
    if end.error and outputs:
        # As a shell tells it: the words on the error stream, and the code that stands for them.
        await client.send(outputs[-1], f"OCI runtime exec failed: exec failed: unable to start container process: "
                                       f"{end.error}: unknown\n".encode())
    await client.finish(_status(end))


def _status(end: End) -> dict[str, Any]:
    if not end.code and not end.error:
        return {"metadata": {}, "status": "Success"}
    if not end.code:
        return statuses.status_of(errors.InternalError(end.error))
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code: exit code {end.code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(end.code)}]}}


def _plain(status: dict[str, Any]) -> bytes:
    """What the older protocols have for a status: words, or nothing for success."""
    return b"" if status["status"] == "Success" else str(status["message"]).encode()


def _resize(session: Session, data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):  # what is no size changes none
        size = msgspec.json.decode(data, type=_Size)
        session.resize(min(max(size.Width, 0), 65535), min(max(size.Height, 0), 65535))


class _Size(msgspec.Struct):
    Width: int = 0
    Height: int = 0


class WebSocketClient:
    """Channels in messages: the first byte (or digit, in base64) says which."""

    def __init__(self, websocket: WebSocket, protocol: str) -> None:
        self._websocket = websocket
        self._base64 = "base64" in protocol
        self._states = protocol.startswith(("v4", "v5"))
        self._closes = protocol.startswith("v5")

    async def feed(self, session: Session) -> None:
        while (message := await self._websocket.receive()) is not None:
            if not message:
                continue
            channel, data = message[0], message[1:]
            if self._base64:
                channel -= ord("0")
                try:
                    data = base64.b64decode(data, validate=True)
                except binascii.Error:
                    await self._websocket.close(INTERNAL_ERROR, "the data is not base64")
                    return
            if channel == STDIN and data:
                await session.write(data)
            elif channel == RESIZE:
                _resize(session, data)
            elif channel == CLOSE and self._closes and data[:1] == bytes((STDIN,)):
                session.close_stdin()

    async def greet(self, wanted: Wanted) -> None:
        """An empty message on the lowest channel that is written: the client knows that it is connected."""
        await self.send(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR, b"")

    async def send(self, stream: int, data: bytes) -> None:
        if self._base64:
            await self._websocket.send(str(stream).encode() + base64.b64encode(data), text=True)
        else:
            await self._websocket.send(bytes((stream,)) + data)

    async def finish(self, status: dict[str, Any]) -> None:
        words = msgspec.json.encode(status) if self._states else _plain(status)
        if words:
            await self.send(ERROR, words)
        await self._websocket.close()


class SpdyClient:
    """A stream each, by the ``streamtype`` of its headers."""

    def __init__(self, connection: spdy.Connection, protocol: str) -> None:
        self._connection = connection
        self._states = protocol.startswith("v4")
        self._resizes = protocol.startswith(("v3", "v4"))
        self._streams: dict[str, spdy.Stream] = {}

    async def gather(self, wanted: Wanted) -> None:
        """Wait for the streams that the client said it would make. Raises ``TimeoutError``, ``spdy.SpdyError``."""
        needed = {"error"}
        needed |= {name for name, asked in (("stdin", wanted.stdin), ("stdout", wanted.stdout), (
            "stderr", wanted.stderr and not wanted.tty), ("resize", wanted.tty and self._resizes)) if asked}
        async with asyncio.timeout(STREAM_SECONDS):
            while not needed <= self._streams.keys():
                stream = await self._connection.accept()
                if stream is None:
                    raise ConnectionResetError("the client left before it had made its streams")
                kind = stream.headers.get("streamtype", "")
                if kind in self._streams or kind not in ("stdin", "stdout", "stderr", "error", "resize"):
                    await stream.reset()
                    continue
                self._streams[kind] = stream
                if kind in ("stdout", "stderr", "error"):
                    stream.discard()

    async def feed(self, session: Session) -> None:
        async def stdin() -> None:
            stream = self._streams["stdin"]
            while data := await stream.read():
                await session.write(data)
            session.close_stdin()

        async def resize() -> None:
            while data := await self._streams["resize"].read():
                for line in data.splitlines():
                    _resize(session, line)

        async def gone() -> None:
            while (stream := await self._connection.accept()) is not None:
                await stream.reset()  # nobody asked for it

        tasks = [asyncio.create_task(work()) for work, name in ((stdin, "stdin"), (resize, "resize"))
                 if name in self._streams]
        try:
            await gone()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, stream: int, data: bytes) -> None:
        await self._streams["stdout" if stream == STDOUT else "stderr"].write(data)

    async def finish(self, status: dict[str, Any]) -> None:
        words = msgspec.json.encode(status) if self._states else _plain(status)
        if words:
            await self._streams["error"].write(words)
        for stream in self._streams.values():
            await stream.finish()
        await self._connection.go_away()
