"""Metrics in what a trial prints or writes: ``name=value`` in text, or one JSON object a line. Pure.

``tally`` feeds me whole lines. Where no filter is given the default one is read by hand, in time linear in the line;
filters of users go through ``lib.captures``, whose cost is bounded whatever the pattern.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightship import errors
from lightship.kube import times
from lightship.lib import captures, regex
from lightship.records.readings import NO_TIME, Reading

DEFAULT_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
LIMIT_LINE_CHARACTERS = 16 * 1024
"""Of a longer line the beginning is read."""
LIMIT_FILTERS = 64
TIMESTAMP = "timestamp"
"""The key of a JSON line's time: RFC 3339, or seconds since 1970."""

_SPACE = "\t\n\f\r "
_NAME = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz|-")
_VALUE = re.compile(r"[\t\n\f\r ]*(?:([+-]?(?:nan|inf(?:inity)?))(?![\w.])"
                    r"|([+-]?[0-9]*(?:\.[0-9]+)?(?:[Ee][+-]?[0-9]+)?))", re.ASCII | re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Pairs = Callable[[str], Iterator[tuple[str, str]]]


@dataclass(frozen=True, kw_only=True)
class LineReader:
    """Finds the readings of ``metrics`` in lines: with ``json`` each line is an object, else ``pairs`` reads it."""

    metrics: tuple[str, ...]
    json: bool = False
    pairs: tuple[Pairs, ...] = ()

    def read(self, line: str, moment: datetime = NO_TIME) -> list[Reading]:
        """The line's readings; ``moment`` is their time where the line itself begins with none."""
        if not any(metric in line for metric in self.metrics):
            return []
        line = line[:LIMIT_LINE_CHARACTERS]
        return self._object(line, moment) if self.json else self._text(line, moment)

    def _text(self, line: str, moment: datetime) -> list[Reading]:
        first, space, _ = line.partition(" ")
        own = _time(first) if space and _MOMENT.match(first) else None
        return [Reading(time=own or moment, metric=name, value=value)
                for pairs in self.pairs for name, value in pairs(line) if name in self.metrics and value]

    def _object(self, line: str, moment: datetime) -> list[Reading]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return []  # a program's other output between its JSON lines
        if not isinstance(found, dict):
            return []
        time = _json_time(found.get(TIMESTAMP)) or moment
        return [Reading(time=time, metric=metric, value=found[metric].strip()) for metric in self.metrics
                if isinstance(found.get(metric), str) and found[metric].strip()]


def reader(metrics: Sequence[str], filters: Sequence[str] = (), *, json_lines: bool = False) -> LineReader:
    """Reads ``metrics``; a filter that cannot be read is refused with ``errors.InvalidInput``."""
    if json_lines:
        return LineReader(metrics=tuple(metrics), json=True)
    wanted = [text for text in filters if text != DEFAULT_FILTER]
    pairs: list[Pairs] = [_filtered(text) for text in wanted[:LIMIT_FILTERS]]
    if len(wanted) < len(filters) or not filters:
        pairs.append(_default)
    return LineReader(metrics=tuple(metrics), pairs=tuple(pairs))


def check_filter(text: str) -> str:
    """Why a filter cannot be used, or nothing: admission asks."""
    try:
        pattern = regex.compile(text)
    except regex.Refused as problem:
        return str(problem)
    if captures.groups(pattern) < 2:
        return "it needs two groups: the metric's name and its value"
    return ""


def _filtered(text: str) -> Pairs:
    if problem := check_filter(text):
        raise errors.InvalidInput(f"the metrics filter {text[:200]!r} cannot be used: {problem}",
                                  remedy=r"Write it as {metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}")
    pattern = regex.compile(text)

    def pairs(line: str) -> Iterator[tuple[str, str]]:
        for found in captures.findall(pattern, line):
            yield found[1].strip(), found[2].strip()

    return pairs


def _default(line: str) -> Iterator[tuple[str, str]]:
    """``DEFAULT_FILTER``, and besides its numbers ``nan`` and ``inf``, of which upstream sees an empty value."""
    begin, at = 0, line.find("=")
    while at >= 0:
        stop = at
        while stop > begin and line[stop - 1] in _SPACE:
            stop -= 1
        start = stop
        while start > begin and line[start - 1] in _NAME:
            start -= 1
        begin = at + 1
        if start < stop:
            found = _VALUE.match(line, at + 1)
            assert found is not None  # every part of it may be empty
            begin = found.end()
            yield line[start:stop], found[1] or found[2] or ""
        at = line.find("=", begin)


def _time(text: str) -> datetime | None:
    try:
        return times.parse(text)
    except errors.InvalidInput:
        return None


def _json_time(value: object) -> datetime | None:
    if isinstance(value, str):
        return _time(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _EPOCH + timedelta(seconds=value)
        except (OverflowError, ValueError):
            return None
    return None
