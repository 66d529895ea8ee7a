"""Packets with other addresses, and small ones that are made: their check sums are right."""

from __future__ import annotations

import random
import socket
import struct

from lightship.cluster.node.network import packets

POD, WORLD = ("10.244.0.7", 40000), ("93.184.216.34", 443)
INNER = (("169.254.200.2", 20001), ("169.254.200.1", 15001))


def check(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def is_sound(packet: bytes) -> bool:
    """Whether both check sums hold."""
    offset, protocol = (packet[0] & 15) * 4, packet[9]
    if check(packet[:offset]) != 0xFFFF:
        return False
    body = packet[offset:]
    pseudo = packet[12:20] + struct.pack("!BBH", 0, protocol, len(body))
    return check((b"" if protocol == packets.ICMP else pseudo) + body) == 0xFFFF


def tcp(source: packets.Address, target: packets.Address, data: bytes, flags: int = packets.ACK) -> bytearray:
    body = bytearray(struct.pack("!HHIIBBHHH", source[1], target[1], 1000, 2000, 0x50, flags, 65535, 0, 0) + data)
    pseudo = socket.inet_aton(source[0]) + socket.inet_aton(target[0]) + struct.pack("!BBH", 0, 6, len(body))
    struct.pack_into("!H", body, 16, 0xFFFF - check(pseudo + bytes(body)))
    head = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0x4000, 64, 6, 0,
                                 socket.inet_aton(source[0]), socket.inet_aton(target[0])))
    struct.pack_into("!H", head, 10, 0xFFFF - check(bytes(head)))
    return head + body


def test_addresses_change_there_and_back_and_the_sums_hold() -> None:
    source = random.Random(7)
    there = packets.Rewrite((POD, WORLD), INNER)
    back = packets.Rewrite(INNER, (POD, WORLD))
    for _ in range(500):
        data = source.randbytes(source.randrange(200))
        packet = tcp(POD, WORLD, data)
        before = bytes(packet)
        assert is_sound(before)
        there.apply(packet, 20)
        found = packets.head(packet)
        assert found is not None and (found.source, found.target) == INNER
        assert is_sound(bytes(packet))
        back.apply(packet, 20)
        assert is_sound(bytes(packet))
        assert packet[12:24] == before[12:24] and packet[40:] == before[40:]


def test_a_reset_answers_the_packet() -> None:
    packet = tcp(POD, WORLD, b"", packets.SYN)
    found = packets.head(packet)
    assert found is not None
    answer = packets.reset(packet, found)
    head = packets.head(answer)
    assert is_sound(answer) and head is not None
    assert (head.source, head.target) == (WORLD, POD)
    assert packets.flags(answer, head.offset) == packets.RST | packets.ACK
    assert struct.unpack_from("!I", answer, 28)[0] == 1001


def test_datagrams_and_refusals_are_sound() -> None:
    made = packets.datagram(WORLD, POD, b"odd")
    head = packets.head(made)
    assert is_sound(made) and head is not None and packets.payload(made, head.offset) == b"odd"
    assert is_sound(packets.unreachable(made, head, 1))


def test_what_is_not_a_whole_packet_is_none() -> None:
    packet = tcp(POD, WORLD, b"data")
    for size in range(40):
        assert packets.head(packet[:size]) is None
    fragment = bytearray(packet)
    fragment[6] |= 0x20
    assert packets.head(fragment) is None
    assert packets.head(b"\x60" + bytes(packet[1:])) is None
