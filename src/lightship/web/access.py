"""The access review that every route and list passes: may this user do this here?

Routes call ``review`` before they answer; the wrapper in ``endpoints`` turns an answer without a review into an error,
so that a forgotten one is found by the first test and not by a stranger. ``app`` gives the reviewer, which asks the
API server (``SubjectAccessReview``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from lightship import errors
from lightship.client.transport import User
from lightship.web import auth

_REVIEWED = "lightship.reviewed"


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What is asked: a verb on a resource, as in Kubernetes RBAC. No namespace means all of them."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


AccessReviewer = Callable[[User, Attributes], Awaitable[bool]]


async def review(request: Request, asked: Attributes) -> None:
    """Raises ``errors.Forbidden`` unless the user may."""
    user = auth.user(request)
    request.scope[_REVIEWED] = True
    reviewer: AccessReviewer = request.app.state.reviewer
    if not await reviewer(user, asked):
        what = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        where = f' in namespace "{asked.namespace}"' if asked.namespace else " in all namespaces"
        raise errors.Forbidden(f'user "{user.name}" may not {asked.verb} {what}{where}')


def everyone(request: Request) -> None:
    """Says that any user may have this answer: it tells nothing of anybody's objects."""
    request.scope[_REVIEWED] = True


def reviewed(request: Request) -> bool:
    return bool(request.scope.get(_REVIEWED))
