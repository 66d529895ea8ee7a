"""The gRPC health check, ``grpc.health.v1.Health/Check``, in as much HTTP/2 as one request takes. ``probes`` calls me.

I send one request on one stream, and read frames until the answer's message has come or the stream has ended. What the
server compresses with HPACK I need not understand: a message that says SERVING comes in a DATA frame, uncompressed.
"""

from __future__ import annotations

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY = 0, 1, 3, 4, 6, 7
_ACKNOWLEDGE, _END_STREAM, _END_HEADERS, _PADDED = 1, 1, 4, 8
_STREAM = 1
_FRAME_LIMIT_BYTES = 16384
_FRAMES_LIMIT = 64
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


async def check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> str:
    """Why the service is not healthy, or nothing. The caller bounds the time and closes the connection."""
    writer.write(request(authority, service))
    await writer.drain()
    body = b""
    for _ in range(_FRAMES_LIMIT):
        kind, flags, stream, payload = await _frame(reader)
        if kind == _SETTINGS and not flags & _ACKNOWLEDGE:
            writer.write(_encode(_SETTINGS, _ACKNOWLEDGE, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGE:
            writer.write(_encode(_PING, _ACKNOWLEDGE, 0, payload))
        elif kind == _GO_AWAY or (kind == _RESET and stream == _STREAM):
            return "the server ended the call"
        elif kind == _DATA and stream == _STREAM:
            body += payload[1:len(payload) - payload[0]] if flags & _PADDED else payload
        if (status := status_of(body)) is not None:
            name = _STATUSES.get(status, str(status))
            return "" if status == _SERVING else f"service unhealthy (responded with \"{name}\")"
        if kind in (_DATA, _HEADERS) and stream == _STREAM and flags & _END_STREAM:
            return "the server answered with no health status: it may not implement grpc.health.v1.Health"
    return "the server talked on and on without an answer"


def request(authority: str, service: str) -> bytes:
    """The whole of what a client says: preface, settings, headers, the message."""
    name = service.encode()
    message = (b"\x0a" + _varint(len(name)) + name) if name else b""
    headers = b"".join((
        b"\x83", b"\x86",  # :method POST, :scheme http
        _literal(b"\x04", "/grpc.health.v1.Health/Check"), _literal(b"\x01", authority),
        _literal(b"\x0f\x10", "application/grpc"), b"\x00" + _text("te") + _text("trailers"),
        b"\x00" + _text("user-agent") + _text("kube-probe/lightship")))
    return b"".join((_PREFACE, _encode(_SETTINGS, 0, 0, b""), _encode(_HEADERS, _END_HEADERS, _STREAM, headers),
                     _encode(_DATA, _END_STREAM, _STREAM, b"\0" + struct.pack(">I", len(message)) + message)))


def status_of(body: bytes) -> int | None:
    """The status in a response's bytes; None while they are not all there."""
    if len(body) < 5:
        return None
    length = struct.unpack(">I", body[1:5])[0]
    if len(body) < 5 + length:
        return None
    message = body[5:5 + length]
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > _FRAME_LIMIT_BYTES:
        raise ValueError("the server does not speak HTTP/2")
    payload = await reader.readexactly(length) if length else b""
    return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, payload


def _encode(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(index: bytes, value: str) -> bytes:
    """A header whose name is in the static table, not to be indexed."""
    return index + _text(value)


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    return b"\x7f" + _varint(len(raw) - 127) + raw


def _varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))
