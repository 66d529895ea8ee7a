"""The login: a token in the address or the form becomes a session cookie.

``application`` adds my routes. ``lightship up`` prints the address with the token; whoever opens the page without a
session gets the form.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from lightship.web import auth, bodies
from lightship.web.auth import Authenticator
from lightship.web.sessions import Sessions

FORM_LIMIT_BYTES = 32 * 1024
_STYLE = ("body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem;"
          "color-scheme:light dark}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;"
          "margin:.25rem 0}code{font-size:.9em}[role=alert]{color:#b3261e}"
          "@media(prefers-color-scheme:dark){[role=alert]{color:#f2b8b5}}")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Log in to Lightship</title><style>{style}</style></head>
<body><main><h1>Lightship</h1>{alert}
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></form>
<p><code>lightship up</code> prints an address that logs you in; the token itself is the file <code>token</code> in the
data directory.</p></main></body></html>"""
_POLICY = ("default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-"
           + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode() + "'")


def page(*, status: int, wrong: bool = False) -> Response:
    """The form; ``wrong`` says that the token that was tried is not valid."""
    alert = '<p role="alert">That token is not valid.</p>' if wrong else ""
    return Response(_PAGE.format(style=_STYLE, alert=alert), status_code=status, media_type="text/html",
                    headers={"content-security-policy": _POLICY})


def routes(authenticate: Authenticator, sessions: Sessions) -> list[Route]:
    """``GET /login?token=``, ``POST /login`` with a form, ``POST /logout``."""

    async def log_in(request: Request) -> Response:
        if request.method == "POST":
            form = parse_qs((await bodies.read(request, FORM_LIMIT_BYTES)).decode(errors="replace"))
            token = form.get("token", [""])[0].strip()
        else:
            token = request.query_params.get("token", "")
        if not token:
            return page(status=401)
        if len(token) > auth.TOKEN_LIMIT_CHARACTERS or await authenticate(token) is None:
            return page(status=401, wrong=True)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(**auth.session_cookie(sessions.open(token), secure=request.url.scheme == "https"))
        return answer

    async def log_out(request: Request) -> Response:
        sessions.close(request.cookies.get(auth.COOKIE, ""))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(auth.COOKIE, path="/")
        return answer

    return [Route(auth.LOGIN_PATH, log_in, methods=["GET", "POST"]), Route("/logout", log_out, methods=["POST"])]
