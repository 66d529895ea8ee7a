"""Unary gRPC over ``http2``: a server without a dependency.

Who serves a gRPC service gives ``Server`` a table of methods, ``/package.Service/Method`` to a function that takes a
``Call`` and answers it, now or later, once, by ``respond`` or ``fail``; ``unary`` makes such a function of a coroutine.
Messages are bytes: ``protowire`` or a codec of the service's own reads them. Health (``grpc.health.v1.Health/Check``)
is a method like others: ``health`` makes it.

Compressed requests (gzip, deflate) are read; answers are not compressed. A client's deadline makes a call ``gone``.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from urllib.parse import quote

from lightship import errors
from lightship.lib import hpack, http2, protowire
from lightship.lib.http2_wire import Limits

logger = logging.getLogger(__name__)

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
LIMIT_MESSAGE_CHARACTERS = 1000

_CONTENT_TYPE = b"application/grpc"
_HEAD = hpack.indexed(8) + hpack.literal(b"content-type", _CONTENT_TYPE)
_OK = hpack.literal(b"grpc-status", b"0")
_UNSUPPORTED_MEDIA = hpack.literal(b":status", b"415")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Code(IntEnum):
    """gRPC's status codes, those that we answer with."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODES: tuple[tuple[type[Exception], Code], ...] = (
    # The first that fits counts, so branches stand before what they branch from.
    (errors.TooLarge, Code.RESOURCE_EXHAUSTED),
    (errors.InvalidInput, Code.INVALID_ARGUMENT),
    (errors.Unauthenticated, Code.UNAUTHENTICATED),
    (errors.Forbidden, Code.PERMISSION_DENIED),
    (errors.NotFound, Code.NOT_FOUND),
    (errors.AlreadyExists, Code.ALREADY_EXISTS),
    (errors.Conflict, Code.ABORTED),
    (errors.Unsupported, Code.UNIMPLEMENTED),
    (errors.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (errors.Unavailable, Code.UNAVAILABLE),
    (protowire.Broken, Code.INVALID_ARGUMENT),
)


def code_of(problem: Exception) -> Code:
    """The status that an error answers with; INTERNAL for whatever is not in the tree."""
    return next((code for kind, code in _CODES if isinstance(problem, kind)), Code.INTERNAL)


