"""A server that answers the API server's benchmark from canned bytes: what the client reaches where a server costs
next to nothing. ``apiserver.py`` runs me with a certificate and a key; I print my port.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

import msgspec
import uvloop

_HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Canned:
    """All that was created, as the lines of a watch and the items of a list."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.watches: set[asyncio.Transport] = set()


class Connection(asyncio.Protocol):
    """Requests one at a time, as the client sends them."""

    def __init__(self, canned: Canned) -> None:
        self._canned, self._data = canned, b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._canned.watches.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        size = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]) if b"content-length: " in lower else 0
        if len(body) < size:
            return
        self._data = body[size:]
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
        self._answer(method, path, body[:size])

    def _answer(self, method: bytes, path: bytes, body: bytes) -> None:
        canned = self._canned
        if b"watch=1" in path:
            canned.watches.add(self._transport)
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                  b"transfer-encoding: chunked\r\n\r\n")
        elif method == b"POST" and path.endswith(b"/configmaps"):
            name = msgspec.json.decode(body)["metadata"]["name"].encode()
            canned.items[name] = body
            line = b'{"type":"ADDED","object":%b}\n' % body
            chunk = b"%x\r\n%b\r\n" % (len(line), line)
            for watch in canned.watches:
                watch.write(chunk)
            self._whole(201, body)
        elif path.partition(b"?")[0].endswith(b"/configmaps"):
            self._whole(200, b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % b",".join(canned.items.values()))
        else:
            self._whole(200 if method != b"POST" else 201, canned.items.get(path.rpartition(b"/")[2], b"{}"))

    def _whole(self, status: int, body: bytes) -> None:
        self._transport.write(_HEAD % (status, len(body), body))


async def serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    canned = Canned()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(canned), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:3]))
