"""Keeps a flood away from a UDP socket: what comes from its source is dropped by the kernel for some time.

``names`` tells me whom it refused. To answer each refusal would take the time that others' queries need, and a full
buffer drops theirs too; so who goes on after ``LIMIT_REFUSALS`` in a second is not heard, for longer each time.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
from collections import Counter

LIMIT_REFUSALS = 200
"""That one source is answered in a second before it is shut out."""
LIMIT_SOURCES = 64
"""Shut out at once; more are only refused."""
TICK_SECONDS = 1.0
LIMIT_SHUT_SECONDS = 16.0

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_SOURCE_ADDRESS = 0x100000000 - 0x100000 + 12
"""Where a filter finds the sender: counted from the IP head."""
_WHOLE = 0xFFFFFFFF

_log = logging.getLogger(__name__)


def program(sources: list[str]) -> bytes:
    """A socket filter that drops what these IPv4 addresses send. Pure."""
    tests = [(_EQUAL, len(sources) - number, 0, int.from_bytes(socket.inet_aton(source), "big"))
             for number, source in enumerate(sources)]
    steps = [(_LOAD, 0, 0, _SOURCE_ADDRESS), *tests, (_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class Shutter:
    """Of one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._refused: Counter[str] = Counter()
        self._until: dict[str, float] = {}
        self._strikes: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def refused(self, source: str) -> None:
        """It was answered with a refusal."""
        self._refused[source] += 1
        if self._refused[source] == LIMIT_REFUSALS and len(self._until) < LIMIT_SOURCES:
            seconds = min(LIMIT_SHUT_SECONDS, TICK_SECONDS * 2.0 ** min(self._strikes[source], 8))
            self._strikes[source] += 1
            self._until[source] = self._loop.time() + seconds
            self._install()
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def is_shut(self, source: str) -> bool:
        return source in self._until

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        for source in [source for source in self._strikes if source not in self._until]:
            del self._strikes[source]  # it behaved for a while
        over = [source for source, until in self._until.items() if until <= now]
        for source in over:
            del self._until[source]
        self._refused.clear()
        if over:
            self._install()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick) if self._strikes else None

    def _install(self) -> None:
        try:
            if not self._until:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
                return
            steps = program(list(self._until))
            held = ctypes.create_string_buffer(steps, len(steps))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER,
                                    struct.pack("@HP", len(steps) // 8, ctypes.addressof(held)))
        except OSError as error:  # then they are refused one by one
            _log.warning("could not shut out those that flood the name server", extra={"cause": str(error)})
