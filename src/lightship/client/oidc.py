"""OpenID Connect as kubectl's ``auth-provider: oidc`` has it: when an ID token ends, and the next one.

``client.credentials`` calls me. The contract is OpenID Connect Discovery 1.0 and RFC 6749, section 6. Renewed tokens
are written into the kubeconfig that the login came from, since issuers may take a refresh token once only.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from lightship import errors
from lightship.client.errors import InvalidKubeconfig
from lightship.client.kubeconfig import OidcLogin
from lightship.lib import private

ANSWER_LIMIT_SECONDS = 30.0
LIMIT_ANSWER_BYTES = 1024 * 1024


_T = TypeVar("_T", "_Discovery", "_Answer")


class _Claims(msgspec.Struct):
    exp: float


class _Discovery(msgspec.Struct):
    token_endpoint: str


class _Answer(msgspec.Struct):
    id_token: str = ""
    refresh_token: str = ""


def expiry(id_token: str) -> datetime | None:
    """When an ID token ends; None where it cannot be told, as of no token. The signature is the server's matter."""
    parts = id_token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return datetime.fromtimestamp(msgspec.json.decode(payload, type=_Claims).exp, tz=UTC)
    except (binascii.Error, ValueError, OverflowError, msgspec.MsgspecError):
        return None


async def refreshed(login: OidcLogin) -> OidcLogin:
    """The login with a new ID token. Raises ``errors.Unauthenticated`` and ``errors.Unavailable``."""
    if not login.refresh_token:
        raise errors.Unauthenticated(f"the ID token of {login.user!r} has ended, and there is no refresh token",
                                     remedy=f"Log in at {login.issuer} again")
    endpoint = _read(login, await _ask(login, f"{login.issuer}/.well-known/openid-configuration"), _Discovery
                     ).token_endpoint
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, "client_id": login.client_id}
    if login.client_secret:
        form["client_secret"] = login.client_secret
    answer = _read(login, await _ask(login, endpoint, form), _Answer)
    if not answer.id_token:
        raise errors.Unauthenticated(f"{login.issuer} answered without an id_token",
                                     remedy="Let the client ask for the scope openid")
    return replace(login, id_token=answer.id_token, refresh_token=answer.refresh_token or login.refresh_token)


def _read(login: OidcLogin, body: bytes, type: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.MsgspecError as cause:
        raise errors.Unauthenticated(f"{login.issuer} does not answer as an OpenID Connect issuer: {cause}") from cause


async def _ask(login: OidcLogin, url: str, form: dict[str, str] | None = None) -> bytes:
    import aiohttp

    try:
        context = ssl.create_default_context(cadata=login.issuer_ca_pem.decode("ascii") or None)
    except (ssl.SSLError, UnicodeDecodeError) as cause:
        raise InvalidKubeconfig(f"{login.file}: idp-certificate-authority: it is no PEM certificate") from cause
    timeout = aiohttp.ClientTimeout(total=ANSWER_LIMIT_SECONDS)
    try:
        async with (aiohttp.ClientSession(timeout=timeout) as session,
                    session.request("POST" if form else "GET", url, data=form, ssl=context) as answer):
            body = await answer.content.read(LIMIT_ANSWER_BYTES)
            if answer.status >= 400:
                raise errors.Unauthenticated(
                    f"{login.issuer} did not renew the login of {login.user!r}: {answer.status} "
                    f"{body[:300].decode(errors='replace')}", remedy="Log in there again")
            return body
    except (aiohttp.ClientError, TimeoutError, OSError) as cause:
        raise errors.Unavailable(
            f"could not reach the issuer {login.issuer}: {cause or type(cause).__name__}") from cause


def remember(login: OidcLogin) -> None:
    """Write the tokens into the kubeconfig, which is locked meanwhile, since other processes of the user may renew too.

    Raises ``OSError`` where it may not be written.
    """
    import yaml  # late: not needed to start the server

    if login.file is None:
        return
    descriptor = os.open(f"{login.file}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        document = yaml.safe_load(login.file.read_text())
        for entry in document["users"]:
            if entry.get("name") == login.user:
                config = entry["user"]["auth-provider"]["config"]
                config |= {"id-token": login.id_token, "refresh-token": login.refresh_token}
        private.write(login.file, yaml.safe_dump(document, sort_keys=False).encode())
    finally:
        os.close(descriptor)
