"""The token of a client that can set no header when it asks for a WebSocket: a browser.

It comes as a subprotocol, ``base64url.bearer.authorization.k8s.io.TOKEN``, beside the one that is meant. ``gate`` asks
me for it, and whoever answers or passes on the handshake for the subprotocols without it. Pure.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from lightship import errors

PREFIX = "base64url.bearer.authorization.k8s.io."
_PROTOCOLS = "sec-websocket-protocol"


def protocols(headers: Mapping[str, str]) -> list[str]:
    """The subprotocols that a client asks for, without any token."""
    return [name for name in _asked(headers) if not name.startswith(PREFIX)]


def token_of(headers: Mapping[str, str]) -> str:
    """The token; empty without one. Raises ``errors.Unauthenticated`` where it is given in no proper way."""
    if PREFIX not in headers.get(_PROTOCOLS, "") or headers.get("upgrade", "").lower() != "websocket":
        return ""
    found = [name.removeprefix(PREFIX) for name in _asked(headers) if name.startswith(PREFIX)]
    if len(found) != 1:
        raise _refused("one subprotocol bears the token")
    if not protocols(headers):
        raise _refused("ask for another subprotocol beside the one that bears the token")
    try:
        text = found[0].encode("ascii")
        if b"=" in text:
            raise _refused("the token is base64url without padding")
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise _refused("the token is base64url of UTF-8") from error


def _asked(headers: Mapping[str, str]) -> list[str]:
    return [name.strip() for name in headers.get(_PROTOCOLS, "").split(",") if name.strip()]


def _refused(remedy: str) -> errors.Unauthenticated:
    return errors.Unauthenticated("Unauthorized", remedy=remedy)
