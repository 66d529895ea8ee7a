"""The server's side of WebSockets (RFC 6455) on a connection that has left HTTP.

``endpoint`` accepts the handshake, ``remote_command`` and ``port_forward`` send and receive whole messages. Pings are
answered while a message is awaited; what breaks the protocol gets its close code and an end. However many frames a
message comes in, it takes no more than its bytes.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

from lightship import errors
from lightship.client.transport import Duplex, Request
from lightship.cluster.apiserver.access import browsers

LIMIT_MESSAGE_BYTES = 4 * 1024 * 1024
LIMIT_CONTROL_BYTES = 125
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR, NOT_UTF8, TOO_BIG, INTERNAL_ERROR = 1000, 1002, 1007, 1009, 1011


def is_asked(request: Request) -> bool:
    """Whether a request wants to go on as a WebSocket."""
    return request.headers.get("upgrade", "").lower() == "websocket"


def accept(request: Request, supported: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The subprotocol to speak (empty where the client named none), and the answer's headers.

    The first of ``supported`` is the best: it is spoken whenever it is asked for, else the client's order counts.
    Raises ``errors.BadRequest`` for a handshake that cannot be answered.
    """
    key = request.headers.get("sec-websocket-key", "")
    if request.method != "GET" or not key or request.headers.get("sec-websocket-version") != "13":
        raise errors.BadRequest("this is no WebSocket handshake of version 13")
    asked = browsers.protocols(request.headers)
    chosen = supported[0] if supported[0] in asked else next((name for name in asked if name in supported), "")
    if asked and not chosen:
        raise errors.BadRequest(f"none of the subprotocols {', '.join(asked)[:200]} is spoken here",
                                remedy=f"Ask for one of {', '.join(supported)}")
    token = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": token}
    return chosen, headers | ({"sec-websocket-protocol": chosen} if chosen else {})


class ProtocolError(Exception):
    """The client broke the protocol; ``code`` is what it is closed with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class WebSocket:
    """One WebSocket. One task receives; any may send, a message is written whole."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._buffer = bytearray()
        self._closed = False

    async def receive(self) -> bytes | None:
        """The next message; None once the client has closed or broken the protocol."""
        try:
            return await self._message()
        except ProtocolError as error:
            await self.close(error.code, str(error))
            return None

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Raises ``ConnectionError`` when the client is gone."""
        if not self._closed:
            await self._duplex.write(_head(_TEXT if text else _BINARY, len(data)) + data)

    async def ping(self) -> None:
        """Data that a client which is gone answers with the end of its connection."""
        if not self._closed:
            await self._duplex.write(_head(_PING, 0))

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        body = struct.pack("!H", code) + reason.encode()[:LIMIT_CONTROL_BYTES - 2]
        await self._duplex.write(_head(_CLOSE, len(body)) + body)

    async def _message(self) -> bytes | None:
        message, kind = bytearray(), 0
        while True:
            frame = await self._frame(LIMIT_MESSAGE_BYTES - len(message))
            if frame is None:
                return None
            final, opcode, data = frame
            if opcode == _CLOSE:
                code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else NORMAL
                await self.close(code if 1000 <= code < 5000 and code not in (1004, 1005, 1006) else PROTOCOL_ERROR)
                return None
            if opcode == _PING:
                if not self._closed:
                    await self._duplex.write(_head(_PONG, len(data)) + data)
            elif opcode != _PONG:
                if (opcode == _CONTINUATION) != bool(kind):
                    raise ProtocolError(PROTOCOL_ERROR, "a message began inside another, or without a beginning")
                kind = kind or opcode
                if final:
                    return _checked(kind, bytes(message) + data if message else data)
                message += data

    async def _frame(self, limit_bytes: int) -> tuple[bool, int, bytes] | None:
        if not await self._need(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode, length = first & 15, second & 127
        control = opcode >= _CLOSE
        if first & 0x70 or opcode not in (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
            raise ProtocolError(PROTOCOL_ERROR, "an unknown frame")
        if not second & 128:
            raise ProtocolError(PROTOCOL_ERROR, "a client's frames are masked")
        if control and (length > LIMIT_CONTROL_BYTES or not first & 128):
            raise ProtocolError(PROTOCOL_ERROR, "a control frame is short and whole")
        width = {126: 2, 127: 8}.get(length, 0)
        if not await self._need(6 + width):
            return None
        if width:
            length = int.from_bytes(self._buffer[2:2 + width], "big")
        if not control and length > limit_bytes:
            raise ProtocolError(TOO_BIG, f"the limit of a message is {LIMIT_MESSAGE_BYTES} bytes")
        start = 6 + width
        if not await self._need(start + length):
            return None
        data = _unmasked(bytes(self._buffer[start:start + length]), bytes(self._buffer[start - 4:start]))
        del self._buffer[:start + length]
        return bool(first & 128), opcode, data

    async def _need(self, count: int) -> bool:
        while len(self._buffer) < count:
            data = await self._duplex.read()
            if not data:
                return False
            self._buffer += data
        return True


class MessageBytes:
    """A ``Duplex`` whose bytes travel in binary messages of a WebSocket: a tunnel."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def read(self) -> bytes:
        while (data := await self._websocket.receive()) is not None:
            if data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        await self._websocket.send(data)


def _checked(kind: int, data: bytes) -> bytes:
    if kind == _TEXT:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(NOT_UTF8, "a text message is UTF-8") from error
    return data


def _head(opcode: int, length: int) -> bytes:
    if length < 126:
        return bytes((128 | opcode, length))
    return struct.pack("!BBH", 128 | opcode, 126, length) if length < 65536 else struct.pack(
        "!BBQ", 128 | opcode, 127, length)


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
