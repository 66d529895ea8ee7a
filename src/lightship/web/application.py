"""One Starlette application of all routes, behind the gate, with our errors said in each API's own shape.

``app`` calls ``build`` with the routes of every domain; tests call it with a stand-in authenticator.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightship import errors
from lightship.lib.clock import SYSTEM
from lightship.web import access, auth, login
from lightship.web import errors as statuses
from lightship.web.endpoints import json
from lightship.web.sessions import Sessions

_log = logging.getLogger(__name__)

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                               "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not no-referrer: with it browsers send "Origin: null" along our own forms, which the gate refuses.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HTTP_ERRORS: dict[int, type[errors.LightshipError]] = {404: errors.NotFound, 405: errors.Unsupported}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the gate needs. ``hosts`` are the names, beside loopback's, under which this server may be addressed."""

    authenticate: auth.Authenticator
    reviewer: access.AccessReviewer
    hosts: frozenset[str] = frozenset()
    sessions: Sessions = field(default_factory=lambda: Sessions(SYSTEM))


def build(routes: Sequence[BaseRoute], options: Options) -> Starlette:
    """The application. ``/healthz`` and the login are added here; every other route is the caller's."""
    app = Starlette(
        routes=[Route("/healthz", _healthz), *login.routes(options.authenticate, options.sessions), *routes],
        middleware=[
            Middleware(_Headers),
            Middleware(auth.Gate, authenticate=options.authenticate, sessions=options.sessions, hosts=options.hosts,
                       refuse=refusal),
        ],
        exception_handlers={errors.LightshipError: _lightship_error, HTTPException: _http_error,
                            Exception: _any_error},
    )
    app.state.reviewer = options.reviewer
    return app


def refusal(scope: Scope, error: errors.LightshipError) -> Response:
    """``error`` as an answer; a person's browser that has no session gets the login page instead of JSON."""
    code = statuses.status(error, scope["path"])
    headers = dict(Request(scope).headers)
    if code == 401 and "text/html" in headers.get("accept", "") and scope["method"] == "GET":
        return login.page(status=401)
    answer = json(statuses.body(error, scope["path"]), status=code)
    if code == 401:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


async def _healthz(request: Request) -> Response:
    return json({"status": "ok"})


async def _lightship_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.LightshipError)
    if statuses.status(error) == 500:
        _log.error("a request failed", exc_info=error, extra={"path": request.url.path})
    return refusal(request.scope, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _HTTP_ERRORS.get(error.status_code, errors.BadRequest)
    answer = refusal(request.scope, kind(f"{request.method} {request.url.path}: {error.detail}"))
    answer.status_code = error.status_code
    return answer


async def _any_error(request: Request, error: Exception) -> Response:
    # Starlette logs nothing by itself and raises it again for the server, which ends the connection.
    _log.error("a request met a bug", exc_info=error, extra={"path": request.url.path})
    return refusal(request.scope, errors.InternalError("something went wrong here; the server's log says what"))


class _Headers:
    """Puts the security headers on every answer that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(
                    (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in names)]
            await send(message)

        await self._app(scope, receive, with_headers)
