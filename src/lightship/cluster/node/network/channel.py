"""Requests and answers with descriptors over a packet socket, on the event loop.

The node asks the hub through me, and the hub its maker. Answers come in the order of requests. Both ends are ours, so
what comes is trusted to be JSON.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from lightship import errors

LIMIT_PACKET_BYTES = 64 * 1024
LIMIT_DESCRIPTORS = 64
LIMIT_WAITING = 4096
"""Requests that wait for the other end to take them."""


class ChannelError(errors.Unavailable):
    """The other end is gone, or refused."""


class Refused(ChannelError):
    """The other end could not do what was asked."""


class Channel:
    """The asking end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._answers: deque[asyncio.Future[list[int]]] = deque()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), self._readable)

    async def ask(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> list[int]:
        """The descriptors of the answer, which are then the caller's. ``descriptors`` stay the caller's, and must stay
        open until the answer. Raises ``ChannelError``."""
        if self.closed.done():
            raise ChannelError("the node's network process has ended")
        if len(self._unsent) >= LIMIT_WAITING:
            raise ChannelError("too many requests wait for the node's network process")
        answer: asyncio.Future[list[int]] = self._loop.create_future()
        self._answers.append(answer)
        self._unsent.append((json.dumps(message).encode(), list(descriptors)))
        self._send()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_close_unwanted)
            raise

    def close(self) -> None:
        if self.closed.done():
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self.closed.set_result(None)
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(ChannelError("the node's network process has ended"))
                answer.exception()  # who asked may have been cancelled meanwhile
        self._answers.clear()

    def _send(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                socket.send_fds(self._socket, [data], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._send)
                return
            except OSError:
                self.close()
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        try:
            data, descriptors = receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data or not self._answers:
            self.close()
            return
        message = json.loads(data)
        answer = self._answers.popleft()
        if "error" in message:
            answer.set_exception(Refused(message["error"]))
            answer.exception()
        else:
            answer.set_result(descriptors)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet with its descriptors, none of them inheritable."""
    space = socket.CMSG_SPACE(LIMIT_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _, _ = sock.recvmsg(LIMIT_PACKET_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
    return data, list(found)


def _close_unwanted(answer: asyncio.Future[list[int]]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        for descriptor in answer.result():
            os.close(descriptor)
