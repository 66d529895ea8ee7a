"""SPDY/3.1 as Kubernetes' clients speak it: streams over one connection, each with headers and bytes both ways.

``remote_command`` and ``port_forward`` call me. Windows are neither kept nor told, since clients' SPDY does neither: a
stream that nobody reads holds the connection instead, so that its data stays with the client; so do many streams of
which little is unread each.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import Mapping

from lightship.client.transport import Duplex
from lightship.cluster.apiserver.streams import spdy_words

LIMIT_STREAMS = 2048
LIMIT_FRAME_BYTES = 1024 * 1024
LIMIT_HEADER_BYTES = 8 * 1024
LIMIT_HEADERS = 32
LIMIT_UNREAD_BYTES = 256 * 1024
"""Of one stream."""
LIMIT_ALL_UNREAD_BYTES = 1024 * 1024
"""Of all streams of a connection."""
_WRITE_BYTES = 64 * 1024
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 1
_PROTOCOL_ERROR, _REFUSED = 1, 3


class SpdyError(Exception):
    """The client broke the protocol: the connection ends."""


class Stream:
    """One stream that the client made."""

    def __init__(self, connection: Connection, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._connection = connection
        self._number = number
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._dropping = False
        self.remote_done = self.local_done = False

    async def read(self) -> bytes:
        """What has come; empty once the client has finished it."""
        while not self._chunks:
            if self.remote_done:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._chunks)
        self._forget_unread()
        return data

    def discard(self) -> None:
        """Nobody reads it, now or later: what comes is dropped."""
        self._dropping = True
        self._forget_unread()

    def _forget_unread(self) -> None:
        self._chunks.clear()
        self._connection.unread_bytes -= self._size
        self._size = 0
        self._connection.room.set()

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), _WRITE_BYTES):
            if self.local_done:
                return
            part = data[start:start + _WRITE_BYTES]
            await self._connection.send(struct.pack("!II", self._number, len(part)) + part)

    async def finish(self) -> None:
        """No more is written."""
        if not self.local_done:
            self.local_done = True
            await self._connection.send(struct.pack("!II", self._number, _FIN << 24))
            self._connection.forget_if_done(self._number)

    async def reset(self) -> None:
        """It ends at once, both ways."""
        self.discard()
        if not (self.local_done and self.remote_done):
            self.local_done = self.remote_done = True
            await self._connection.reset(self._number, _REFUSED)

    @property
    def full(self) -> bool:
        return not (self.remote_done or self._dropping) and (
            self._size >= LIMIT_UNREAD_BYTES or self._connection.unread_bytes >= LIMIT_ALL_UNREAD_BYTES)

    def feed(self, data: bytes, final: bool) -> None:
        if data and not (self.remote_done or self._dropping):
            self._chunks.append(data)
            self._size += len(data)
            self._connection.unread_bytes += len(data)
        self.remote_done = self.remote_done or final
        self._changed.set()


class Connection:
    """All streams of one client. ``run`` reads frames until the end; ``accept`` gives new streams."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._streams: dict[int, Stream] = {}
        self._new: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=spdy_words.DICTIONARY)
        self._deflate = zlib.compressobj(zdict=spdy_words.DICTIONARY)
        self.room = asyncio.Event()
        self.unread_bytes = 0

    async def accept(self) -> Stream | None:
        """The next stream of the client; None once the connection has ended."""
        stream = await self._new.get()
        if stream is None:
            self._new.put_nowait(None)
        return stream

    async def run(self) -> None:
        """Until the client has gone. Raises ``SpdyError``."""
        try:
            while await self._need(8):
                first, second = struct.unpack_from("!II", self._buffer)
                length = second & 0xFFFFFF
                if length > LIMIT_FRAME_BYTES:
                    raise SpdyError(f"a frame may have {LIMIT_FRAME_BYTES} bytes")
                if not await self._need(8 + length):
                    return
                data = bytes(self._buffer[8:8 + length])
                del self._buffer[:8 + length]
                if first & 0x80000000:
                    await self._control(first & 0xFFFF, second >> 24, data)
                else:
                    await self._data(first, second >> 24, data)
        finally:
            for stream in self._streams.values():
                stream.feed(b"", True)
            self._new.put_nowait(None)

    async def _need(self, count: int) -> bool:
        while len(self._buffer) < count:
            data = await self._duplex.read()
            if not data:
                return False
            self._buffer += data
        return True

    async def _data(self, number: int, flags: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # it was reset, and the client did not know yet
        while stream.full:
            self.room.clear()
            await self.room.wait()
        stream.feed(data, bool(flags & _FIN))
        self.forget_if_done(number)

    async def _control(self, kind: int, flags: int, data: bytes) -> None:
        if kind == _SYN_STREAM and len(data) >= 10:
            await self._begin(struct.unpack_from("!I", data)[0] & 0x7FFFFFFF, flags, self._headers(data[10:]))
        elif kind == _RST_STREAM and len(data) >= 8:
            stream = self._streams.pop(struct.unpack_from("!I", data)[0] & 0x7FFFFFFF, None)
            if stream is not None:
                stream.local_done = True
                stream.feed(b"", True)
        elif kind == _PING and len(data) >= 4:
            if struct.unpack_from("!I", data)[0] & 1:  # the client's own; ours would be even
                await self.send(struct.pack("!HHI", 0x8003, _PING, 4) + data[:4])
        elif kind in (_HEADERS, _SYN_REPLY):
            self._headers(data[4:])  # they say nothing to us, but the dictionary goes on

    async def _begin(self, number: int, flags: int, headers: dict[str, str]) -> None:
        if not number & 1 or number in self._streams:
            await self.reset(number, _PROTOCOL_ERROR)
            return
        if len(self._streams) >= LIMIT_STREAMS or self._new.qsize() >= LIMIT_STREAMS:
            await self.reset(number, _REFUSED)
            return
        stream = self._streams[number] = Stream(self, number, headers)
        block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self.send(struct.pack("!HHII", 0x8003, _SYN_REPLY, 4 + len(block), number) + block)
        if flags & _FIN:
            stream.feed(b"", True)
        self._new.put_nowait(stream)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, LIMIT_HEADER_BYTES)
            if self._inflate.unconsumed_tail:
                raise SpdyError(f"the headers of a stream may have {LIMIT_HEADER_BYTES} bytes")
            count, at, headers = struct.unpack_from("!I", text)[0], 4, {}
            if count > LIMIT_HEADERS:
                raise SpdyError(f"a stream may have {LIMIT_HEADERS} headers")
            for _ in range(count):
                words = []
                for _ in range(2):
                    size = struct.unpack_from("!I", text, at)[0]
                    words.append(text[at + 4:at + 4 + size].decode("latin-1"))
                    at += 4 + size
                headers[words[0].lower()] = words[1]
        except (zlib.error, struct.error) as error:
            raise SpdyError(f"the headers of a stream cannot be read: {error}") from error
        return headers

    async def send(self, frame: bytes) -> None:
        await self._duplex.write(frame)

    async def reset(self, number: int, status: int) -> None:
        self._streams.pop(number, None)
        await self.send(struct.pack("!HHIII", 0x8003, _RST_STREAM, 8, number, status))

    async def ping(self) -> None:
        """Data that a client which is gone answers with the end of its connection."""
        await self.send(struct.pack("!HHII", 0x8003, _PING, 4, 2))

    async def go_away(self) -> None:
        last = max(self._streams, default=0)
        await self.send(struct.pack("!HHIII", 0x8003, _GOAWAY, 8, last, 0))

    def forget_if_done(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.remote_done and stream.local_done:
            del self._streams[number]
