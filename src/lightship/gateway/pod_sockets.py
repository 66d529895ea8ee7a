"""Sockets of the Pods' own network, for a gateway that is not in it. ``upstream`` asks me for each new connection.

Whoever made the Pods' network listens on a packet socket in the file system and answers a connection with one packet:
an unconnected TCP socket. Where nobody does, Pods are reached from where we are.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from pathlib import Path

POD_PREFIXES = ("10.244.", "10.96.")
"""The addresses of Pods that have a network of their own, and of Services."""


async def connect(path: Path | None, host: str, port: int) -> socket.socket | None:
    """A connected socket to a Pod, or None where its network is ours. Raises ``OSError``."""
    if path is None or not host.startswith(POD_PREFIXES):
        return None
    made = await _socket(path)
    if made is None:
        return None
    try:
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    return made


async def _socket(path: Path) -> socket.socket | None:
    loop = asyncio.get_running_loop()
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.setblocking(False)
            try:
                asking.connect(f"/proc/self/fd/{directory}/{path.name}")  # a socket's path has to be short
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            await _readable(loop, asking)
            _, ancillary, _, _ = asking.recvmsg(16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    finally:
        os.close(directory)
    found = array.array("i")
    for _, _, payload in ancillary:
        found.frombytes(payload)
    if not found:
        raise ConnectionRefusedError("the Pods' network gave no socket")
    made = socket.socket(fileno=found[0])
    made.setblocking(False)
    return made


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
