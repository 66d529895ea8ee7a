"""Bearer tokens: the admin token, and ServiceAccount tokens as JWTs, bound to a Pod, a Secret or a Node where asked.

``composition`` builds a ``TokenAuthenticator``; ``gate`` asks it who a token is; ``accounts`` has tokens issued. I call
``signing``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from lightship.client.transport import User
from lightship.cluster.apiserver import signing
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
class Bound:
    """The object that a token dies with: its ``kind`` is Pod, Secret or Node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a ServiceAccount token says. ``uid`` is the account's; a recreated account voids old tokens."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expiry: datetime
    bound: Bound | None = None
    node: tuple[str, str] | None = None
    """Name and uid of the node of the bound Pod."""
    id: str = ""


class TokenAuthority:
    """Signs and verifies ServiceAccount tokens: for everybody with a public key, for our own children with ``key``."""

    def __init__(self, key: bytes, clock: Clock, public: Path | None = None) -> None:
        self._clock = clock
        self._shared = signing.Shared(key)
        self.public = signing.Public(public) if public is not None else None

    def issue(self, claims: Claims, *, internal: bool = False) -> str:
        """A token. An ``internal`` one is for processes of ours: nobody else could check it."""
        signer: signing.Shared | signing.Public = self._shared if internal or self.public is None else self.public
        now = int(self._clock.now().timestamp())
        about: dict[str, Any] = {"namespace": claims.namespace,
                                 "serviceaccount": {"name": claims.name, "uid": claims.uid}}
        if claims.bound:
            about[claims.bound.kind.lower()] = {"name": claims.bound.name, "uid": claims.bound.uid}
        if claims.node:
            about["node"] = {"name": claims.node[0], "uid": claims.node[1]}
        payload = {
            "iss": ISSUER, "sub": f"system:serviceaccount:{claims.namespace}:{claims.name}",
            "aud": list(claims.audiences), "iat": now, "nbf": now, "exp": int(claims.expiry.timestamp()),
            "kubernetes.io": about} | ({"jti": claims.id} if claims.id else {})
        head = signing.encode(msgspec.json.encode({"alg": signer.algorithm, "kid": signer.key_id, "typ": "JWT"}))
        body = signing.encode(msgspec.json.encode(payload))
        return f"{head}.{body}.{signing.encode(signer.sign(f'{head}.{body}'.encode()))}"

    def verify(self, token: str) -> Claims | None:
        """The claims of a token that I signed and that has not expired; else None."""
        try:
            head, body, signature = token.split(".")
            algorithm = msgspec.json.decode(signing.decode(head))["alg"]
            signer = {signing.Shared.algorithm: self._shared, signing.Public.algorithm: self.public}[algorithm]
            if signer is None or not signer.verify(f"{head}.{body}".encode(), signing.decode(signature)):
                return None
            return self._claims(msgspec.json.decode(signing.decode(body)))
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
            return None

    def _claims(self, payload: dict[str, Any]) -> Claims | None:
        expiry = datetime.fromtimestamp(payload["exp"], tz=self._clock.now().tzinfo)
        if expiry <= self._clock.now():
            return None
        about = payload["kubernetes.io"]
        account, node = about["serviceaccount"], about.get("node")
        bound = next((Bound(kind=kind, **about[kind.lower()]) for kind in ("Pod", "Secret", "Node")
                      if kind.lower() in about), None)
        return Claims(namespace=about["namespace"], name=account["name"], uid=account["uid"], bound=bound,
                      audiences=tuple(payload["aud"]), expiry=expiry, id=payload.get("jti", ""),
                      node=(node["name"], node["uid"]) if node and bound and bound.kind == "Pod" else None)


StillThere = Callable[[Claims], bool]
"""Whether the ServiceAccount of a token, and what the token is bound to, are still there."""


class TokenAuthenticator:
    """Knows the admin token and the authority's. Verified tokens are remembered until they expire."""

    def __init__(self, admin_token: str, authority: TokenAuthority, clock: Clock) -> None:
        self._admin = hashlib.sha256(admin_token.encode()).digest()
        self._authority, self._clock = authority, clock
        self._known: OrderedDict[bytes, tuple[User, Claims]] = OrderedDict()
        self.lives: StillThere = lambda claims: True
        """Set by the API server, which knows the objects."""

    async def authenticate(self, token: str) -> User | None:
        known = self.claims(token)
        return known[0] if known and (known[1] is None or DEFAULT_AUDIENCE in known[1].audiences) else None

    def claims(self, token: str) -> tuple[User, Claims | None] | None:
        """Whose the token is and what it says, for whatever audience; the admin token says nothing."""
        if not token or len(token) > LIMIT_TOKEN_BYTES:
            return None
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        if hmac.compare_digest(digest, self._admin):
            return ADMIN, None
        known = self._known.get(digest)
        if known is None:
            claims = self._authority.verify(token)
            if claims is None:
                return None
            known = (_user(claims), claims)
            self._known[digest] = known
            if len(self._known) > LIMIT_CACHED_TOKENS:
                self._known.popitem(last=False)
        if known[1].expiry <= self._clock.now() or not self.lives(known[1]):
            del self._known[digest]
            return None
        return known


def _user(claims: Claims) -> User:
    user = service_account(claims.namespace, claims.name, claims.uid)
    prefix, extra = "authentication.kubernetes.io/", dict[str, tuple[str, ...]]()
    if claims.id:
        extra[f"{prefix}credential-id"] = (f"JTI={claims.id}",)
    if claims.bound and claims.bound.kind != "Secret":
        kind = claims.bound.kind.lower()
        extra |= {f"{prefix}{kind}-name": (claims.bound.name,), f"{prefix}{kind}-uid": (claims.bound.uid,)}
    if claims.node:
        extra |= {f"{prefix}node-name": (claims.node[0],), f"{prefix}node-uid": (claims.node[1],)}
    return User(name=user.name, uid=user.uid, groups=user.groups, extra=extra)


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user that a ServiceAccount is."""
    return User(name=f"system:serviceaccount:{namespace}:{name}", uid=uid,
                groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"))


def expiry_after(clock: Clock, seconds: int) -> datetime:
    return clock.now() + timedelta(seconds=seconds)