class Call:
    """One call: its message, its metadata, and the way to answer."""

    __slots__ = ("_deadline", "_stream", "message", "path")

    def __init__(self, stream: http2.Stream, path: str, message: bytes, deadline: float | None) -> None:
        self._stream = stream
        self._deadline = deadline
        self.path = path
        self.message = message

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The request's header fields, names in lower case."""
        return self._stream.headers

    @property
    def peer(self) -> tuple[str, int]:
        """The client's address and port."""
        return self._stream.peer

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._stream.gone or (
            self._deadline is not None and asyncio.get_running_loop().time() > self._deadline)

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called if the client leaves or cancels before it is answered."""
        self._stream.on_gone(callback)

    def respond(self, message: bytes) -> None:
        """Answer."""
        self._stream.respond(_HEAD, b"\x00" + len(message).to_bytes(4) + message, _OK)

    def fail(self, code: Code, message: str) -> None:
        """Answer with an error."""
        self._stream.respond(_failure(code, message))


Method = Callable[[Call], None]


class Server:
    """A table of methods behind a listener: give ``protocol`` to ``loop.create_server``."""

    def __init__(self, methods: Mapping[str, Method], limits: Limits) -> None:
        self._methods = {path.encode(): (path, method) for path, method in methods.items()}
        self._limits = limits
        self.http = http2.Server(self._handle, limits)
        self.protocol = self.http.protocol

    async def drain(self) -> None:
        """Answer what is in flight, then end; bounded by the limits."""
        await self.http.drain()

    def _handle(self, stream: http2.Stream) -> None:
        headers = stream.headers
        if not headers.get(b"content-type", b"").startswith(_CONTENT_TYPE):
            stream.respond(_UNSUPPORTED_MEDIA)
            return
        path = headers.get(b":path", b"")
        found = self._methods.get(path)
        if found is None:
            shown = path.decode("latin-1")
            stream.respond(_failure(Code.UNIMPLEMENTED, f'there is no method "{shown}" here'))
            return
        try:
            message = self._message(stream.body, headers.get(b"grpc-encoding", b"identity"))
            timeout = headers.get(b"grpc-timeout")
            deadline = None if timeout is None else asyncio.get_running_loop().time() + _seconds(timeout)
        except errors.LightshipError as problem:
            stream.respond(_failure(code_of(problem), str(problem)))
            return
        call = Call(stream, found[0], message, deadline)
        try:
            found[1](call)
        except Exception as problem:
            fail(call, problem)

    def _message(self, body: bytes, encoding: bytes) -> bytes:
        """The one message of a unary call."""
        if len(body) < 5 or int.from_bytes(body[1:5]) != len(body) - 5:
            raise errors.InvalidInput("a unary call has one whole message")
        if not body[0]:
            return body[5:]
        if encoding not in (b"gzip", b"deflate"):
            raise errors.Unsupported("only gzip and deflate are read here")
        limit = self._limits.body_bytes
        inflate = zlib.decompressobj(wbits=47)  # either header, zlib's or gzip's
        try:
            message = inflate.decompress(body[5:], limit)
        except zlib.error as problem:
            raise errors.InvalidInput(f"the message cannot be decompressed: {problem}") from problem
        if inflate.unconsumed_tail:
            raise errors.TooLarge(f"the message is larger than {limit} bytes")
        if not inflate.eof:
            raise errors.InvalidInput("the message cannot be decompressed: it is cut short")
        return message


def fail(call: Call, problem: Exception) -> None:
    """Answer with what was raised; what is not in the error tree is logged too."""
    code = code_of(problem)
    if code is Code.INTERNAL:
        logger.error("call failed", exc_info=problem, extra={"path": call.path})
    known = isinstance(problem, errors.LightshipError | protowire.Broken)
    call.fail(code, str(problem) if known else f"{type(problem).__name__}: {problem}")


def unary(handler: Callable[[Call], Awaitable[bytes]]) -> Method:
    """A method of a coroutine that returns the answer's message, or raises; it is cancelled when the client leaves."""
    running: set[asyncio.Task[None]] = set()

    async def answer(call: Call) -> None:
        try:
            message = await handler(call)
        except Exception as problem:
            fail(call, problem)
        else:
            call.respond(message)

    def method(call: Call) -> None:
        task = asyncio.get_running_loop().create_task(answer(call))
        running.add(task)
        task.add_done_callback(running.discard)

        def cancel() -> None:
            task.cancel()

        call.on_gone(cancel)

    return method


def health(serving: Callable[[str], bool | None]) -> Method:
    """The health check: ``serving`` tells of a service's name, empty for the whole server; None: not known."""

    def check(call: Call) -> None:
        name = ""
        for number, _, value in protowire.fields(call.message):
            if number == 1:
                name = protowire.text(value)
        answer = serving(name)
        if answer is None:
            call.fail(Code.NOT_FOUND, f'there is no service "{name}" here')
        else:
            call.respond(b"\x08\x01" if answer else b"\x08\x02")

    return check


def _failure(code: Code, message: str) -> bytes:
    shown = quote(message[:LIMIT_MESSAGE_CHARACTERS], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
    return _HEAD + hpack.literal(b"grpc-status", b"%d" % code) + hpack.literal(b"grpc-message", shown)


def _seconds(timeout: bytes) -> float:
    unit = _UNITS.get(timeout[-1:])
    if unit is None or not timeout[:-1].isdigit() or len(timeout) > 9:
        raise errors.InvalidInput("grpc-timeout is malformed")
    return int(timeout[:-1]) * unit
