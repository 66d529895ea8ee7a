"""Routes as domains declare them: an async function from request to answer, wrapped so that it cannot forget a review.

Domains call ``route``; Starlette calls what I make of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lightship import errors
from lightship.web import access

Handler = Callable[[Request], Awaitable[Any]]


def route(path: str, handler: Handler, *, methods: Sequence[str] = ("GET",), status: int = 200) -> Route:
    """A route. ``handler`` returns JSON data, sent with ``status``, or a ``Response`` of its own.

    An answer for which no access review was made is never sent: that is a bug, and becomes an ``InternalError``.
    """

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        answer = await handler(request)
        if not access.reviewed(request):
            raise errors.InternalError(f"the route {path} answered without an access review")
        return answer if isinstance(answer, Response) else json(answer, status=status)

    return Route(path, endpoint, methods=list(methods))


def json(data: Any, *, status: int = 200) -> Response:
    """``data`` as a JSON answer; datetimes become RFC 3339."""
    return Response(msgspec.json.encode(data), status_code=status, media_type="application/json")
