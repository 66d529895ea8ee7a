"""Heads of requests and answers as they pass through: what is kept, dropped and added. Pure; ``exchange`` calls me."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

Header = tuple[bytes, bytes]
"""A lower-case name and its value."""

_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"transfer-encoding", b"upgrade",
})
# Not for the model server: framing is made anew, Expect is answered here, the caller's token and session are the
# platform's and a model's container must not see them, and who forwarded what is ours to say.
_FROM_CLIENT = _HOP_BY_HOP | {
    b"content-length", b"expect", b"authorization", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    b"x-forwarded-prefix", b"forwarded",
}
_FROM_UPSTREAM = _HOP_BY_HOP | {b"content-length"}
# What must not come after a body, since it says how the body is to be read, to whom it goes, or who sends it.
_NO_TRAILERS = _FROM_CLIENT | {
    b"host", b"cookie", b"set-cookie", b"trailer", b"content-type", b"content-encoding", b"content-range", b"range",
    b"cache-control", b"max-forwards", b"age", b"expires", b"date", b"location", b"www-authenticate",
}
_SESSION_COOKIE = b"lightship_session"
_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
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
    upgrade: bytes = b""
    """The protocol that the client asks to change to, where it is one that is passed through."""

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


def forwarded_for(address: str) -> bytes:
    """The end of a head for the model server."""
    return b"x-forwarded-for: " + address.encode() + b"\r\n\r\n"


def to_upstream(head: RequestHead, path: str, *, framed: bool = True) -> bytes:
    """The head that the model server gets, but for its end (``forwarded_for``), and its framing where not wanted."""
    named = named_by_connection(head.headers)
    dropped = _FROM_CLIENT | named if named else _FROM_CLIENT
    host = b""
    lines = [head.method + b" " + path.encode("latin-1") + b" HTTP/1.1"]
    for name, value in head.headers:
        if name in dropped:
            if name == b"te" and b"trailers" in value:
                lines.append(b"te: trailers")
            continue
        if name == b"host":
            host = value
        elif name == b"cookie" and _SESSION_COOKIE in value:
            value = without_session(value)
        if name == b"cookie" and not value:
            continue
        lines.append(name + b": " + value)
    if head.upgrade:
        lines.append(b"connection: upgrade\r\nupgrade: " + head.upgrade)
    elif head.length is None:
        lines.append(b"transfer-encoding: chunked")
    elif framed and (head.length or head.method not in _BODILESS):
        lines.append(b"content-length: %d" % head.length)
    lines.append(b"x-forwarded-proto: http\r\nx-forwarded-host: " + host + b"\r\n")
    return b"\r\n".join(lines)


def to_client(head: ResponseHead, *, chunked: bool, keep: bool) -> bytes:
    """The head that the client gets."""
    named = named_by_connection(head.headers)
    dropped = _FROM_UPSTREAM | named if named else _FROM_UPSTREAM
    lines = [b"HTTP/1.1 %d " % head.status + head.reason]
    lines += [name + b": " + value for name, value in head.headers if name not in dropped]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    elif head.length is not None:
        lines.append(b"content-length: %d" % head.length)
    lines.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
    return b"\r\n".join(lines)


def upgraded(head: ResponseHead, protocol: bytes) -> bytes:
    """The head that tells the client that its connection speaks another protocol from here on."""
    lines = [b"HTTP/1.1 101 " + head.reason, b"connection: upgrade\r\nupgrade: " + protocol]
    lines += [name + b": " + value for name, value in head.headers if name not in _FROM_UPSTREAM]
    return b"\r\n".join((*lines, b"\r\n"))


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


def last_chunk(trailers: Sequence[Header]) -> bytes:
    """The end of a chunked body, with the fields that may follow one."""
    kept = [b"%b: %b\r\n" % (name, value) for name, value in trailers if name not in _NO_TRAILERS]
    return b"".join((b"0\r\n", *kept, b"\r\n")) if kept else LAST_CHUNK


def content_length(headers: Iterable[Header]) -> int | None:
    """The declared length; the parser has refused what is no number and what contradicts itself."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def upgrade_of(head: RequestHead) -> bytes:
    """The protocol that a client asks to change to, where it is one that is passed through: WebSocket."""
    protocol = head.header(b"upgrade").strip().lower()
    if protocol != b"websocket" or not head.http11 or head.method != b"GET":
        return b""
    tokens = {token.strip().lower() for name, value in head.headers if name == b"connection"
              for token in value.split(b",")}
    return protocol if b"upgrade" in tokens else b""


def is_chunked(headers: Iterable[Header]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)


def named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Headers that a Connection header names are for one hop only."""
    named = [value.lower() for name, value in headers if name == b"connection"]
    if not named or named == [b"keep-alive"] or named == [b"close"]:
        return frozenset()
    return frozenset(token.strip().lower() for value in named for token in value.split(b","))


def without_session(cookie: bytes) -> bytes:
    """A Cookie header without the platform's own."""
    pairs = [pair.strip() for pair in cookie.split(b";")]
    return b"; ".join(pair for pair in pairs if pair.partition(b"=")[0].strip() != _SESSION_COOKIE)
