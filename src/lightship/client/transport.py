"""A request and its answer, as both transports and the API server's ``handle`` know them.

I am the seam of invariant 4: the in-process transport and the TLS listener build the same ``Request`` and enter the
same ``handle``. Bodies of watches and followed logs are asynchronous iterators and must be streamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class User:
    """Who asks. A service account is ``system:serviceaccount:NAMESPACE:NAME`` as in Kubernetes."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP-shaped request. ``query`` is the raw query string without ``?``; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    """The identity, where the caller has already established it (in process); else ``handle`` authenticates."""


class Duplex(Protocol):
    """Bytes both ways, once a connection has left HTTP. Neither side's slowness grows memory: both calls wait."""

    async def read(self) -> bytes:
        """What has come; empty once the other side has ended."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more. Raises ``ConnectionError`` when the other side is gone."""
        ...


@dataclass(frozen=True, kw_only=True)
class Response:
    """The answer; ``body`` is whole, or an iterator of chunks that must be closed (``aclose``) when abandoned."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    upgrade: Callable[[Duplex], Awaitable[None]] | None = None
    """With status 101: called once the head is sent, with the connection as bytes. It is cancelled when the client
    goes away or the server stops; when it returns, the connection is closed."""


class Transport(Protocol):
    """Carries requests to a Kubernetes API. Raises ``errors.Unavailable`` when it cannot be reached."""

    async def send(self, request: Request) -> Response: ...

    async def close(self) -> None: ...
