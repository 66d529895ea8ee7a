"""What a request or an answer comes to whose head has been seen before, byte for byte. ``downstream`` and ``upstream``
ask me before they parse.

A head is parsed, checked and routed by rules that depend on its bytes and the route table alone, so what was learnt of
one holds for its like: clients repeat themselves on every connection, and so do model servers. What differs in a single
byte is parsed as any other. Requests are kept under their digest and without their token, so that this process keeps
no tokens; whether a token still holds is asked each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lightship.gateway import heads
from lightship.gateway.heads import RequestHead, ResponseHead
from lightship.gateway.routes import Match, Table

LIMIT_REQUESTS = 1024
LIMIT_ANSWERS = 256
LIMIT_HEAD_BYTES = 4096
END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came whole: its head, where it goes by a table, and the head to send up, but for its end."""

    head: RequestHead
    match: Match
    table: Table
    permit: bytes
    """What the gatekeeper knows the caller's right to this target by."""
    upward: bytes
    size: int
    """Of head and body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole: its head, and the head to send down."""

    head: ResponseHead
    downward: bytes
    size: int


class Recipes:
    """The heads that were learnt; when there are too many, all are forgotten."""

    def __init__(self) -> None:
        self._requests: dict[bytes, Request] = {}
        self._answers: dict[bytes, Answer] = {}

    def request(self, digest: bytes) -> Request | None:
        return self._requests.get(digest)

    def learn_request(self, digest: bytes, recipe: Request) -> None:
        if len(self._requests) >= LIMIT_REQUESTS:
            self._requests.clear()
        self._requests[digest] = recipe

    def answer(self, head: bytes) -> Answer | None:
        return self._answers.get(head)

    def learn_answer(self, raw: bytes, head: ResponseHead, size: int) -> None:
        if len(raw) > LIMIT_HEAD_BYTES:
            return
        if len(self._answers) >= LIMIT_ANSWERS:
            self._answers.clear()
        self._answers[raw] = Answer(head, heads.to_client(head, chunked=False, keep=True), size)


def digest(raw: bytes) -> bytes:
    """The name of a request's head."""
    return hashlib.blake2b(raw, digest_size=16).digest()


def repeats(head: RequestHead) -> bool:
    """Whether a request is of the plain kind that is worth learning."""
    return (head.length is not None and head.http11 and head.keep_alive and not head.upgrade
            and not head.header(b"expect"))


def without_token(head: RequestHead) -> RequestHead:
    """The head as it may be kept."""
    kept = [field for field in head.headers if field[0] not in (b"authorization", b"cookie")]
    return RequestHead(head.method, head.target, kept, head.length, head.http11, head.keep_alive)
