"""Links, addresses and routes by raw rtnetlink: what ``ip`` does, where no ``ip`` is. Linux only.

``network.py`` calls me. A ``Netlink`` stays with the network namespace in which it was opened, wherever its process
goes afterwards. Each call sends its requests in one packet and raises ``OSError`` for the first that is refused.
"""

from __future__ import annotations

import socket
import struct

_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 1, 4, 0x200, 0x400
_ERROR = 2
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _TABLE_LOCAL, _PROTO_STATIC = 254, 255, 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_TYPE_UNICAST, _TYPE_LOCAL = 1, 2
_ANSWER_LIMIT_BYTES = 65536
_RECEIVE_SECONDS = 5.0


class Request:
    """One request without its sequence number."""

    def __init__(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.kind, self.flags, self.body, self.what = kind, flags, body, what

    def encode(self, sequence: int) -> bytes:
        length = 16 + len(self.body)
        return struct.pack("=IHHII", length, self.kind, self.flags | _REQUEST | _ACK, sequence, 0) + self.body


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _link(index: int, *, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


class End:
    """One end of a veth pair: its name and its index, which is asked for rather than found out."""

    def __init__(self, name: str, index: int) -> None:
        self.name, self.index = name, index


def veth(here: End, there: End, namespace: int, mtu: int) -> Request:
    """A pair of links: ``here`` in this namespace, ``there`` in the one that the descriptor ``namespace`` means."""
    size = _attribute(_IFLA_MTU, struct.pack("=I", mtu))
    peer = (_link(there.index) + _attribute(_IFLA_IFNAME, there.name.encode() + b"\0") + size
            + _attribute(_IFLA_NET_NS_FD, struct.pack("=i", namespace)))
    data = _attribute(_INFO_KIND, b"veth") + _attribute(_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
    body = (_link(here.index) + _attribute(_IFLA_IFNAME, here.name.encode() + b"\0") + size
            + _attribute(_IFLA_LINKINFO, data))
    return Request(_NEWLINK, _CREATE | _EXCL, body, "make a veth pair")


def up(index: int, mtu: int = 0) -> Request:
    body = _link(index, up=True) + (_attribute(_IFLA_MTU, struct.pack("=I", mtu)) if mtu else b"")
    return Request(_NEWLINK, 0, body, f"bring link {index} up")


def address(index: int, ip: str, prefix: int) -> Request:
    packed = socket.inet_aton(ip)
    body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, _SCOPE_UNIVERSE, index)
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    return Request(_NEWADDR, _CREATE | _EXCL, body, "add the address " + ip)


def route(destination: str, prefix: int, index: int, gateway: str | None = None) -> Request:
    """A route out of link ``index``; without ``gateway`` the destination is on the link itself."""
    scope = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, _TABLE_MAIN, _PROTO_STATIC, scope, _TYPE_UNICAST, 0)
    if prefix:
        body += _attribute(_RTA_DST, socket.inet_aton(destination))
    if gateway:
        body += _attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
    body += _attribute(_RTA_OIF, struct.pack("=i", index))
    return Request(_NEWROUTE, _CREATE | _EXCL, body, f"add the route {destination}/{prefix}")


def local_route(destination: str, prefix: int, index: int) -> Request:
    """Makes every address of a range this namespace's own: a program may bind any of them."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, _TABLE_LOCAL, _PROTO_STATIC, _SCOPE_HOST,
                       _TYPE_LOCAL, 0)
    body += _attribute(_RTA_DST, socket.inet_aton(destination)) + _attribute(_RTA_OIF, struct.pack("=i", index))
    return Request(_NEWROUTE, _CREATE | _EXCL, body, f"add the local range {destination}/{prefix}")


class Netlink:
    """A socket to the kernel's routing of the namespace in which I was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_RECEIVE_SECONDS)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def do(self, *requests: Request) -> None:
        """Sends them together, in order. Raises ``OSError`` for the first that is refused; later ones were tried."""
        first = self._sequence + 1
        self._sequence += len(requests)
        self._socket.send(b"".join(request.encode(first + n) for n, request in enumerate(requests)))
        refused: OSError | None = None
        waiting = {first + n: request for n, request in enumerate(requests)}
        while waiting:
            data = self._socket.recv(_ANSWER_LIMIT_BYTES)
            while data:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                request = waiting.pop(sequence, None) if kind == _ERROR else None
                if request is not None:
                    code = -struct.unpack_from("=i", data, 16)[0]
                    if code and refused is None:
                        refused = OSError(code, f"could not {request.what}")
                data = data[(length + 3) & ~3:]
        if refused is not None:
            raise refused
