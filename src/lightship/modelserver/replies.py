"""What goes back over HTTP/1.1: whole answers and their bytes. Pure; ``http1`` and the endpoints share me."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

JSON = b"application/json"
CHUNKED = b"transfer-encoding: chunked\r\n"

_PHRASES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def error(status: int, message: str) -> Response:
    """The shape of every failure: ``{"error": message}``."""
    return Response(status, msgspec.json.encode({"error": message}))


def json(value: Any, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value))


def phrase(status: int) -> bytes:
    """The first line."""
    return _PHRASES.get(status) or b"HTTP/1.1 %d \r\n" % status


def encoded(response: Response, *, keep: bool, head_only: bool = False) -> bytes:
    """The answer as it goes over the wire."""
    body = response.body
    if not response.headers and keep and not head_only:
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            phrase(response.status), response.content_type, len(body), body)
    parts = [phrase(response.status), b"content-type: ", response.content_type,
             b"\r\ncontent-length: %d\r\n" % len(body)]
    for name, value in response.headers:
        parts += (name, b": ", value, b"\r\n")
    if not keep:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    if not head_only:
        parts.append(body)
    return b"".join(parts)
