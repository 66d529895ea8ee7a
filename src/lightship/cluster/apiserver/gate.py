"""Who asks, and whether he may: what every request passes before anybody looks at what it wants.

``server`` calls me at each request; identity comes from the transport, a token or a client's certificate, and may be
exchanged for another by impersonation.
"""

from __future__ import annotations

import logging

from lightship import errors
from lightship.client.transport import Request, User
from lightship.cluster.apiserver import access
from lightship.cluster.apiserver.access import (
    ANONYMOUS,
    Attributes,
    Authorizer,
    browsers,
    impersonation,
    platform_policy,
)
from lightship.cluster.apiserver.errors import MethodNotAllowed
from lightship.cluster.apiserver.queries import Query
from lightship.cluster.apiserver.routes import Target
from lightship.cluster.apiserver.tokens import Authenticator
from lightship.kube import selectors
from lightship.kube.resources import NAMESPACES

_log = logging.getLogger(__name__)
_OURS = f"system:serviceaccount:{platform_policy.NAMESPACE}:"
_FROM_COLLECTION = frozenset({"list", "watch", "deletecollection"})


class Gate:
    """Raises ``errors.Unauthenticated`` and ``errors.Forbidden``."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator, self._authorizer = authenticator, authorizer

    async def identify(self, request: Request) -> User:
        """Whom the request is from, or for whom it acts where that is allowed."""
        user = request.user or await self._authenticated(request)
        wanted = impersonation.wanted(request.headers)
        if wanted is None:
            return user
        for asked in impersonation.reviews(wanted):
            await self.review(user, asked)
        return impersonation.complete(wanted)

    async def _authenticated(self, request: Request) -> User:
        authorization = request.headers.get("authorization", "")
        if not authorization:
            token = browsers.token_of(request.headers) if "sec-websocket-protocol" in request.headers else ""
            if not token:
                return ANONYMOUS
            authorization = f"Bearer {token}"
        scheme, _, token = authorization.partition(" ")
        user = await self._authenticator.authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise errors.Unauthenticated("Unauthorized", remedy="The token is not known here, or it has expired")
        return user

    async def review(self, user: User, asked: Attributes) -> None:
        """The access review. Who has not said who he is learns that he must, not what is there."""
        decision = await self._authorizer.review(user, asked)
        if decision.allowed:
            return
        if user is ANONYMOUS:
            raise _unknown()
        if user.name.startswith(_OURS):
            _log.warning("a piece of the platform was refused: it needs a rule in access/platform_policy.py",
                         extra={"user": user.name, "verb": asked.verb, "group": asked.group,
                                "resource": asked.resource, "subresource": asked.subresource})
        raise access.forbidden(user, asked, decision.reason)


def _unknown() -> errors.Unauthenticated:
    return errors.Unauthenticated("Unauthorized", remedy="Send the token as `Authorization: Bearer`")


def told(user: User | None, error: errors.LightshipError) -> errors.LightshipError:
    """What the user may know of an error: a stranger's bad request, too, only shows that he is a stranger."""
    return _unknown() if user is ANONYMOUS and isinstance(error, errors.InvalidInput | MethodNotAllowed) else error


def path_attributes(request: Request) -> Attributes:
    """What a request for a path that is no resource asks."""
    return Attributes(request.method.lower(), path=request.path or "/")


def resource_attributes(verb: str, target: Target, query: Query) -> Attributes:
    """What a request for a resource asks. As upstream, a Namespace lies in itself, and a field selector can name."""
    resource, name, namespace = target.served.resource, target.name, target.namespace
    if verb in _FROM_COLLECTION and not name and query.text("fieldSelector"):
        name = selectors.parse_fields(query.text("fieldSelector")).exact("metadata.name") or ""
    elif name and resource.plural == NAMESPACES.plural and not resource.group:
        namespace = name
    return Attributes(verb, resource.group, resource.plural, target.subresource, namespace, name)


def unserved_attributes(request: Request) -> Attributes:
    """What a request for a kind that is not served would ask: to be told that it is not takes the same permission."""
    parts = request.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    verb = {"GET": "get" if len(rest) > 1 else "list", "PUT": "update", "PATCH": "patch", "POST": "create",
            "DELETE": "delete" if len(rest) > 1 else "deletecollection"}.get(request.method, request.method.lower())
    return Attributes(verb, group, rest[0], rest[2] if len(rest) > 2 else "", namespace,
                      rest[1] if len(rest) > 1 else "")
