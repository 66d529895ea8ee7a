"""Network namespaces: the hub's and each Pod's, made and entered by raw system calls. Linux only.

``forkserver`` calls ``serve_namespaces`` when the node starts, ``join`` once, and ``visit`` for each container; the
hub's maker (``cluster/node/network/maker.py``) calls ``join`` and ``make_pod``. Nothing here has a name in a file
system or an interface in the host's namespace: a namespace lives as long as a process or a descriptor holds it.

The hub routes: it has the gateway's address, every address of the Services' range is its own, and each Pod is a
point-to-point link of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from . import linux, netlink

GATEWAY = "10.244.0.1"
SERVICES, SERVICES_PREFIX = "10.96.0.0", 16
TUN_NAME, TUN_INDEX = "tun0", 2
TUN_ADDRESS, TUN_PEER, TUN_PREFIX = "169.254.200.1", "169.254.200.2", 30
MTU = 65520
"""As loopback nearly: there is no wire, and a packet costs what it costs whatever its size."""

CLONE_NEWNET = 0x40000000
_LOOPBACK = 1
_POD_LINK = 2
_FIRST_LINK = 1000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 1, 0x1000

_libc = ctypes.PyDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


class Home:
    """The network namespace where a fork server lives between its visits to those of Pods."""

    def __init__(self) -> None:
        self._descriptor = -1

    @contextlib.contextmanager
    def visit(self, descriptor: int) -> Iterator[None]:
        """What is forked meanwhile is in the Pod's network for good; ``descriptor`` is closed, in the child too."""
        if self._descriptor < 0:
            self._descriptor = _open_own("net")
        try:
            setns(descriptor, CLONE_NEWNET)
        finally:
            os.close(descriptor)
        try:
            yield
        finally:
            setns(self._descriptor, CLONE_NEWNET)


def join(user: int, net: int) -> None:
    """Enters the hub: its user namespace first, where there is one (``user`` is -1 where not)."""
    if user >= 0:
        join_user(user)
    setns(net, CLONE_NEWNET)


def join_user(user: int) -> None:
    """Enters the node's user namespace as its root. The caller has one thread."""
    setns(user, linux.CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # A change of credentials makes a process undumpable, and then its /proc is not its own.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def _map_root(uid: int, gid: int) -> None:
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        descriptor = os.open("/proc/self/" + name, os.O_WRONLY)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _open_own(kind: str) -> int:
    return os.open("/proc/self/ns/" + kind, os.O_RDONLY | os.O_CLOEXEC)


def serve_namespaces(answer: socket.socket, user_namespace: bool) -> None:
    """In a child of the fork server: makes the namespaces, tries what Pods will need, and sends both; then ends.

    The answer is ``{"problem", "tun"}`` with the descriptors of the hub's network namespace and, for a normal user,
    of the user namespace that owns it.
    """
    descriptors: list[int] = []
    told = {"problem": "", "tun": ""}
    try:
        outer = os.geteuid(), os.getegid()
        unshare((linux.CLONE_NEWUSER if user_namespace else 0) | CLONE_NEWNET)
        if user_namespace:
            _map_root(*outer)
        descriptors = [_open_own("net"), *([_open_own("user")] if user_namespace else [])]
        _make_hub()
        try:
            os.close(open_tun())
        except OSError as error:
            told["tun"] = str(error)
        hub = descriptors[0]
        probe, listeners = make_pod(netlink.Netlink(), hub, "10.244.255.254", [])
        os.close(probe)
        assert not listeners
    except OSError as error:
        told["problem"] = str(error)
        descriptors = []
    with contextlib.suppress(OSError):  # the node is gone, and so am I at once
        _send(answer, told, descriptors)
    os._exit(0)


def _send(channel: socket.socket, message: Any, descriptors: list[int]) -> None:
    packed = struct.pack(f"={len(descriptors)}i", *descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else []
    channel.sendmsg([json.dumps(message).encode()], ancillary)


def _make_hub() -> None:
    _write("ipv6/conf/default/disable_ipv6", "1")
    _write("ipv4/ip_forward", "1")
    for scope in ("all", "default"):
        _write(f"ipv4/conf/{scope}/rp_filter", "1")  # a Pod cannot send with another's address
    kernel = netlink.Netlink()
    kernel.do(netlink.up(_LOOPBACK), netlink.address(_LOOPBACK, GATEWAY, 32),
              netlink.local_route(SERVICES, SERVICES_PREFIX, _LOOPBACK))
    kernel.close()


def open_tun() -> int:
    """The hub's link to everywhere else: a descriptor that gives the packets which Pods send out."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("=16sH22x", TUN_NAME.encode(), _IFF_TUN | _IFF_NO_PI))
        index = socket.if_nametoindex(TUN_NAME)
        kernel = netlink.Netlink()
        kernel.do(netlink.up(index, MTU), netlink.address(index, TUN_ADDRESS, TUN_PREFIX),
                  netlink.route("0.0.0.0", 0, index, TUN_PEER))
        kernel.close()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def make_pod(hub: netlink.Netlink, hub_namespace: int, ip: str, ports: list[int]) -> tuple[int, list[socket.socket]]:
    """A Pod's network namespace with its link to the hub, and sockets that listen on its loopback at ``ports``.

    The caller is in the hub's namespace and is so again afterwards. Returns the namespace's descriptor.
    """
    third, fourth = (int(part) for part in ip.split(".")[2:])
    index = _FIRST_LINK + third * 256 + fourth
    unshare(CLONE_NEWNET)
    try:
        namespace = _open_own("net")
        _write("ipv6/conf/default/disable_ipv6", "1")
        _write("ipv4/ip_unprivileged_port_start", "0")
        _write("ipv4/ping_group_range", "0 0")
        kernel = netlink.Netlink()
        kernel.do(netlink.up(_LOOPBACK),
                  netlink.veth(netlink.End("eth0", _POD_LINK), netlink.End(f"pod{third}.{fourth}", index),
                               hub_namespace, MTU),
                  netlink.address(_POD_LINK, ip, 32), netlink.up(_POD_LINK),
                  netlink.route(GATEWAY, 32, _POD_LINK), netlink.route("0.0.0.0", 0, _POD_LINK, GATEWAY))
        kernel.close()
        listeners = [listen("127.0.0.1", port) for port in ports]
    finally:
        setns(hub_namespace, CLONE_NEWNET)
    hub.do(netlink.up(index), netlink.route(ip, 32, index))
    return namespace, listeners


def listen(ip: str, port: int) -> socket.socket:
    """A TCP socket that listens in the namespace where its maker is."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((ip, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _write(name: str, value: str) -> None:
    """One setting of the present network namespace, where the kernel has it."""
    try:
        descriptor = os.open("/proc/sys/net/" + name, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
