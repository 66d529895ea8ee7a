"""The access review: who may do what. Every route, list and watch passes ``Authorizer.review``.

``server`` calls me. The policy today is one user: whoever is authenticated may do everything, nobody else anything
but ask for health and version. RBAC takes this seam over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lightship.client.transport import User

ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """What is asked for: a verb on a resource, or on a ``path`` that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and why or why not."""

    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    """Decides; must not raise for a request that is merely not allowed."""

    async def review(self, user: User, attributes: Attributes) -> Decision: ...


_ALLOWED = Decision(True)


class AuthenticatedMayAll:
    """Any authenticated user is allowed everything; anonymous only the open paths."""

    async def review(self, user: User, attributes: Attributes) -> Decision:
        if "system:authenticated" in user.groups:
            return _ALLOWED
        if attributes.path.rstrip("/") in OPEN_PATHS:
            return _ALLOWED
        return Decision(False, "only authenticated users are allowed")
