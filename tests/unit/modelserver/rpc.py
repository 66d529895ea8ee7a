"""A gRPC client of a few lines for tests in the server's own loop, and messages of the inference protocol by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from lightship.lib import hpack
from lightship.lib import http2_wire as h2
from lightship.lib import protowire as wire
from lightship.modelserver import grpc_codec, tensors


class Rpc:
    """One connection; calls may be made at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = hpack.Decoder(1 << 20)
        self._next = 1
        self._waiting: dict[int, tuple[asyncio.Future[tuple[int, bytes]], bytearray]] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Rpc]:
        rpc = cls(*await asyncio.open_connection("127.0.0.1", port))
        rpc._writer.write(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, b""))
        reading = asyncio.ensure_future(rpc._read())
        try:
            yield rpc
        finally:
            reading.cancel()
            rpc._writer.close()

    async def call(self, path: str, message: bytes) -> tuple[int, bytes]:
        """The status and the answer's message."""
        number, self._next = self._next, self._next + 2
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (future, bytearray())
        block = hpack.literal(b":path", path.encode()) + hpack.literal(b"content-type", b"application/grpc")
        self._writer.write(h2.frame(h2.HEADERS, h2.END_HEADERS, number, block) + h2.frame(
            h2.DATA, h2.END_STREAM, number, b"\0" + len(message).to_bytes(4) + message))
        return await asyncio.wait_for(future, 20)

    async def _read(self) -> None:
        while True:
            high, low, kind, _, number = h2.HEAD.unpack(await self._reader.readexactly(h2.HEAD_BYTES))
            payload = await self._reader.readexactly(high << 8 | low)
            if number not in self._waiting:
                continue
            future, data = self._waiting[number]
            if kind == h2.DATA:
                data += payload
            elif kind == h2.HEADERS:
                fields = dict(self._decoder.decode(payload))
                if b"grpc-status" in fields and not future.done():
                    future.set_result((int(fields[b"grpc-status"]), bytes(data[5:])))


def infer_message(model: str, inputs: Mapping[str, Any], *, raw: bool = True, id: str = "") -> bytes:
    """A ModelInferRequest."""
    parts = [wire.string(1, model), wire.string(3, id)]
    for name, array in inputs.items():
        datatype = tensors.datatype_of(array)
        described = wire.string(1, name) + wire.string(2, datatype) + wire.field(
            3, grpc_codec.packed(np.array(array.shape)))
        parts.append(wire.field(5, described if raw else described + wire.field(
            5, grpc_codec.contents(datatype, array))))
    if raw:
        parts += [wire.field(7, tensors.to_bytes(array)) for array in inputs.values()]
    return b"".join(parts)


def read_response(message: bytes) -> tuple[str, str, dict[str, Any]]:
    """The model, the request's id and the outputs of a ModelInferResponse: read as the request that it mirrors."""
    head, described, raw = {1: "", 3: ""}, [], []
    for number, _, value in wire.fields(message):
        if number in head:
            head[number] = wire.text(value)
        elif number == 5:
            described.append(wire.message(value))
        elif number == 6:
            raw.append(wire.message(value))
    if not described:
        return head[1], head[3], {}
    mirrored = b"".join([wire.field(5, one) for one in described] + [wire.field(7, one) for one in raw])
    return head[1], head[3], grpc_codec.infer_request(mirrored)[2].arrays()
