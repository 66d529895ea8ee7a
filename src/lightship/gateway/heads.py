"""Heads of requests and answers as they pass through: what is kept, dropped and added. Pure; ``exchange`` calls me."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from lightship.gateway.routes import Match

Header = tuple[bytes, bytes]
"""A lower-case name and its value."""

_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade",
})
# Not for the model server: framing is made anew, Expect is answered here, the caller's token and session are the
# platform's and a model's container must not see them, and who forwarded what is ours to say.
_FROM_CLIENT = _HOP_BY_HOP | {
    b"content-length", b"expect", b"authorization", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    b"x-forwarded-prefix", b"forwarded",
}
_FROM_UPSTREAM = _HOP_BY_HOP | {b"content-length"}
_SESSION_COOKIE = b"lightship_session"
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class RequestHead:
    """A request's head. ``length`` is None where the body is chunked (or the request has none, then 0)."""

    method: bytes
    target: str
    headers: list[Header]
    length: int | None
    http11: bool
    keep_alive: bool

    def header(self, name: bytes) -> bytes:
        """The value of a header's first occurrence, or empty."""
        for found, value in self.headers:
            if found == name:
                return value
        return b""

    def count(self, name: bytes) -> int:
        return sum(found == name for found, _ in self.headers)


@dataclass(slots=True)
class ResponseHead:
    """An answer's head. ``length`` None: chunked or until the connection ends. ``bodiless``: no body follows."""

    status: int
    reason: bytes
    headers: list[Header]
    length: int | None
    bodiless: bool


def to_upstream(head: RequestHead, match: Match, client: str) -> bytes:
    """The head that the model server gets."""
    dropped = _FROM_CLIENT | _named_by_connection(head.headers)
    parts = [head.method, b" ", match.path.encode("latin-1"), b" HTTP/1.1\r\n"]
    for name, value in head.headers:
        if name in dropped:
            continue
        if name == b"cookie" and _SESSION_COOKIE in value:
            value = _without_session(value)
            if not value:
                continue
        parts += (name, b": ", value, b"\r\n")
    if head.length is None:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif head.length or head.method not in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        parts.append(b"content-length: %d\r\n" % head.length)
    parts += (b"x-forwarded-for: ", client.encode(), b"\r\nx-forwarded-proto: http\r\nx-forwarded-host: ",
              head.header(b"host"), b"\r\n\r\n")
    return b"".join(parts)


def to_client(head: ResponseHead, *, chunked: bool, keep: bool) -> bytes:
    """The head that the client gets."""
    dropped = _FROM_UPSTREAM | _named_by_connection(head.headers)
    parts = [b"HTTP/1.1 %d " % head.status, head.reason, b"\r\n"]
    for name, value in head.headers:
        if name not in dropped:
            parts += (name, b": ", value, b"\r\n")
    if chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif head.length is not None:
        parts.append(b"content-length: %d\r\n" % head.length)
    parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
    return b"".join(parts)


def answer(status: int, body: bytes, *, keep: bool, content_type: str = "application/json",
           extra: Sequence[Header] = ()) -> bytes:
    """A whole answer of the gateway's own."""
    parts = [b"HTTP/1.1 %d " % status, _PHRASES.get(status, b""), b"\r\ncontent-type: ", content_type.encode(),
             b"\r\ncontent-length: %d\r\n" % len(body)]
    for name, value in extra:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n" if keep else b"connection: close\r\n\r\n", body)
    return b"".join(parts)


def error_body(message: str, *, remedy: str = "", service: str = "") -> bytes:
    """The shape of every failure: ``{"error": ...}``, and what to do where there is something."""
    body = {"error": message}
    if service:
        body["inferenceService"] = service
    if remedy:
        body["remedy"] = remedy
    return msgspec.json.encode(body)


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def content_length(headers: Iterable[Header]) -> int | None:
    """The declared length; the parser has refused what is no number and what contradicts itself."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def is_chunked(headers: Iterable[Header]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Headers that a Connection header names are for one hop only."""
    named = [value for name, value in headers if name == b"connection"]
    if not named or named == [b"keep-alive"] or named == [b"close"]:
        return frozenset()
    return frozenset(token.strip().lower() for value in named for token in value.split(b","))


def _without_session(cookie: bytes) -> bytes:
    pairs = [pair.strip() for pair in cookie.split(b";")]
    return b"; ".join(pair for pair in pairs if pair.partition(b"=")[0].strip() != _SESSION_COOKIE)
