"""IPv4 packets: reading their heads, changing their addresses, making small ones. Pure; ``egress`` uses me."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

TCP, UDP, ICMP = 6, 17, 1
_FIN, SYN, RST, ACK = 1, 2, 4, 16

Address = tuple[str, int]


class Head(NamedTuple):
    """Who sends a TCP or UDP packet to whom; ``offset`` is where its second head begins."""

    protocol: int
    source: Address
    target: Address
    offset: int


def head(packet: bytes | bytearray) -> Head | None:
    """None for what is not a whole IPv4 packet of TCP or UDP: another version, a fragment, another protocol."""
    if len(packet) < 28 or packet[0] >> 4 != 4:
        return None
    offset = (packet[0] & 15) * 4
    protocol = packet[9]
    if protocol not in (TCP, UDP) or struct.unpack_from("!H", packet, 6)[0] & 0x3FFF:
        return None
    if len(packet) < offset + (20 if protocol == TCP else 8):
        return None
    source, target = struct.unpack_from("!HH", packet, offset)
    return Head(protocol, (socket.inet_ntoa(bytes(packet[12:16])), source),
                (socket.inet_ntoa(bytes(packet[16:20])), target), offset)


def flags(packet: bytes | bytearray, offset: int) -> int:
    """A TCP packet's flags."""
    return packet[offset + 13]


def payload(packet: bytes | bytearray, offset: int) -> bytes:
    """A UDP packet's data."""
    return bytes(packet[offset + 8:offset + struct.unpack_from("!H", packet, offset + 4)[0]])


def _sum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return _fold(total)


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Rewrite:
    """Other addresses for the TCP packets of one direction of one connection; check sums are adjusted, not made."""

    def __init__(self, before: tuple[Address, Address], after: tuple[Address, Address]) -> None:
        self._addresses = socket.inet_aton(after[0][0]) + socket.inet_aton(after[1][0])
        self._ports = struct.pack("!HH", after[0][1], after[1][1])
        old_addresses = socket.inet_aton(before[0][0]) + socket.inet_aton(before[1][0])
        old_ports = struct.pack("!HH", before[0][1], before[1][1])
        self._ip_change = _fold(_sum(self._addresses) + (0xFFFF - _sum(old_addresses)))
        self._change = _fold(self._ip_change + _sum(self._ports) + (0xFFFF - _sum(old_ports)))

    def apply(self, packet: bytearray, offset: int) -> None:
        packet[12:20] = self._addresses
        packet[offset:offset + 4] = self._ports
        _adjust(packet, 10, self._ip_change)
        _adjust(packet, offset + 16, self._change)


def _adjust(packet: bytearray, position: int, change: int) -> None:
    old = packet[position] << 8 | packet[position + 1]
    new = 0xFFFF - _fold((0xFFFF - old) + change)
    packet[position], packet[position + 1] = new >> 8, new & 0xFF


def _ip(protocol: int, source: str, target: str, body: bytes) -> bytes:
    made = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0,
                                 socket.inet_aton(source), socket.inet_aton(target)))
    struct.pack_into("!H", made, 10, 0xFFFF - _sum(bytes(made)))
    return bytes(made) + body


def _checked(protocol: int, source: str, target: str, body: bytearray, position: int) -> bytes:
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, protocol, len(body))
    struct.pack_into("!H", body, position, (0xFFFF - _sum(pseudo + bytes(body))) or 0xFFFF)
    return _ip(protocol, source, target, bytes(body))


def datagram(source: Address, target: Address, data: bytes) -> bytes:
    """A UDP packet."""
    body = bytearray(struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0) + data)
    return _checked(UDP, source[0], target[0], body, 6)


def reset(packet: bytes | bytearray, found: Head) -> bytes:
    """The packet with which a closed port answers ``packet``."""
    sequence, acknowledged = struct.unpack_from("!II", packet, found.offset + 4)
    asked = flags(packet, found.offset)
    if asked & ACK:
        numbers, answer = (acknowledged, 0), RST
    else:
        numbers, answer = (0, (sequence + 1) & 0xFFFFFFFF), RST | ACK
    body = bytearray(struct.pack("!HHIIBBHHH", found.target[1], found.source[1], *numbers, 0x50, answer, 0, 0, 0))
    return _checked(TCP, found.target[0], found.source[0], body, 16)


def unreachable(packet: bytes | bytearray, found: Head, code: int) -> bytes:
    """The message that nobody is there (``code``: 0 no network, 1 no host, 3 no port)."""
    body = bytearray(struct.pack("!BBHI", 3, code, 0, 0) + bytes(packet[:found.offset + 8]))
    struct.pack_into("!H", body, 2, 0xFFFF - _sum(bytes(body)))
    return _ip(ICMP, found.target[0], found.source[0], bytes(body))
