"""What a request or an answer comes to whose head has been seen before. ``downstream`` and ``upstream`` ask me before
they parse.

A head is parsed, checked and routed by rules that depend on its bytes and the route table alone, so what was learnt of
one holds for its like: clients repeat themselves on every connection, and so do model servers. Of requests the lines
that differ from one to the next (how long the body is, ids of requests and traces) are taken out first, where they are
plain; what differs in any other byte is parsed as any other. Requests are kept under their digest and without their
token, so that this process keeps no tokens; whether a token still holds is asked each time.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from lightship.gateway import heads
from lightship.gateway.heads import Header, RequestHead, ResponseHead
from lightship.gateway.routes import Match, Table

LIMIT_REQUESTS = 1024
LIMIT_SEEN_ONCE = 4096
LIMIT_ANSWERS = 256
LIMIT_HEAD_BYTES = 4096
LIMIT_LENGTH_DIGITS = 9
END = b"\r\n\r\n"
LASTING = frozenset({
    b"host", b"authorization", b"cookie", b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    b"x-forwarded-prefix", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"knative-serving-tag"})
"""Headers that say where a request goes, who sends it, or how it is read or passed on."""
_ALTERNATIVES = b"|".join(sorted(LASTING))
_LINES = re.compile(rb"\r\n(?!(?:" + _ALTERNATIVES + rb"):)([-!#$%&'*+.^_`|~0-9A-Za-z]+): *([!-~](?:[ -~]*[!-~])?)"
                    rb"(?=\r\n)", re.IGNORECASE)
_OTHERS = re.compile(rb"\r\n(?!(?:" + _ALTERNATIVES + rb"):)[^\r]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came whole: its head of its lasting lines, where it goes by a table, what goes up."""

    head: RequestHead
    match: Match
    table: Table
    permit: bytes
    """What the gatekeeper knows the caller's right to this target by."""
    upward: bytes
    """The lasting part of the head to send up, without its end."""
    has_length: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe for one head: its bytes, its other lines, the head to send up, the size of head and body."""

    raw: bytes
    recipe: Request
    varying: tuple[Header, ...]
    upward: bytes
    size: int

    @property
    def whole_head(self) -> RequestHead:
        """The head with all of its lines but the token, for whoever wants to see them."""
        head = self.recipe.head
        return RequestHead(head.method, head.target, [*head.headers, *self.varying], head.length, head.http11,
                           head.keep_alive)


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
        self._once: set[bytes] = set()
        self._answers: dict[bytes, Answer] = {}

    def find(self, raw: bytes) -> tuple[bytes, Found | None]:
        """The name of a request's head, empty where it cannot be learnt, and what was learnt of its like."""
        varying = _LINES.findall(raw)
        rest = _LINES.sub(b"", raw) if varying else raw
        name = digest(rest)
        recipe = self._requests.get(name)
        if recipe is not None:
            return name, _applied(recipe, raw, varying)
        # A line that would have been taken out, were it plain, is there still.
        return b"" if _OTHERS.search(rest) else name, None

    def worth_learning(self, name: bytes) -> bool:
        """Whether a head has come before: one that comes once is not worth it."""
        if name in self._once:
            return True
        if len(self._once) >= LIMIT_SEEN_ONCE:
            self._once.clear()
        self._once.add(name)
        return False

    def learn_request(self, name: bytes, recipe: Request) -> None:
        if len(self._requests) >= LIMIT_REQUESTS:
            self._requests.clear()
        self._requests[name] = recipe

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
    """Whether a request is of the plain kind that can be learnt."""
    return (head.length is not None and head.http11 and head.keep_alive and not head.upgrade
            and not head.header(b"expect") and not heads.named_by_connection(head.headers))


def lasting(head: RequestHead) -> RequestHead:
    """The head as it may be kept: what lasts, without secrets."""
    kept = [(name, heads.without_session(value) if name == b"cookie" else value) for name, value in head.headers
            if name in LASTING and name != b"authorization"]
    return RequestHead(head.method, head.target, kept, 0, head.http11, head.keep_alive)


def _applied(recipe: Request, raw: bytes, lines: list[tuple[bytes, bytes]]) -> Found | None:
    """A recipe for this head; None where its lines do not fit it."""
    varying = tuple([(name.lower(), value) for name, value in lines])
    lengths = [value for name, value in varying if name == b"content-length"]
    if len(lengths) != recipe.has_length:
        return None
    length = 0
    if lengths:
        if not lengths[0].isdigit() or len(lengths[0]) > LIMIT_LENGTH_DIGITS or lengths[0][:1] == b"0":
            return None
        length = int(lengths[0])
    upward = recipe.upward + b"".join([b"%b: %b\r\n" % field for field in varying])
    return Found(raw, recipe, varying, upward, len(raw) + length)
