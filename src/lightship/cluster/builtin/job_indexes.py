"""Sets of completion indexes as Jobs write them: ``0-2,5``. Pure; ``job_plan`` and ``job_policies`` call me."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """The indexes from ``first`` to ``last``, both included."""

    first: int
    last: int


Indexes = tuple[Span, ...]
"""Ascending, apart and without neighbours."""


def parse(text: str, below: int) -> Indexes:
    """Reads ``text``; what is malformed or not below ``below`` is left out."""
    spans = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            continue
        if int(first) < below:
            spans.append(Span(int(first), min(int(last or first), below - 1)))
    return _joined(spans)


def add(indexes: Indexes, more: Iterable[int]) -> Indexes:
    return _joined([*indexes, *(Span(index, index) for index in more)])


def total(indexes: Indexes) -> int:
    return sum(last - first + 1 for first, last in indexes)


def has(indexes: Indexes, index: int) -> bool:
    return any(first <= index <= last for first, last in indexes)


def common(one: Indexes, other: Indexes) -> int:
    """How many indexes are in both."""
    return sum(max(0, min(a.last, b.last) - max(a.first, b.first) + 1) for a in one for b in other)


def missing(indexes: Indexes, below: int) -> Iterator[int]:
    """The indexes below ``below`` that are not there, in order."""
    next_index = 0
    for first, last in indexes:
        yield from range(next_index, min(first, below))
        next_index = last + 1
    yield from range(next_index, below)


def text(indexes: Indexes) -> str:
    """As upstream: three or more in a row as a range, two apart."""
    parts = []
    for first, last in indexes:
        parts.append(str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}")
    return ",".join(parts)


def _joined(spans: Iterable[Span]) -> Indexes:
    result: list[Span] = []
    for span in sorted(spans):
        if span.last < span.first:
            continue
        if result and span.first <= result[-1].last + 1:
            result[-1] = Span(result[-1].first, max(result[-1].last, span.last))
        else:
            result.append(span)
    return tuple(result)
