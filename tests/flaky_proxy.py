"""A TCP relay that cuts connections: for tests of what a broken network does to whoever asks through it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

Cut = Callable[[int], int | None]
"""For the connection of that number (from 0): after how many bytes of the answer it is cut, or None for never."""


@contextlib.contextmanager
def running(target: str, cut: Cut) -> Iterator[str]:
    """The address of a relay to the HTTP server ``target``."""
    host, port = urlsplit(target).hostname, urlsplit(target).port
    assert host and port
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, (host, port), cut), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, target: tuple[str, int], cut: Cut) -> None:
    number = 0
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.create_connection(target)
        threading.Thread(target=_pump, args=(client, server, None), daemon=True).start()
        threading.Thread(target=_pump, args=(server, client, cut(number)), daemon=True).start()
        number += 1


def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    left = limit
    with contextlib.suppress(OSError):
        while left is None or left > 0:
            data = source.recv(65536 if left is None else min(left, 65536))
            if not data:
                break
            sink.sendall(data)
            left = None if left is None else left - len(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
