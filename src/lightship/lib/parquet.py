"""Writes small tables as Apache Parquet: required columns, one row group, plain and uncompressed. Pure.

The gateway's payload log calls me. A library that does more is a hundred megabytes, which a proxy should not need.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_MAGIC = b"PAR1"
_INT64, _BYTE_ARRAY = 2, 6
_UTF8, _TIMESTAMP_MICROS = 0, 10
_PLAIN, _RLE = 0, 3
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12  # types of Thrift's compact protocol


@dataclass(frozen=True)
class Column:
    """Texts, bytes or integers; ``times`` are microseconds since 1970."""

    name: str
    values: Sequence[str] | Sequence[bytes] | Sequence[int]
    times: bool = False


def table(columns: Sequence[Column]) -> bytes:
    """A whole file. All columns have as many values, at least one."""
    rows = len(columns[0].values)
    parts, at, chunks, total = [_MAGIC], len(_MAGIC), [], 0
    for column in columns:
        kind, data = _plain(column)
        header = _struct((1, _I32, 0), (2, _I32, len(data)), (3, _I32, len(data)), (5, _STRUCT, _struct(
            (1, _I32, rows), (2, _I32, _PLAIN), (3, _I32, _RLE), (4, _I32, _RLE))))
        size = len(header) + len(data)
        chunks.append(_struct((2, _I64, at), (3, _STRUCT, _struct(
            (1, _I32, kind), (2, _LIST, _list(_I32, [_zigzag(_PLAIN)])),
            (3, _LIST, _list(_BINARY, [_binary(column.name.encode())])), (4, _I32, 0), (5, _I64, rows),
            (6, _I64, size), (7, _I64, size), (9, _I64, at)))))
        parts += (header, data)
        at, total = at + size, total + size
    group = _struct((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, total), (3, _I64, rows))
    schema = [_struct((4, _BINARY, _binary(b"schema")), (5, _I32, len(columns))), *map(_element, columns)]
    footer = _struct((1, _I32, 1), (2, _LIST, _list(_STRUCT, schema)), (3, _I64, rows),
                     (4, _LIST, _list(_STRUCT, [group])), (6, _BINARY, _binary(b"lightship")))
    return b"".join((*parts, footer, struct.pack("<I", len(footer)), _MAGIC))


def _plain(column: Column) -> tuple[int, bytes]:
    """The type and the values of a column."""
    values = column.values
    if isinstance(values[0], int):
        return _INT64, struct.pack(f"<{len(values)}q", *values)
    raw = [value.encode() if isinstance(value, str) else value for value in values if not isinstance(value, int)]
    return _BYTE_ARRAY, b"".join([struct.pack("<I", len(value)) + value for value in raw])


def _element(column: Column) -> bytes:
    kind = _INT64 if isinstance(column.values[0], int) else _BYTE_ARRAY
    name = _binary(column.name.encode())
    fields: list[tuple[int, int, int | bytes]] = [(1, _I32, kind), (3, _I32, 0), (4, _BINARY, name)]
    if column.times:
        fields.append((6, _I32, _TIMESTAMP_MICROS))
    elif isinstance(column.values[0], str):
        fields.append((6, _I32, _UTF8))
    return _struct(*fields)


# ---- Thrift's compact protocol


def _struct(*fields: tuple[int, int, int | bytes]) -> bytes:
    parts, last = [], 0
    for number, kind, value in fields:
        parts.append(bytes(((number - last) << 4 | kind,)))
        parts.append(_zigzag(value) if isinstance(value, int) else value)
        last = number
    return b"".join((*parts, b"\0"))


def _list(kind: int, items: Sequence[bytes]) -> bytes:
    size = len(items)
    head = bytes((size << 4 | kind,)) if size < 15 else bytes((0xF0 | kind,)) + _varint(size)
    return head + b"".join(items)


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
