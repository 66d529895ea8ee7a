"""One connection of HTTP/2 with prior knowledge, either side of it: frames, header blocks, windows of both directions.

``grpc_clients`` makes me for a client's connection, ``grpc_upstreams`` for one to a model server. Unlike ``lib.http2``,
which answers whole requests, I pass pieces on as they come: a stream's window is given back only for what its handler
says has gone on (``consumed``), so whoever is slow holds up the sender and nobody else.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from lightship.lib import hpack, transports
from lightship.lib import http2_wire as wire

Field = tuple[bytes, bytes]

LIMIT_STREAMS = 128
STREAM_WINDOW_BYTES = 256 * 1024
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
LIMIT_HEAD_BYTES = 64 * 1024
LIMIT_UNREAD_BYTES = 8 * 1024 * 1024
"""Of what the other side asked for and does not read: beyond it the connection is given up."""
LIMIT_RESETS = 1000
"""How many streams the other side may cancel at once, and half as many a second from then on."""


class Handler(Protocol):
    """What becomes of one stream."""

    def fields(self, fields: list[Field], *, ended: bool) -> None:
        """A head, an interim one, or trailers."""
        ...

    def data(self, data: bytes, *, ended: bool) -> None: ...

    def gone(self, code: int, why: str) -> None:
        """The other side gave the stream up, or the connection ended."""
        ...

    def writable(self) -> None:
        """All that was given to ``send`` has been taken."""
        ...


class _Stream:
    """What is known of one stream that is not over."""

    __slots__ = ("handler", "local_ended", "queue", "remote_ended", "unseen", "window")

    def __init__(self, handler: Handler, window: int) -> None:
        self.handler = handler
        self.window = window
        self.unseen = 0
        self.queue: deque[tuple[bytes, bytes, bool]] = deque()
        """Data, or a header block, each with whether it is the last."""
        self.local_ended = self.remote_ended = False


class Link(asyncio.Protocol):
    """The connection. ``opened`` makes a handler for each stream that the other side opens; None refuses it."""

    def __init__(self, opened: Callable[[int, list[Field], bool], Handler | None] | None,
                 ended: Callable[[], None]) -> None:
        self._opened = opened
        self._on_end = ended
        self._transport: asyncio.Transport
        self._decoder = hpack.Decoder(LIMIT_HEAD_BYTES)
        self._streams: dict[int, _Stream] = {}
        self._buffer = b""
        self._preface = opened is not None
        self._last = 0
        self._next = 1
        self._window = self._initial_window = wire.WINDOW_BYTES
        self._frame_bytes = wire.FRAME_BYTES
        self._unseen = 0
        self._block: list[bytes] | None = None
        self._block_flags = self._block_stream = self._block_bytes = 0
        self._resets, self._resets_at = float(LIMIT_RESETS), 0.0
        self._paused = False
        self.most_streams = LIMIT_STREAMS
        self.leaving = False
        self.lost = False
        self._broken = False
        self._lingering: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def has_room(self) -> bool:
        return not self.leaving and not self.lost and len(self._streams) < self.most_streams

    # ---- what handlers ask

    def open(self, handler: Handler, fields: list[Field], *, ended: bool) -> int:
        """A new stream, for the side that asks."""
        number, self._next = self._next, self._next + 2
        self._streams[number] = _Stream(handler, self._initial_window)
        if self._next > wire.STREAM_MASK:
            self.leaving = True
        self.send_fields(number, fields, ended=ended)
        return number

    def send_fields(self, number: int, fields: list[Field], *, ended: bool) -> None:
        block = b"".join([hpack.literal(name, value) for name, value in fields])
        self._send(number, b"", block, ended=ended)

    def send_data(self, number: int, data: bytes, *, ended: bool) -> bool:
        """Whether all has been taken; if not, ``writable`` is called when it has."""
        return self._send(number, data, b"", ended=ended)

    def consumed(self, number: int, size: int) -> None:
        """So much of a stream's data has gone on: as much may come."""
        stream = self._streams.get(number)
        if stream is None or stream.remote_ended:
            return
        stream.unseen += size
        if stream.unseen >= STREAM_WINDOW_BYTES // 2:
            self._write(wire.frame(wire.WINDOW_UPDATE, 0, number, struct.pack(">I", stream.unseen)))
            stream.unseen = 0

    def reset(self, number: int, code: int) -> None:
        """Give a stream up."""
        if self._streams.pop(number, None) is not None:
            self._write(wire.frame(wire.RST_STREAM, 0, number, struct.pack(">I", code)))
            self._rest()

    def go_away(self, code: int = wire.NO_ERROR) -> None:
        """Take no more streams, and end with the last."""
        if not self.leaving:
            self.leaving = True
            self._write(wire.frame(wire.GOAWAY, 0, 0, struct.pack(">II", self._last, code)))
            self._rest()

    def abort(self) -> None:
        self._transport.abort()

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        settings = b"".join(struct.pack(">HI", *pair) for pair in (
            (wire.MAX_STREAMS, LIMIT_STREAMS), (wire.INITIAL_WINDOW, STREAM_WINDOW_BYTES),
            (wire.HEADER_LIST_SIZE, LIMIT_HEAD_BYTES)))
        greeting = b"" if self._preface else wire.PREFACE
        self._write(greeting + wire.frame(wire.SETTINGS, 0, 0, settings) + wire.frame(
            wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", CONNECTION_WINDOW_BYTES - wire.WINDOW_BYTES)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._lingering is not None:
            self._lingering.cancel()
        self._leave_streams("closed the connection")
        self._on_end()

    def data_received(self, data: bytes) -> None:
        if self.lost or self._broken:
            return
        buffer = self._buffer + data if self._buffer else data
        try:
            self._buffer = buffer[self._frames(buffer):]
        except wire.Stop as stop:
            self._break_off(stop)

    def _break_off(self, stop: wire.Stop) -> None:
        """Say why, and read on for a moment: to close with bytes unread could destroy what the other side is told."""
        self._write(wire.frame(wire.GOAWAY, 0, 0, struct.pack(">II", self._last, stop.code) + str(stop).encode()))
        self._leave_streams("spoke something that is not HTTP/2")
        self.leaving, self._broken, self._buffer = True, True, b""
        transports.half_close(self._transport)
        self._lingering = asyncio.get_running_loop().call_later(wire.LINGER_SECONDS, self.abort)

    def _leave_streams(self, why: str) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.handler.gone(wire.CANCEL, why)

    def pause_writing(self) -> None:
        self._paused = True
        if self._opened is not None:
            # A client that does not read gets to say no more either. Towards a model server that could stop both sides.
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._opened is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._flush()

    # ---- sending

    def _write(self, data: bytes) -> None:
        if self.lost or self._broken:
            return
        if self._paused and self._transport.get_write_buffer_size() > LIMIT_UNREAD_BYTES:
            self._transport.abort()
            return
        self._transport.write(data)

    def _send(self, number: int, data: bytes, block: bytes, *, ended: bool) -> bool:
        stream = self._streams.get(number)
        if stream is None:
            return True
        stream.queue.append((data, block, ended))
        if len(stream.queue) == 1:
            self._flush_stream(number, stream)
        return not stream.queue

    def _flush(self) -> None:
        """Send on what is queued; each stream gets a frame in turn by the order of dictionaries."""
        for number, stream in tuple(self._streams.items()):
            if stream.queue and not self._paused:
                self._flush_stream(number, stream)
                if not stream.queue and number in self._streams:
                    stream.handler.writable()

    def _flush_stream(self, number: int, stream: _Stream) -> None:
        queue = stream.queue
        while queue:
            data, block, ended = queue[0]
            if block:
                self._write_block(number, block, ended=ended)
            else:
                if self._paused:
                    return
                most = min(self._window, stream.window, self._frame_bytes)
                if data and most <= 0:
                    return
                chunk = data[:most]
                whole = len(chunk) == len(data)
                self._window -= len(chunk)
                stream.window -= len(chunk)
                self._write(wire.frame(wire.DATA, wire.END_STREAM if ended and whole else 0, number, chunk))
                if not whole:
                    queue[0] = (data[most:], b"", ended)
                    continue
            queue.popleft()
            if ended:
                stream.local_ended = True
                self._close_if_over(number, stream)
                return

    def _write_block(self, number: int, block: bytes, *, ended: bool) -> None:
        end = wire.END_STREAM if ended else 0
        first, rest = block[:self._frame_bytes], block[self._frame_bytes:]
        frames = [wire.frame(wire.HEADERS, end | (0 if rest else wire.END_HEADERS), number, first)]
        while rest:
            part, rest = rest[:self._frame_bytes], rest[self._frame_bytes:]
            frames.append(wire.frame(wire.CONTINUATION, 0 if rest else wire.END_HEADERS, number, part))
        self._write(b"".join(frames))

    def _close_if_over(self, number: int, stream: _Stream) -> None:
        if stream.local_ended and stream.remote_ended and self._streams.pop(number, None) is not None:
            self._rest()

    def _rest(self) -> None:
        """A stream is over."""
        if self.leaving and not self._streams and not self.lost:
            self._transport.close()

    # ---- receiving

    def _frames(self, buffer: bytes) -> int:
        """Handle every whole frame; returns where the rest begins."""
        at, end = 0, len(buffer)
        if self._preface:
            if end < len(wire.PREFACE):
                return 0
            if not buffer.startswith(wire.PREFACE):
                raise wire.Stop(wire.PROTOCOL_ERROR, "this is not HTTP/2")
            self._preface, at = False, len(wire.PREFACE)
        while end - at >= wire.HEAD_BYTES and not self.lost:
            high, low, kind, flags, number = wire.HEAD.unpack_from(buffer, at)
            size = high << 8 | low
            if size > wire.FRAME_BYTES:
                raise wire.Stop(wire.FRAME_SIZE_ERROR, f"a frame is larger than {wire.FRAME_BYTES} bytes")
            if end - at - wire.HEAD_BYTES < size:
                break
            at += wire.HEAD_BYTES
            payload = buffer[at:at + size]
            at += size
            number &= wire.STREAM_MASK
            if self._block is not None and (kind != wire.CONTINUATION or number != self._block_stream):
                raise wire.Stop(wire.PROTOCOL_ERROR, "a header block was interrupted")
            self._frame(kind, number, flags, payload)
        return at

    def _frame(self, kind: int, number: int, flags: int, payload: bytes) -> None:
        match kind:
            case wire.DATA:
                self._data(number, flags, payload)
            case wire.HEADERS:
                self._headers(number, flags, payload)
            case wire.WINDOW_UPDATE:
                self._window_update(number, payload)
            case wire.CONTINUATION:
                if self._block is None:
                    raise wire.Stop(wire.PROTOCOL_ERROR, "a continuation of nothing")
                self._continue(flags, payload)
            case wire.SETTINGS:
                self._settings(number, flags, payload)
            case wire.PING:
                if len(payload) != 8:
                    raise wire.Stop(wire.FRAME_SIZE_ERROR, "a ping has eight bytes")
                if not flags & wire.ACK:
                    self._write(wire.frame(wire.PING, wire.ACK, 0, payload))
            case wire.RST_STREAM:
                self._was_reset(number, payload)
            case wire.GOAWAY:
                self._told_to_leave(payload)
            case wire.PUSH_PROMISE:
                raise wire.Stop(wire.PROTOCOL_ERROR, "nothing may be pushed")
            case _:
                return  # PRIORITY is advice, and unknown kinds are to be ignored

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        if not number:
            raise wire.Stop(wire.PROTOCOL_ERROR, "data of no stream")
        size = len(payload)
        self._unseen += size
        if self._unseen > CONNECTION_WINDOW_BYTES // 2:
            self._write(wire.frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unseen)))
            self._unseen = 0
        if flags & wire.PADDED:
            payload = wire.unpadded(payload)
        stream = self._streams.get(number)
        if stream is None or stream.remote_ended:
            return  # it was given up while this was on its way
        ended = bool(flags & wire.END_STREAM)
        stream.remote_ended = ended
        stream.handler.data(payload, ended=ended)
        if size > len(payload):
            self.consumed(number, size - len(payload))
        self._close_if_over(number, stream)

    def _headers(self, number: int, flags: int, payload: bytes) -> None:
        if not number & 1:
            raise wire.Stop(wire.PROTOCOL_ERROR, "clients open odd streams")
        if flags & wire.PADDED:
            payload = wire.unpadded(payload)
        if flags & wire.PRIORITIZED:
            if len(payload) < 5:
                raise wire.Stop(wire.FRAME_SIZE_ERROR, "the priority is cut short")
            payload = payload[5:]
        self._block, self._block_bytes = [], 0
        self._block_stream, self._block_flags = number, flags
        self._continue(flags, payload)

    def _continue(self, flags: int, payload: bytes) -> None:
        assert self._block is not None
        self._block.append(payload)
        self._block_bytes += len(payload) + wire.HEAD_BYTES
        if self._block_bytes > LIMIT_HEAD_BYTES:
            raise wire.Stop(wire.ENHANCE_YOUR_CALM, f"a header block is larger than {LIMIT_HEAD_BYTES} bytes")
        if not flags & wire.END_HEADERS:
            return
        block, self._block = b"".join(self._block), None
        number, ended = self._block_stream, bool(self._block_flags & wire.END_STREAM)
        try:
            fields = self._decoder.decode(block)
        except hpack.Broken as problem:
            raise wire.Stop(wire.COMPRESSION_ERROR, str(problem)) from problem
        except hpack.TooLarge:
            fields = []
        stream = self._streams.get(number)
        if stream is not None:
            if stream.remote_ended:
                raise wire.Stop(wire.STREAM_CLOSED, "fields after the end of a stream")
            stream.remote_ended = ended
            stream.handler.fields(fields, ended=ended)
            self._close_if_over(number, stream)
        elif self._opened is not None and number > self._last:
            self._last = number
            self._open_for_other(number, fields, ended)

    def _open_for_other(self, number: int, fields: list[Field], ended: bool) -> None:
        assert self._opened is not None
        if not fields or not self.has_room:
            code = wire.REFUSED_STREAM if fields else wire.PROTOCOL_ERROR
            self._write(wire.frame(wire.RST_STREAM, 0, number, struct.pack(">I", code)))
            return
        handler = self._opened(number, fields, ended)
        if handler is None:
            self._write(wire.frame(wire.RST_STREAM, 0, number, struct.pack(">I", wire.PROTOCOL_ERROR)))
            return
        stream = self._streams[number] = _Stream(handler, self._initial_window)
        stream.remote_ended = ended
        handler.fields(fields, ended=ended)

    def _settings(self, number: int, flags: int, payload: bytes) -> None:
        if number or len(payload) % 6:
            raise wire.Stop(wire.PROTOCOL_ERROR, "the settings are malformed")
        if flags & wire.ACK:
            return
        for name, value in struct.iter_unpack(">HI", payload):
            if name == wire.INITIAL_WINDOW:
                if value > wire.LIMIT_WINDOW:
                    raise wire.Stop(wire.FLOW_CONTROL_ERROR, "the window is too large")
                for stream in self._streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
            elif name == wire.MAX_FRAME:
                if not wire.FRAME_BYTES <= value < 1 << 24:
                    raise wire.Stop(wire.PROTOCOL_ERROR, "the frame size is out of bounds")
                self._frame_bytes = min(value, 1 << 20)
            elif name == wire.MAX_STREAMS and self._opened is None:
                self.most_streams = min(value, LIMIT_STREAMS)
        self._write(wire.frame(wire.SETTINGS, wire.ACK, 0, b""))
        self._flush()

    def _window_update(self, number: int, payload: bytes) -> None:
        increment = int.from_bytes(payload) & wire.LIMIT_WINDOW
        if len(payload) != 4 or not increment:
            raise wire.Stop(wire.PROTOCOL_ERROR, "a window update is malformed")
        if not number:
            self._window += increment
            window = self._window
        else:
            stream = self._streams.get(number)
            if stream is None:
                return  # it is over
            stream.window += increment
            window = stream.window
        if window > wire.LIMIT_WINDOW:
            raise wire.Stop(wire.FLOW_CONTROL_ERROR, "the window is too large")
        self._flush()

    def _was_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4 or not number:
            raise wire.Stop(wire.PROTOCOL_ERROR, "a reset is malformed")
        now = asyncio.get_running_loop().time()
        self._resets = min(LIMIT_RESETS, self._resets + (now - self._resets_at) * LIMIT_RESETS / 2) - 1
        self._resets_at = now
        if self._resets < 0:
            raise wire.Stop(wire.ENHANCE_YOUR_CALM, "too many streams were cancelled")
        stream = self._streams.pop(number, None)
        if stream is not None:
            code = int.from_bytes(payload)
            stream.handler.gone(code, f"gave the request up (HTTP/2 error {code})")
            self._rest()

    def _told_to_leave(self, payload: bytes) -> None:
        """The other side takes no more streams; those it did not see are over."""
        self.leaving = True
        if self._opened is None and len(payload) >= 8:
            last = int.from_bytes(payload[:4]) & wire.STREAM_MASK
            for number in [number for number in self._streams if number > last]:
                self._streams.pop(number).handler.gone(wire.REFUSED_STREAM, "is going away")
        self._rest()
