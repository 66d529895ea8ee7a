"""HTTP/2's frames: their kinds, flags and codes, what one looks like, and the limits of a connection. Pure.

``http2`` reads and writes with me.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(10)
ENHANCE_YOUR_CALM = 11
MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, HEADER_LIST_SIZE = 3, 4, 5, 6

HEAD = struct.Struct(">HBBBI")
HEAD_BYTES = 9
FRAME_BYTES = 16_384
"""The largest frame we take, and send until the client allows more."""
WINDOW_BYTES = 65_535
LIMIT_WINDOW = (1 << 31) - 1
STREAM_MASK = (1 << 31) - 1
LINGER_SECONDS = 2.0
"""How long a connection that we ended is read on from, so that the client can read why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Everything that is bounded, each with its unit in its name."""

    body_bytes: int = 64 * 1024 * 1024
    connection_bytes: int = 128 * 1024 * 1024
    """All of one connection's unfinished bodies together."""
    head_bytes: int = 64 * 1024
    streams: int = 256
    stream_window_bytes: int = 1024 * 1024
    connection_window_bytes: int = 4 * 1024 * 1024
    read_seconds: float = 30.0
    """From a request's first frame to its last."""
    idle_seconds: float = 120.0
    cancels: int = 1000
    """How many requests a client may cancel at once, and half as many a second from then on."""
    drain_seconds: float = 25.0


class Stop(Exception):
    """The connection must end with this code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, number) + payload


def unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Stop(PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1:len(payload) - payload[0]]
