"""HPACK, the compression of HTTP/2's header fields (RFC 7541), as a server needs it.

``http2`` calls me: ``Decoder`` reads what clients send, dynamic table and Huffman code included; ``literal`` writes a
field without touching the client's table, so that whole answers can be prepared once as constant bytes.
"""

from __future__ import annotations

from collections import deque
from functools import cache

from lightship.lib import hpack_tables as tables

Field = tuple[bytes, bytes]

TABLE_BYTES = 4096
"""The dynamic table's size that a connection starts with, and the most that we let a client use."""
_ENTRY_OVERHEAD_BYTES = 32
_LIMIT_INTEGER_BYTES = 5


class Broken(ValueError):
    """The block cannot be decoded; the connection's table is out of step from here on."""


class TooLarge(ValueError):
    """The fields are larger than the limit; the table is in step still."""


class Decoder:
    """One connection's decoder. ``limit_bytes`` bounds the size of one block's fields, as RFC 9113 counts it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._dynamic: deque[Field] = deque()
        self._dynamic_bytes = 0
        self._capacity_bytes = TABLE_BYTES

    def decode(self, block: bytes) -> list[Field]:
        """The fields of one block. Raises ``Broken`` and ``TooLarge``."""
        fields: list[Field] = []
        size = at = 0
        end = len(block)
        while at < end:
            octet = block[at]
            if octet & 0x80:
                index, at = _integer(block, at, 7)
                field = self._field(index)
            elif octet & 0xE0 == 0x20:
                if fields:
                    raise Broken("a change of the table's size stands behind a field")
                capacity, at = _integer(block, at, 5)
                self._resize(capacity)
                continue
            else:
                indexed = octet & 0xC0 == 0x40
                index, at = _integer(block, at, 6 if indexed else 4)
                if index:
                    name = self._field(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = (name, value)
                if indexed:
                    self._add(field)
            size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD_BYTES
            if size <= self._limit_bytes:
                fields.append(field)
        if size > self._limit_bytes:
            raise TooLarge(f"the header fields are larger than {self._limit_bytes} bytes")
        return fields

    def _field(self, index: int) -> Field:
        if 0 < index <= len(tables.STATIC):
            return tables.STATIC[index - 1]
        position = index - len(tables.STATIC) - 1
        if not 0 <= position < len(self._dynamic):
            raise Broken(f"there is no header field {index}")
        return self._dynamic[position]

    def _add(self, field: Field) -> None:
        self._dynamic.appendleft(field)
        self._dynamic_bytes += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD_BYTES
        self._evict()

    def _resize(self, capacity_bytes: int) -> None:
        if capacity_bytes > TABLE_BYTES:
            raise Broken("the table would be larger than was agreed")
        self._capacity_bytes = capacity_bytes
        self._evict()

    def _evict(self) -> None:
        while self._dynamic_bytes > self._capacity_bytes:
            name, value = self._dynamic.pop()
            self._dynamic_bytes -= len(name) + len(value) + _ENTRY_OVERHEAD_BYTES


def literal(name: bytes, value: bytes) -> bytes:
    """One field, in full and never to be indexed by the receiver's table."""
    return b"\x00" + _length(name) + name + _length(value) + value


def indexed(index: int) -> bytes:
    """One field of the static table, such as 8 for ``:status: 200``."""
    return bytes((0x80 | index,))


def _length(text: bytes) -> bytes:
    size = len(text)
    if size < 0x7F:
        return bytes((size,))
    encoded = bytearray((0x7F,))
    size -= 0x7F
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    for octet in block[at:at + _LIMIT_INTEGER_BYTES]:
        value += (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if octet < 0x80:
            return value, at
    raise Broken("a number does not end")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise Broken("a field is cut short")
    coded = block[at] & 0x80
    size, at = _integer(block, at, 7)
    text = block[at:at + size]
    if len(text) != size:
        raise Broken("a field is cut short")
    return (huffman(text) if coded else text), at + size


# ---- Huffman's code


def huffman(text: bytes) -> bytes:
    """Decode. Raises ``Broken``."""
    machine, final = _machine()
    decoded = bytearray()
    state = 0
    for octet in text:
        state, emitted = machine[state << 4 | octet >> 4]
        decoded += emitted
        state, emitted = machine[state << 4 | octet & 0xF] if state >= 0 else (-1, b"")
        decoded += emitted
        if state < 0:
            raise Broken("a Huffman code holds the end's symbol")
    if state not in final:
        raise Broken("a Huffman code's padding is wrong")
    return bytes(decoded)


@cache
def _machine() -> tuple[list[tuple[int, bytes]], frozenset[int]]:
    """For each (state, four bits) the next state, -1 for an error, and what is emitted; and the states to end in."""
    tree = _tree()
    machine: list[tuple[int, bytes]] = []
    for start in range(len(tree)):
        for nibble in range(16):
            state, emitted = start, b""
            for bit in (8, 4, 2, 1):
                following = tree[state][1 if nibble & bit else 0]
                if following >= 0:
                    state = following
                    continue
                symbol = -following - 1
                if symbol == tables.END:
                    state = -1
                    break
                emitted += bytes((symbol,))
                state = 0
            machine.append((state, emitted))
    final, state = {0}, 0
    for _ in range(7):  # padding is up to seven ones, the beginning of the end's symbol
        state = tree[state][1]
        final.add(state)
    return machine, frozenset(final)


def _tree() -> list[list[int]]:
    """Nodes with two branches each: another node's number, or minus one and a symbol. The code is canonical."""
    nodes = [[0, 0]]
    code = length = 0
    for symbol in sorted(range(len(tables.LENGTHS)), key=lambda each: (tables.LENGTHS[each], each)):
        code <<= tables.LENGTHS[symbol] - length
        length = tables.LENGTHS[symbol]
        node = 0
        for position in range(length - 1, 0, -1):
            bit = code >> position & 1
            if not nodes[node][bit]:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = -symbol - 1
        code += 1
    return nodes
