"""What a container writes, on its way to the log and to clients that are attached. ``runner`` makes me.

A client that is attached and slow holds the container up, as it would under any runtime, but not for long: after
``LAG_SECONDS`` it is let go. Nothing grows: what is not taken stays in the pipe or the terminal.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

from lightship.cluster.node.descriptors import READ_BYTES

LIMIT_UNTAKEN_BYTES = 256 * 1024
LAG_SECONDS = 30.0
RATE_BYTES = 8 * 1024 * 1024
"""What one container may write a second for long; one that floods waits, and the server does not."""
BURST_BYTES = 16 * 1024 * 1024


class Tap:
    """One attached client's share of the output, from now on."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._come = asyncio.Event()
        self._over = False
        self.lagged = False

    def put(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._come.set()

    @property
    def full(self) -> bool:
        return self._size >= LIMIT_UNTAKEN_BYTES

    def end(self) -> None:
        self._over = True
        self._come.set()

    def drop(self) -> None:
        """It lags too far behind."""
        self.lagged = True
        self._chunks.clear()
        self.end()

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        while not self._chunks:
            if self._over:
                return b""
            self._come.clear()
            await self._come.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._output.look_again()
        return data

    def close(self) -> None:
        self.end()
        self._output.taps.discard(self)
        self._output.look_again()


class Output:
    """A pipe whose other end a container holds, or later its terminal; what comes goes to ``sink`` and to ``taps``."""

    def __init__(self, sink: Callable[[bytes], None], owner: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self.taps: set[Tap] = set()
        self._paused = False
        self._lag: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._allowance, self._seen = float(BURST_BYTES), self._loop.time()
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        if owner:
            os.fchown(self.write_end, owner, -1)  # so that the program may open /dev/stdout by its name
        self.done: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self._ready)

    def read_terminal(self, terminal: int) -> None:
        """The program has a terminal, and its output comes from there: I own the descriptor from now on."""
        self.close_write_end()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        self._read_end = terminal
        os.set_blocking(terminal, False)
        self._loop.add_reader(terminal, self._ready)

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def tap(self) -> Tap:
        tap = Tap(self)
        if self.done.done():
            tap.end()
        else:
            self.taps.add(tap)
        return tap

    def look_again(self) -> None:
        """A tap has taken something, or has gone."""
        if self._paused and not any(tap.full for tap in self.taps):
            self._paused = False
            if self._lag is not None:
                self._lag.cancel()
            if not self.done.done() and self._rest is None:
                self._loop.add_reader(self._read_end, self._ready)

    def _spend(self, count: int) -> None:
        """Keeps to the rate: after too much nothing is read for a while, and the container's writes wait."""
        now = self._loop.time()
        self._allowance = min(BURST_BYTES, self._allowance + (now - self._seen) * RATE_BYTES) - count
        self._seen = now
        if self._allowance < 0:
            self._loop.remove_reader(self._read_end)
            self._rest = self._loop.call_later(-self._allowance / RATE_BYTES, self._rested)

    def _rested(self) -> None:
        self._rest = None
        if not self._paused and not self.done.done():
            self._loop.add_reader(self._read_end, self._ready)

    def _ready(self) -> None:
        try:
            data = os.read(self._read_end, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal's other side open any more
            data = b""
        if data:
            self._sink(data)
            for tap in self.taps:
                tap.put(data)
            self._spend(len(data))
            if any(tap.full for tap in self.taps):
                self._pause()
            return
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        for tap in self.taps:
            tap.end()
        if not self.done.done():
            self.done.set_result(None)

    def _pause(self) -> None:
        self._paused = True
        self._loop.remove_reader(self._read_end)
        self._lag = self._loop.call_later(LAG_SECONDS, self._drop_laggards)

    def _drop_laggards(self) -> None:
        for tap in [tap for tap in self.taps if tap.full]:
            tap.drop()
            tap.close()
