"""Makes things inside the hub's network namespace, for those who are outside: sockets, Pods' namespaces, the tunnel.

``hub`` forks me before its loop starts; I enter the namespace and answer one request after the other over a packet
socket, each answer with its descriptors. I keep nothing but the hub's routing socket, and end with the socket.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any

from lightship.cluster.node.inside import linux, netlink, network

LIMIT_SOCKETS = 32
"""Sockets made for one request."""
_MESSAGE_LIMIT_BYTES = 64 * 1024


def serve(channel: socket.socket, user: int, net: int) -> None:
    """Answers until the channel ends, then leaves the process. ``user`` is -1 where the node is root's."""
    network.join(user, net)
    linux.die_with_parent()
    made = _Maker(net)
    while True:
        try:
            data, given, _, _ = socket.recv_fds(channel, _MESSAGE_LIMIT_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            os._exit(0)
        if not data:
            os._exit(0)
        try:
            descriptors = made.answer(json.loads(data), given)
            problem: dict[str, Any] = {}
        except OSError as error:
            descriptors, problem = [], {"error": str(error), "errno": error.errno}
        packed = array.array("i", descriptors)
        try:
            channel.sendmsg([json.dumps(problem).encode()],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else [])
        except ConnectionError:
            os._exit(0)  # the hub has gone
        for descriptor in (*descriptors, *given):
            os.close(descriptor)


class _Maker:
    def __init__(self, net: int) -> None:
        self._net = net
        self._kernel = netlink.Netlink()

    def answer(self, message: dict[str, Any], given: list[int]) -> list[int]:
        if "pod" in message:
            namespace, listeners = network.make_pod(self._kernel, self._net, message["pod"], message["ports"])
            return [namespace, *(listener.detach() for listener in listeners)]
        if "sockets" in message:
            kind = socket.SOCK_STREAM if message["sockets"] == "tcp" else socket.SOCK_DGRAM
            return [socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC).detach()
                    for _ in range(min(message["count"], LIMIT_SOCKETS))]
        if "inside" in message:
            network.setns(given[0], network.CLONE_NEWNET)
            try:
                return [socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK).detach()]
            finally:
                network.setns(self._net, network.CLONE_NEWNET)
        if "listen" in message:
            ip, port = message["listen"]
            return [network.listen(ip, port).detach()]
        if "bind" in message:
            return [_bound(*message["bind"]).detach()]
        if "tunnel" in message:
            return [network.open_tun()]
        raise OSError(22, f"there is no such request: {sorted(message)}")


def _bound(ip: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.bind((ip, port))
    except OSError:
        made.close()
        raise
    return made
