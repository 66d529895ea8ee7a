"""The one gate of the REST side: nobody passes without an identity, and no browser page of somebody else's.

``application`` puts me before every route; I call the ``Authenticator`` that ``app`` gives. Deny by default:

- the Host must be a name of ours, or a page of another site could reach us under its own name (DNS rebinding);
- a foreign Origin is refused, whoever asks;
- an identity comes from ``Authorization: Bearer`` or from the session cookie, from no other header;
- with the cookie, what changes something must say its Origin, and it must be ours.

Only ``OPEN_PATHS`` and the login are reached without an identity.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lightship import errors
from lightship.client.transport import User
from lightship.web.sessions import Sessions

Authenticator = Callable[[str], Awaitable[User | None]]
"""The user whose token it is, or None."""

COOKIE = "lightship_session"
OPEN_PATHS = frozenset({"/healthz"})
LOGIN_PATH = "/login"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_LIMIT_CHARACTERS = 16 * 1024
_USER = "lightship.user"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?")


def user(connection: HTTPConnection) -> User:
    """Who asks. The gate has set it on every request that reaches a route."""
    found: User = connection.scope[_USER]
    return found


class Gate:
    """The ASGI middleware. ``refuse`` turns an error into an answer in the shape that the path's clients expect."""

    def __init__(self, app: ASGIApp, *, authenticate: Authenticator, sessions: Sessions, hosts: frozenset[str],
                 refuse: Callable[[Scope, errors.LightshipError], Response]) -> None:
        self._app = app
        self._authenticate = authenticate
        self._sessions = sessions
        self._hosts = hosts
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # There are no web sockets here; the server ends the connection.
        try:
            await self._admit(scope)
        except errors.LightshipError as error:
            await self._refuse(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = self._checked_host(headers)
        if scope["path"] in OPEN_PATHS:
            return
        _check_origin(headers, host, scope)
        if scope["path"] == LOGIN_PATH:
            return
        token, by_cookie = self._token(headers)
        if by_cookie and scope["method"] not in SAFE_METHODS and "origin" not in headers:
            raise errors.Forbidden("a change by the session cookie needs an Origin header",
                                   remedy="Scripts send the token: Authorization: Bearer")
        found = await self._authenticate(token) if token else None
        if found is None:
            raise errors.Unauthenticated(
                "no valid token came with the request",
                remedy="Send the header Authorization: Bearer TOKEN, or log in at /login")
        scope[_USER] = found

    def _checked_host(self, headers: Headers) -> str:
        sent = headers.getlist("host")
        match = _HOST.fullmatch(sent[0].lower()) if len(sent) == 1 else None
        if match is None or not (is_loopback(match[1]) or match[1] in self._hosts):
            raise errors.Forbidden("the Host header names another server",
                                   remedy="Use the address that lightship up printed")
        return sent[0].lower()

    def _token(self, headers: Headers) -> tuple[str, bool]:
        """The token, and whether it came by the cookie; a bearer token wins."""
        sent = headers.getlist("authorization")
        if sent:
            scheme, _, token = sent[0].partition(" ")
            usable = len(sent) == 1 and scheme.lower() == "bearer" and len(token) <= TOKEN_LIMIT_CHARACTERS
            return (token.strip() if usable else ""), False
        cookies: dict[str, str] = {}
        for line in headers.getlist("cookie"):
            cookies |= cookie_parser(line)
        token = self._sessions.token(cookies.get(COOKIE, "")) or ""
        return token, bool(token)


def is_loopback(name: str) -> bool:
    """Whether a Host header's name is this machine's loopback: ``localhost``, below it, or 127.x or ::1."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def session_cookie(value: str, *, secure: bool) -> dict[str, Any]:
    """The arguments of ``Response.set_cookie`` for a session."""
    return {"key": COOKIE, "value": value, "httponly": True, "samesite": "strict", "path": "/", "secure": secure}


def _check_origin(headers: Headers, host: str, scope: Scope) -> None:
    for origin in headers.getlist("origin"):
        parts = urlsplit(origin.lower())
        if parts.scheme != scope["scheme"] or parts.netloc != host:
            raise errors.Forbidden("the Origin header names another site")
