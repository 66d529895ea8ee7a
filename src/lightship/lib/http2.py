"""A server's side of HTTP/2 (RFC 9113) for whole requests: an asyncio Protocol of our own, without a dependency.

``grpc`` calls me: ``Server.handle`` gets each ``Stream`` once its request is there to the end, and answers it through
``Stream.respond``, now or later, once. I keep both flow-control windows, bound everything a client can make us hold,
and give up on clients that are slow, break the protocol, or cancel more than they ask. Only prior knowledge is spoken:
no upgrade, no TLS, no push.

Why not the ``h2`` package: its events cost several times what a small predict does, and each environment would need it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from lightship.lib import hpack, transports
from lightship.lib import http2_wire as wire
from lightship.lib.deadline import Deadline


class Stream:
    """One whole request; field names are lower case, as they are on the wire."""

    __slots__ = ("_chunks", "_connection", "_on_gone", "_tail", "answered", "body_bytes", "gone", "headers",
                 "number", "send_window", "started", "unseen_bytes", "unsent")

    def __init__(self, connection: Connection, number: int, headers: dict[bytes, bytes], send_window: int) -> None:
        self._connection = connection
        self.number, self.headers, self.send_window = number, headers, send_window
        self.body_bytes = self.unseen_bytes = 0
        self.started = 0.0
        self.answered = self.gone = False
        self._chunks: list[bytes] = []
        self.unsent = b""
        self._tail = b""
        self._on_gone: Callable[[], None] | None = None

    @property
    def body(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    @property
    def peer(self) -> tuple[str, int]:
        """The client's address and port."""
        return self._connection.peer

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called if the client leaves or cancels before it is answered."""
        self._on_gone = callback

    def respond(self, head: bytes, data: bytes = b"", tail: bytes = b"") -> None:
        """Answer with header blocks as ``hpack`` writes them; without a ``tail`` the head or the data is the end."""
        assert not self.answered, "a request is answered once"
        self.answered = True
        self._on_gone = None
        if not self.gone:
            self._connection.answer(self, head, data, tail)

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.body_bytes += len(chunk)

    def leave(self) -> None:
        """The client is not there any more for this stream."""
        if self.gone:
            return
        self.gone = True
        callback, self._on_gone = self._on_gone, None
        if callback is not None and not self.answered:
            callback()

    def queue(self, data: bytes, tail: bytes) -> None:
        """Keep what the windows do not let through yet."""
        self.unsent, self._tail = data, tail

    def take(self, most: int) -> tuple[bytes, bytes | None]:
        """The next of what is queued, and the tail with the last of it."""
        chunk, self.unsent = self.unsent[:most], self.unsent[most:]
        return chunk, (None if self.unsent else self._tail)


class Server:
    """What all connections of a listener share."""

    def __init__(self, handle: Callable[[Stream], None], limits: wire.Limits) -> None:
        self.handle = handle
        self.limits = limits
        self.connections: set[Connection] = set()
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def protocol(self) -> Connection:
        """The protocol factory for ``loop.create_server``."""
        return Connection(self)

    def enter(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._empty.clear()

    def leave(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def drain(self) -> None:
        """Tell clients to go elsewhere, answer what is in flight; returns when none is left or time is up."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.go_away(wire.NO_ERROR)
        try:
            await asyncio.wait_for(self._empty.wait(), self.limits.drain_seconds)
        except TimeoutError:
            for connection in tuple(self.connections):
                connection.abort()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport
        self._loop: asyncio.AbstractEventLoop
        self._deadline: Deadline
        self._decoder = hpack.Decoder(server.limits.head_bytes)
        self._buffer = b""
        self._preface = True
        self._receiving: dict[int, Stream] = {}
        self._answering: dict[int, Stream] = {}
        self._last = 0
        self._held_bytes = 0
        self._unseen_bytes = 0
        self._send_window = wire.WINDOW_BYTES
        self._stream_window = wire.WINDOW_BYTES
        self._send_frame_bytes = wire.FRAME_BYTES
        self._block: list[bytes] | None = None
        self._block_flags = self._block_stream = self._block_bytes = 0
        self._cancels = float(server.limits.cancels)
        self._cancels_at = 0.0
        self._paused = False
        self._leaving = False
        self._closed = False

    @property
    def peer(self) -> tuple[str, int]:
        """The client's address and port."""
        found = self._transport.get_extra_info("peername")
        return found[:2] if isinstance(found, tuple) else ("", 0)

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self._expired)
        self._deadline.set(self._limits.read_seconds)
        self._server.enter(self)
        limits = self._limits
        settings = b"".join(struct.pack(">HI", *pair) for pair in (
            (wire.MAX_STREAMS, limits.streams), (wire.INITIAL_WINDOW, limits.stream_window_bytes),
            (wire.HEADER_LIST_SIZE, limits.head_bytes)))
        self._transport.write(wire.frame(wire.SETTINGS, 0, 0, settings) + wire.frame(
            wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", limits.connection_window_bytes - wire.WINDOW_BYTES)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._deadline.close()
        self._server.leave(self)
        for stream in (*self._receiving.values(), *self._answering.values()):
            stream.leave()
        self._receiving.clear()
        self._answering.clear()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        buffer = self._buffer + data if self._buffer else data
        try:
            self._buffer = buffer[self._frames(buffer):]
        except wire.Stop as stop:
            self._fail(stop.code, str(stop))

    def pause_writing(self) -> None:
        """The client does not read: send it no more, and take no more from it until it does."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if not self._closed:
            self._flush()

    # ---- frames

    def _frames(self, buffer: bytes) -> int:
        """Handle every whole frame; returns where the rest begins."""
        at, end = 0, len(buffer)
        if self._preface:
            if end < len(wire.PREFACE):
                if not wire.PREFACE.startswith(buffer):
                    raise wire.Stop(wire.PROTOCOL_ERROR, "this is not HTTP/2")
                return 0
            if not buffer.startswith(wire.PREFACE):
                raise wire.Stop(wire.PROTOCOL_ERROR, "this is not HTTP/2")
            self._preface, at = False, len(wire.PREFACE)
            self._deadline.set(self._limits.idle_seconds)
        while end - at >= wire.HEAD_BYTES and not self._closed:
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
            if kind == wire.DATA:
                self._data(number, flags, payload)
            elif kind == wire.HEADERS:
                self._headers(number, flags, payload)
            elif kind == wire.WINDOW_UPDATE:
                self._window_update(number, payload)
            elif kind <= wire.CONTINUATION:
                self._rare(kind, number, flags, payload)
        return at

    def _rare(self, kind: int, number: int, flags: int, payload: bytes) -> None:
        if kind == wire.SETTINGS:
            self._settings(number, flags, payload)
        elif kind == wire.PING and len(payload) != 8:
            raise wire.Stop(wire.FRAME_SIZE_ERROR, "a ping has eight bytes")
        elif kind == wire.PING and not flags & wire.ACK:
            self._transport.write(wire.frame(wire.PING, wire.ACK, 0, payload))
        elif kind == wire.RST_STREAM:
            self._cancelled(number, payload)
        elif kind == wire.CONTINUATION:
            if self._block is None:
                raise wire.Stop(wire.PROTOCOL_ERROR, "a continuation of nothing")
            self._continue(flags, payload)
        elif kind == wire.PUSH_PROMISE:
            raise wire.Stop(wire.PROTOCOL_ERROR, "a client cannot push")
        # What is left is wire.GOAWAY, after which the client only waits for its answers, and PRIORITY, which is advice.

    def _settings(self, number: int, flags: int, payload: bytes) -> None:
        if number or len(payload) % 6:
            raise wire.Stop(wire.PROTOCOL_ERROR, "the settings are malformed")
        if flags & wire.ACK:
            return
        for name, value in struct.iter_unpack(">HI", payload):
            if name == wire.INITIAL_WINDOW:
                if value > wire.LIMIT_WINDOW:
                    raise wire.Stop(wire.FLOW_CONTROL_ERROR, "the window is too large")
                for stream in (*self._receiving.values(), *self._answering.values()):
                    stream.send_window += value - self._stream_window
                self._stream_window = value
            elif name == wire.MAX_FRAME:
                if not wire.FRAME_BYTES <= value < 1 << 24:
                    raise wire.Stop(wire.PROTOCOL_ERROR, "the frame size is out of bounds")
                self._send_frame_bytes = value
        self._transport.write(wire.frame(wire.SETTINGS, wire.ACK, 0, b""))
        self._flush()

    def _window_update(self, number: int, payload: bytes) -> None:
        increment = int.from_bytes(payload) & wire.LIMIT_WINDOW
        if len(payload) != 4 or not increment:
            raise wire.Stop(wire.PROTOCOL_ERROR, "a window update is malformed")
        if number:
            stream = self._answering.get(number) or self._receiving.get(number)
            if stream is None:
                return  # it was answered already
            stream.send_window += increment
            window = stream.send_window
        else:
            self._send_window += increment
            window = self._send_window
        if window > wire.LIMIT_WINDOW:
            raise wire.Stop(wire.FLOW_CONTROL_ERROR, "the window is too large")
        if self._answering:
            self._flush()

    # ---- requests

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
        if self._block_bytes > self._limits.head_bytes:
            raise wire.Stop(wire.ENHANCE_YOUR_CALM, f"a header block is larger than {self._limits.head_bytes} bytes")
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
        if number <= self._last:
            self._trailers(number, ended)
            return
        self._last = number
        if self._leaving:
            return  # it was told to go elsewhere, and will
        if not fields or len(self._receiving) + len(self._answering) >= self._limits.streams:
            self._reset(number, wire.REFUSED_STREAM if fields else wire.PROTOCOL_ERROR)
            return
        stream = Stream(self, number, dict(fields), self._stream_window)
        if ended:
            self._whole(stream)
            return
        stream.started = self._loop.time()
        if not self._receiving:
            self._deadline.set(self._limits.read_seconds)
        self._receiving[number] = stream

    def _trailers(self, number: int, ended: bool) -> None:
        stream = self._receiving.pop(number, None)
        if stream is None:
            return  # it was reset or refused while these were on their way
        if not ended:
            raise wire.Stop(wire.PROTOCOL_ERROR, "trailers must end the stream")
        self._held_bytes -= stream.body_bytes
        self._whole(stream)

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        if not number or number > self._last:
            raise wire.Stop(wire.PROTOCOL_ERROR, "data of a stream that was not opened")
        size = len(payload)
        self._unseen_bytes += size
        if self._unseen_bytes > self._limits.connection_window_bytes // 2:
            self._transport.write(wire.frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unseen_bytes)))
            self._unseen_bytes = 0
        stream = self._receiving.get(number)
        if stream is None:
            return  # it was reset or refused while this was on its way
        if flags & wire.PADDED:
            payload = wire.unpadded(payload)
        stream.add(payload)
        self._held_bytes += len(payload)
        if flags & wire.END_STREAM:
            del self._receiving[number]
            self._held_bytes -= stream.body_bytes
            self._whole(stream)
            return
        if stream.body_bytes > self._limits.body_bytes or self._held_bytes > self._limits.connection_bytes:
            self._abandon(stream, wire.ENHANCE_YOUR_CALM)
            return
        stream.unseen_bytes += size
        if stream.unseen_bytes > self._limits.stream_window_bytes // 2:
            self._transport.write(wire.frame(wire.WINDOW_UPDATE, 0, number, struct.pack(">I", stream.unseen_bytes)))
            stream.unseen_bytes = 0

    def _whole(self, stream: Stream) -> None:
        self._answering[stream.number] = stream
        if not self._receiving:
            self._deadline.clear()
        self._server.handle(stream)

    def _cancelled(self, number: int, payload: bytes) -> None:
        if len(payload) != 4 or not number or number > self._last:
            raise wire.Stop(wire.PROTOCOL_ERROR, "a reset of a stream that was not opened")
        now, most = self._loop.time(), self._limits.cancels
        self._cancels = min(most, self._cancels + (now - self._cancels_at) * most / 2) - 1
        self._cancels_at = now
        if self._cancels < 0:
            raise wire.Stop(wire.ENHANCE_YOUR_CALM, "too many requests were cancelled")
        stream = self._receiving.pop(number, None)
        if stream is not None:
            self._held_bytes -= stream.body_bytes
        stream = stream or self._answering.pop(number, None)
        if stream is not None:
            stream.leave()
            self._rest()

    def _abandon(self, stream: Stream, code: int) -> None:
        del self._receiving[stream.number]
        self._held_bytes -= stream.body_bytes
        self._reset(stream.number, code)
        self._rest()

    # ---- answers

    def answer(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None:
        """Write the answer as far as the windows let it through; ``Stream.respond`` calls me."""
        number, size = stream.number, len(data)
        if not data and not tail:
            self._transport.write(wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, number, head))
        elif (size <= self._send_window and size <= stream.send_window and size <= self._send_frame_bytes
              and not self._paused):
            self._send_window -= size
            self._transport.write(b"".join((
                wire.HEAD.pack(len(head) >> 8, len(head) & 0xFF, wire.HEADERS, wire.END_HEADERS, number), head,
                wire.HEAD.pack(size >> 8, size & 0xFF, wire.DATA, 0 if tail else wire.END_STREAM, number), data,
                wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, number, tail) if tail else b"")))
        else:
            self._transport.write(wire.frame(wire.HEADERS, wire.END_HEADERS, number, head))
            stream.queue(data, tail)
            self._flush()
            return
        self._answering.pop(number, None)
        self._rest()

    def _flush(self) -> None:
        """Send on what is queued, oldest stream first."""
        for number, stream in tuple(self._answering.items()):
            if stream.unsent:
                self._deadline.set(self._limits.read_seconds)
            while stream.unsent and not self._paused:
                most = min(self._send_window, stream.send_window, self._send_frame_bytes)
                if most <= 0:
                    break
                chunk, tail = stream.take(most)
                self._send_window -= len(chunk)
                stream.send_window -= len(chunk)
                last = tail is not None
                self._transport.write(wire.frame(wire.DATA, wire.END_STREAM if last and not tail else 0, number, chunk))
                if last:
                    if tail:
                        ends = wire.END_HEADERS | wire.END_STREAM
                        self._transport.write(wire.frame(wire.HEADERS, ends, number, tail))
                    del self._answering[number]
                    self._rest()
            if self._send_window <= 0 or self._paused:
                return

    def _rest(self) -> None:
        """A stream ended: where none is left the connection is idle, or, if it is leaving, over."""
        if self._answering or self._receiving or self._closed:
            return
        if self._leaving:
            self._finish()
        else:
            self._deadline.set(self._limits.idle_seconds)

    # ---- ending

    def go_away(self, code: int, why: str = "") -> None:
        """Answer what was taken, take nothing more, and close."""
        if self._leaving or self._closed:
            return
        self._leaving = True
        self._transport.write(wire.frame(wire.GOAWAY, 0, 0, struct.pack(">II", self._last, code) + why.encode()))
        self._rest()

    def abort(self) -> None:
        self._transport.abort()

    def _fail(self, code: int, why: str) -> None:
        self._transport.write(wire.frame(wire.GOAWAY, 0, 0, struct.pack(">II", self._last, code) + why.encode()))
        self._finish()

    def _finish(self) -> None:
        """Say that no more comes. To close with the client's bytes unread could destroy what is on its way to it."""
        self._buffer, self._closed = b"", True
        transports.half_close(self._transport)
        self._deadline.set(wire.LINGER_SECONDS)

    def _reset(self, number: int, code: int) -> None:
        self._transport.write(wire.frame(wire.RST_STREAM, 0, number, struct.pack(">I", code)))

    def _expired(self) -> None:
        """Nothing but silence, a request that does not come to its end, or a client that does not read."""
        unread = self._transport.get_write_buffer_size() or any(each.unsent for each in self._answering.values())
        if self._closed or unread:
            self._transport.abort()
            return
        now, idle = self._loop.time(), not self._receiving and not self._answering
        for stream in tuple(self._receiving.values()):
            left = stream.started + self._limits.read_seconds - now
            if left > 0:
                self._deadline.set(left)
                return
            self._abandon(stream, wire.CANCEL)
        if idle:
            self.go_away(wire.NO_ERROR, "idle")
