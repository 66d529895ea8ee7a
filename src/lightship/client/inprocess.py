"""The transport that never leaves the process: requests enter the API server's ``handle`` as they are.

``app`` makes one per controller, with that controller's own identity; ``client.client`` calls me. Bodies stream: a
watch hands over chunks as the server makes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

from lightship import errors
from lightship.client.transport import Request, Response, User

Handle = Callable[[Request], Awaitable[Response]]


class InProcess:
    """A ``Transport`` into ``handle``, as ``user``. Authorization and admission run as they do for any request."""

    def __init__(self, handle: Handle, user: User) -> None:
        self._handle = handle
        self.user = user
        self._bodies: set[_Body] = set()
        self._closed = False

    async def send(self, request: Request) -> Response:
        if self._closed:
            raise errors.Unavailable(f"the client of {self.user.name} is closed")
        response = await self._handle(dataclasses.replace(request, user=self.user))
        if response.upgrade is not None:
            raise errors.Unsupported("a connection in this process cannot be upgraded",
                                     remedy="Ask over HTTPS, as `kubectl exec` does")
        if isinstance(response.body, bytes):
            return response
        body = _Body(response.body, self._bodies)
        self._bodies.add(body)
        return dataclasses.replace(response, body=body)

    async def close(self) -> None:
        """End the streams that are still open, so that the server lets go of their watches."""
        self._closed = True
        for body in list(self._bodies):
            await body.aclose()


class _Body:
    """A streamed body that is taken off its transport's books when it ends or is closed."""

    def __init__(self, chunks: AsyncIterator[bytes], books: set[_Body]) -> None:
        self._chunks = chunks
        self._books = books
        self._reading = False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self not in self._books:
            await self._let_go()
            raise StopAsyncIteration
        self._reading = True
        try:
            return await anext(self._chunks)
        except BaseException:
            # Whatever ended the body (its end, an error, a cancelled reader), the server's side must let go.
            self._reading = False
            await self.aclose()
            raise
        finally:
            self._reading = False

    async def aclose(self) -> None:
        self._books.discard(self)
        if not self._reading:  # a generator cannot be closed under its reader, who closes it after this chunk
            await self._let_go()

    async def _let_go(self) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
