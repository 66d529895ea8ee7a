"""Protobuf's wire format, as much as a few small messages need: fields out of bytes, and bytes of fields.

Pure. Who speaks protobuf without its library calls me: tuning's event files and its gRPC service.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LIMIT_VARINT_BYTES = 10


class Broken(ValueError):
    """The bytes are no message."""


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value): whole numbers for VARINT, else the field's bytes. Raises ``Broken``."""
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, position = varint(data, position)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, position = varint(data, position)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise Broken(f"wire type {wire} is not known")
        if size > end - position:
            raise Broken("a field is longer than its message")
        yield number, wire, data[position:position + size]
        position += size


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends."""
    value = shift = 0
    for octet in data[position:position + _LIMIT_VARINT_BYTES]:
        value |= (octet & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if octet < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise Broken("a number does not end")


def double(value: int | bytes) -> float:
    """A FIXED64 field as a double."""
    if not isinstance(value, bytes) or len(value) != 8:
        raise Broken("a double has eight bytes")
    return float(struct.unpack("<d", value)[0])


def single(value: int | bytes) -> float:
    """A FIXED32 field as a float."""
    if not isinstance(value, bytes) or len(value) != 4:
        raise Broken("a float has four bytes")
    return float(struct.unpack("<f", value)[0])


def signed(value: int | bytes) -> int:
    """A VARINT field as an int64."""
    if isinstance(value, bytes):
        raise Broken("a number was expected")
    return value - (1 << 64) if value >> 63 else value


def text(value: int | bytes) -> str:
    """A BYTES field as a string."""
    return message(value).decode("utf-8", "replace")


def message(value: int | bytes) -> bytes:
    """A BYTES field."""
    if not isinstance(value, bytes):
        raise Broken("bytes were expected")
    return value


def field(number: int, value: str | bytes) -> bytes:
    """A string or message; empty ones are written too, since an element of a list may be empty."""
    raw = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | BYTES) + _number(len(raw)) + raw


def string(number: int, value: str) -> bytes:
    """A string, left out where it is empty, as proto3 has it."""
    return field(number, value) if value else b""


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
