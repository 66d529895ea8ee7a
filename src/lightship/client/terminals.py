"""Commands in a container over a WebSocket, with this process' own terminal: what ``kubectl exec -it`` does.

Verbs call ``run``. The subprotocol is Kubernetes' ``v5.channel.k8s.io``: the first byte of a message is its channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from lightship import errors
from lightship.client import statuses
from lightship.client.http import Http
from lightship.kube.objects import Key
from lightship.kube.resources import PODS

if TYPE_CHECKING:
    import aiohttp

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
READ_BYTES = 32 * 1024
CLOSING_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, and where. ``terminal``: with a terminal of its own, which this one drives."""

    pod: Key
    container: str
    words: Sequence[str]
    terminal: bool = False


async def run(http: Http, command: Command) -> int:
    """Run it with our standard streams; its exit code. Raises ``errors.NotFound`` and what else the server answers."""
    query = [("container", command.container), ("stdin", "true"), ("stdout", "true"),
             ("stderr", str(not command.terminal).lower()), ("tty", str(command.terminal).lower()),
             *(("command", word) for word in command.words)]
    path = PODS.path(command.pod.namespace, command.pod.name, "exec")
    socket = await http.websocket(path, urlencode(query), PROTOCOLS)
    try:
        with _raw() if command.terminal else contextlib.nullcontext():
            return await _both_ways(socket, terminal=command.terminal)
    finally:
        await asyncio.wait_for(socket.close(), CLOSING_SECONDS)


async def _both_ways(socket: aiohttp.ClientWebSocketResponse, *, terminal: bool) -> int:
    import aiohttp

    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    reader = sys.stdin.fileno()

    def readable() -> None:
        data = os.read(reader, READ_BYTES)
        if not data:
            loop.remove_reader(reader)
        typed.put_nowait(bytes([_STDIN]) + data if data else bytes([_CLOSE, _STDIN]))

    sending = asyncio.create_task(_send(socket, typed))
    loop.add_reader(reader, readable)
    if terminal:
        loop.add_signal_handler(signal.SIGWINCH, lambda: typed.put_nowait(_size()))
        typed.put_nowait(_size())
    try:
        async for message in socket:
            if message.type != aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _ERROR:
                return _exit_code(data)
            if channel in (_STDOUT, _STDERR) and data:
                out = sys.stdout if channel == _STDOUT else sys.stderr
                out.buffer.write(data)
                out.flush()
    finally:
        sending.cancel()
        loop.remove_reader(reader)
        if terminal:
            loop.remove_signal_handler(signal.SIGWINCH)
    raise errors.Unavailable("the connection ended before the command did")


async def _send(socket: aiohttp.ClientWebSocketResponse, typed: asyncio.Queue[bytes]) -> None:
    """Messages with their channel's byte, in order."""
    while True:
        await socket.send_bytes(await typed.get())


def _size() -> bytes:
    """The message that tells how large our terminal is."""
    columns, rows = os.get_terminal_size(sys.stdin.fileno())
    return bytes([_RESIZE]) + msgspec.json.encode({"Width": columns, "Height": rows})


def _exit_code(data: bytes) -> int:
    status: dict[str, Any] = msgspec.json.decode(data)
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise statuses.error_of(status)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Our terminal hands on each key, until the end."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
