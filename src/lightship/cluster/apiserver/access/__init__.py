"""The access review: who may do what. Every route, list and watch passes ``Authorizer.review``.

``server`` calls me. ``rbac`` decides by the Roles and bindings in the store, ``impersonation`` says for whom somebody
acts, ``escalation`` keeps anybody from granting more than he holds, ``kinds`` are the objects that all this is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lightship import errors
from lightship.client.transport import User

MASTERS, AUTHENTICATED, UNAUTHENTICATED = "system:masters", "system:authenticated", "system:unauthenticated"
ANONYMOUS = User(name="system:anonymous", groups=(UNAUTHENTICATED,))


class Attributes(NamedTuple):
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
    """For tests of other rooms: an authenticated user is allowed everything, anybody else nothing."""

    async def review(self, user: User, attributes: Attributes) -> Decision:
        if AUTHENTICATED in user.groups:
            return _ALLOWED
        return Decision(False, "only authenticated users are allowed")


def forbidden(user: User, attributes: Attributes, reason: str = "") -> errors.Forbidden:
    """The refusal in upstream's words, which clients take apart."""
    why = f": {reason}" if reason else ""
    if not attributes.resource:
        path = attributes.path[:200]
        return errors.Forbidden(f'forbidden: User "{user.name}" cannot {attributes.verb} path "{path}"{why}')
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f'in the namespace "{attributes.namespace[:100]}"' if attributes.namespace else "at the cluster scope"
    return errors.Forbidden(
        f'{what(attributes.group, attributes.resource, attributes.name)} is forbidden: User "{user.name}" cannot '
        f'{attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}{why}')


def what(group: str, resource: str, name: str) -> str:
    """A thing as Kubernetes' messages name it: ``deployments.apps "web"``."""
    full = f"{resource}.{group}" if group else resource
    return f'{full} "{name[:253]}"' if name else full
