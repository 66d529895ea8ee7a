"""Bearer tokens: the admin token, and ServiceAccount tokens as HS256 JWTs.

``app`` builds a ``TokenAuthenticator``; ``server`` asks it who a token is; ``accounts`` has tokens issued. I call only
``hmac``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from lightship.client.transport import User
from lightship.lib.clock import Clock

DEFAULT_AUDIENCE = "https://kubernetes.default.svc"
ISSUER = "https://kubernetes.default.svc"
ADMIN = User(name="lightship-admin", groups=("system:masters", "system:authenticated"))

LIMIT_TOKEN_BYTES = 8 * 1024
LIMIT_CACHED_TOKENS = 4096


class Authenticator(Protocol):
    """Who a bearer token is, or None."""

    async def authenticate(self, token: str) -> User | None: ...


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a ServiceAccount token says. ``uid`` is the account's; a recreated account voids old tokens."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expiry: datetime


class TokenAuthority:
    """Signs and verifies ServiceAccount tokens with one key."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        assert len(key) >= 32, "the key is too short"
        self._key, self._clock = key, clock

    def issue(self, claims: Claims) -> str:
        now = int(self._clock.now().timestamp())
        payload = {
            "iss": ISSUER, "sub": f"system:serviceaccount:{claims.namespace}:{claims.name}",
            "aud": list(claims.audiences), "iat": now, "nbf": now, "exp": int(claims.expiry.timestamp()),
            "kubernetes.io": {"namespace": claims.namespace,
                              "serviceaccount": {"name": claims.name, "uid": claims.uid}},
        }
        head = _encode(msgspec.json.encode({"alg": "HS256", "typ": "JWT"}))
        body = _encode(msgspec.json.encode(payload))
        return f"{head}.{body}.{self._sign(f'{head}.{body}')}"

    def verify(self, token: str) -> Claims | None:
        """The claims of a token that I signed and that has not expired; else None."""
        head, _, rest = token.partition(".")
        body, _, signature = rest.partition(".")
        if not hmac.compare_digest(self._sign(f"{head}.{body}").encode(), signature.encode()):
            return None
        payload: dict[str, Any] = msgspec.json.decode(_decode(body))
        expiry = datetime.fromtimestamp(payload["exp"], tz=self._clock.now().tzinfo)
        if expiry <= self._clock.now():
            return None
        bound = payload["kubernetes.io"]
        account = bound["serviceaccount"]
        return Claims(namespace=bound["namespace"], name=account["name"], uid=account["uid"],
                      audiences=tuple(payload["aud"]), expiry=expiry)

    def _sign(self, text: str) -> str:
        return _encode(hmac.digest(self._key, text.encode(), "sha256"))


AccountLives = Callable[[str, str, str], bool]
"""Whether the ServiceAccount of a namespace, name and uid is still there."""


class TokenAuthenticator:
    """Knows the admin token and the authority's. Verified tokens are remembered until they expire."""

    def __init__(self, admin_token: str, authority: TokenAuthority, clock: Clock) -> None:
        self._admin = hashlib.sha256(admin_token.encode()).digest()
        self._authority, self._clock = authority, clock
        self._known: OrderedDict[bytes, tuple[User, Claims]] = OrderedDict()
        self.lives: AccountLives = lambda namespace, name, uid: True
        """Set by the API server, which knows the accounts."""

    async def authenticate(self, token: str) -> User | None:
        if not token or len(token) > LIMIT_TOKEN_BYTES:
            return None
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        if hmac.compare_digest(digest, self._admin):
            return ADMIN
        known = self._known.get(digest)
        if known is None:
            claims = self._authority.verify(token)
            if claims is None or DEFAULT_AUDIENCE not in claims.audiences:
                return None
            known = (service_account(claims.namespace, claims.name, claims.uid), claims)
            self._known[digest] = known
            if len(self._known) > LIMIT_CACHED_TOKENS:
                self._known.popitem(last=False)
        user, claims = known
        if claims.expiry <= self._clock.now() or not self.lives(claims.namespace, claims.name, claims.uid):
            del self._known[digest]
            return None
        return user


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user that a ServiceAccount is."""
    return User(name=f"system:serviceaccount:{namespace}:{name}", uid=uid,
                groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"))


def expiry_after(clock: Clock, seconds: int) -> datetime:
    return clock.now() + timedelta(seconds=seconds)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
