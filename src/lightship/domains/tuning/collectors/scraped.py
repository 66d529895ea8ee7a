"""Samples in Prometheus' text format. Pure; ``gather`` feeds me what a trial's Pod serves.

A sample counts by its name, whatever its labels; one without a time has that of the scrape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from lightship.records.readings import Reading

LIMIT_PAGE_BYTES = 4 * 1024 * 1024
_SAMPLE = re.compile(r"[ \t]*([0-9]*[A-Za-z_:][A-Za-z0-9_:]*)[ \t]*", re.ASCII)
_LABELS = re.compile(r'(?:[^"}\\]|\\.|"(?:[^"\\]|\\.)*")*\}', re.ASCII)
_VALUE = re.compile(r"[ \t]*([^ \t]+)(?:[ \t]+(-?[0-9]+))?[ \t]*\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def samples(page: str, metrics: Sequence[str], moment: datetime) -> Iterator[Reading]:
    """The readings of ``metrics`` on a page; what is no sample is passed over."""
    for line in page.split("\n"):
        if line.startswith("#") or not any(metric in line for metric in metrics):
            continue
        named = _SAMPLE.match(line)
        if named is None or named[1] not in metrics:
            continue
        at = named.end()
        if line[at:at + 1] == "{":
            labels = _LABELS.match(line, at + 1)
            if labels is None:
                continue
            at = labels.end()
        found = _VALUE.match(line, at)
        if found is not None:
            yield Reading(time=_time(found[2], moment), metric=named[1], value=found[1])


def _time(milliseconds: str | None, moment: datetime) -> datetime:
    if not milliseconds:
        return moment
    try:
        return _EPOCH + timedelta(milliseconds=int(milliseconds))
    except OverflowError:
        return moment
