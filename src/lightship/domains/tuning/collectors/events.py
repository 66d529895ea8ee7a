"""Scalars in TensorFlow's event files, without TensorFlow. Pure: bytes in as they come, readings out.

The sidecar feeds me each file of the directory. A file is a row of records (length, its checksum, an ``Event``, its
checksum); a scalar is a summary's ``simple_value``, as tensorboardX and older programs write it, or a tensor of one
number, as TensorFlow 2 does. What is no scalar (graphs, images, histograms) is passed over.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from lightship.lib import protowire
from lightship.records.readings import NO_TIME, Reading

LIMIT_RECORD_BYTES = 256 * 1024
"""A larger record (a graph, an image) is passed over; a length beyond 1 GiB says that the file is broken."""
LIMIT_PLAUSIBLE_BYTES = 1 << 30

_HEAD, _TAIL = 12, 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVENT_TIME, _EVENT_SUMMARY = 1, 5
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_TENSOR = 1, 2, 8
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 1, 2, 4
_FORMATS = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}
"""float, double, int32, int64, half: as a tensor's content has them."""
_LISTED = {5: "<f", 6: "<d"}
"""The fields for single floats and doubles; whole numbers are in 7 and 10."""


@dataclass(kw_only=True)
class EventFile:
    """One event file. ``folder`` is where it lies under the watched directory."""

    metrics: Sequence[str]
    folder: str
    broken: bool = False
    _held: bytearray = field(default_factory=bytearray)
    _skip: int = 0

    def feed(self, data: bytes) -> list[Reading]:
        """The readings that are whole with ``data``; after a broken record no more come."""
        self._held += data
        found: list[Reading] = []
        while not self.broken and (record := self._record()) is not None:
            try:
                found.extend(self._readings(record))
            except (protowire.Broken, OverflowError):
                self.broken = True
        return found

    def _record(self) -> bytes | None:
        held = self._held
        if self._skip:
            gone = min(self._skip, len(held))
            del held[:gone]
            self._skip -= gone
        if self._skip or len(held) < _HEAD:
            return None
        size = int.from_bytes(held[:8], "little")
        if size > LIMIT_PLAUSIBLE_BYTES:
            self.broken = True
            held.clear()
            return None
        if size > LIMIT_RECORD_BYTES:
            self._skip = _HEAD + size + _TAIL
            return b""
        if len(held) < _HEAD + size + _TAIL:
            return None
        record = bytes(held[_HEAD:_HEAD + size])
        del held[:_HEAD + size + _TAIL]
        return record

    def _readings(self, record: bytes) -> Iterator[Reading]:
        time, summaries = NO_TIME, []
        for number, _, value in protowire.fields(record):
            if number == _EVENT_TIME:
                seconds = protowire.double(value)
                time = _EPOCH + timedelta(seconds=seconds) if math.isfinite(seconds) else NO_TIME
            elif number == _EVENT_SUMMARY:
                summaries.append(protowire.message(value))
        for summary in summaries:
            for number, _, value in protowire.fields(summary):
                if number == 1:
                    yield from self._named(time, *_scalar(protowire.message(value)))

    def _named(self, time: datetime, tag: str, value: str) -> Iterator[Reading]:
        for metric in self.metrics if value else ():
            if considers(metric, tag, self.folder):
                yield Reading(time=time, metric=metric, value=value)


def considers(metric: str, tag: str, folder: str) -> bool:
    """Upstream's rule: the tag begins with the metric's last part, and its folder ends with what is before that."""
    path = PurePosixPath(metric)
    wanted = str(path.parent) if len(path.parts) > 1 else ""
    return tag.startswith(path.name) and folder.endswith(wanted)


def _scalar(value: bytes) -> tuple[str, str]:
    """The tag and the number in words; an empty one for what is no scalar."""
    tag = text = ""
    for number, wire, content in protowire.fields(value):
        if number == _VALUE_TAG:
            tag = protowire.text(content)
        elif number == _VALUE_SIMPLE and wire == protowire.FIXED32:
            text = _short(protowire.single(content))
        elif number == _VALUE_TENSOR:
            text = _tensor(protowire.message(content))
    return tag, text


def _tensor(tensor: bytes) -> str:
    kind, content, listed, dimensions = 1, b"", list[str](), 0
    for number, wire, value in protowire.fields(tensor):
        if number == _TENSOR_TYPE:
            kind = protowire.signed(value)
        elif number == _TENSOR_SHAPE:
            dimensions = sum(1 for _ in protowire.fields(protowire.message(value)))
        elif number == _TENSOR_CONTENT:
            content = protowire.message(value)
        elif number in _LISTED:
            listed += _unpacked(protowire.message(value), _LISTED[number])
        elif number in (7, 10):
            listed += [str(protowire.signed(value))] if wire == protowire.VARINT else _whole(protowire.message(value))
    layout = _FORMATS.get(kind)
    if not listed and layout and len(content) == struct.calcsize(layout):
        listed = _unpacked(content, layout)
    return listed[0] if len(listed) == 1 and dimensions <= 1 else ""


def _unpacked(content: bytes, layout: str) -> list[str]:
    if len(content) != struct.calcsize(layout):
        return []
    value = struct.unpack(layout, content)[0]
    return [_short(value) if layout == "<f" else repr(value)]


def _whole(packed: bytes) -> list[str]:
    value, end = protowire.varint(packed, 0)
    return [str(protowire.signed(value))] if end == len(packed) else []


def _short(value: float) -> str:
    """The shortest text that is this 32-bit float, as NumPy prints it: 0.1, not 0.10000000149011612."""
    if not math.isfinite(value):
        return repr(value)
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == value:
            break
    return repr(float(text))
