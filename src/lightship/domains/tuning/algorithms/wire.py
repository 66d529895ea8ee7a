"""What the server and a worker say to each other over its two pipes: msgpack behind a length of four bytes. Pure.

``worker`` asks, ``process`` answers, one at a time. The asker alone decides what the worker keeps: it sends a study's
``search`` when the worker is to begin it (again), and then only what has ended since.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from lightship.domains.tuning.algorithms.search import Reply, Search, Told

HEAD_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Ask:
    """``forget`` comes first; then, unless ``experiment`` is empty, its study is told and asked for ``count``."""

    experiment: str = ""
    search: Search | None = None
    ended: tuple[Told, ...] = ()
    running: tuple[Told, ...] = ()
    count: int = 0
    forget: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Either ``missing`` (a package), or ``error`` (what was raised), or the ``reply``."""

    reply: Reply | None = None
    missing: str = ""
    error: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_ASKS = msgspec.msgpack.Decoder(Ask)
_ANSWERS = msgspec.msgpack.Decoder(Answer)


def frame(message: Ask | Answer) -> bytes:
    body = _ENCODER.encode(message)
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def read_ask(body: bytes) -> Ask:
    return _ASKS.decode(body)


def read_answer(body: bytes) -> Answer:
    return _ANSWERS.decode(body)
