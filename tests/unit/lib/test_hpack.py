"""HPACK against the examples of its own RFC, and against whatever bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.lib import hpack

AUTHORITY = (b":authority", b"www.example.com")
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), AUTHORITY]
SECURE = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), AUTHORITY,
          (b"custom-key", b"custom-value")]


@pytest.mark.parametrize("blocks", [
    ("828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
     "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"),
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
     "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
], ids=["plain", "huffman"])
def test_the_rfcs_requests_over_one_connection(blocks: tuple[str, ...]) -> None:
    decoder = hpack.Decoder(4096)
    first, second, third = (decoder.decode(bytes.fromhex(block)) for block in blocks)
    assert first == GET
    assert second == [*GET, (b"cache-control", b"no-cache")]
    assert third == SECURE


def test_what_leaves_the_table_is_not_known_any_more() -> None:
    decoder = hpack.Decoder(1 << 20)
    filling = b"".join(b"\x40" + b"\x01a" + b"\x7f\x81\x01" + b"v" * 256 for _ in range(20))
    decoder.decode(filling)
    assert decoder.decode(b"\xbe") == [(b"a", b"v" * 256)]
    with pytest.raises(hpack.Broken):
        decoder.decode(b"\xff\x10")


@pytest.mark.parametrize("block", [
    b"\x80",  # there is no field 0
    b"\xff\xff\xff\xff\xff\xff\xff",  # a number without an end
    b"\x40\x05ab",  # cut short
    b"\x82\x20",  # a change of size behind a field
    b"\x3f\xe2\x1f",  # a table larger than agreed
    b"\x00\x84\xff\xff\xff\xff\x00",  # the end's symbol inside a text
    b"\x00\x81\x00\x00",  # padding that is not ones
])
def test_what_breaks_the_code_is_refused(block: bytes) -> None:
    with pytest.raises(hpack.Broken):
        hpack.Decoder(4096).decode(block)


def test_large_fields_are_refused_and_the_table_stays_in_step() -> None:
    decoder = hpack.Decoder(100)
    with pytest.raises(hpack.TooLarge):
        decoder.decode(b"\x40\x01a\x01b" + hpack.literal(b"x" * 50, b"y" * 50))
    assert decoder.decode(b"\xbe") == [(b"a", b"b")]


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=20))
def test_what_we_write_is_read(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(hpack.literal(name, value) for name, value in fields)
    assert hpack.Decoder(1 << 20).decode(block) == fields


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_do_more_than_be_refused(blocks: list[bytes]) -> None:
    decoder = hpack.Decoder(1000)
    for block in blocks:
        try:
            decoder.decode(block)
        except (hpack.Broken, hpack.TooLarge):
            return
