"""REST's identity and access, asked of the Kubernetes API: the same answers there as here."""

from __future__ import annotations

from lightship.client.client import Client
from lightship.client.transport import User
from lightship.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from lightship.web.access import AccessReviewer, Attributes
from lightship.web.auth import Authenticator


def authenticator(client: Client) -> Authenticator:
    """Asks a TokenReview."""

    async def authenticate(token: str) -> User | None:
        review = await client.create(TOKEN_REVIEWS, {
            "apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind, "spec": {"token": token}})
        status = review.get("status") or {}
        if not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        return User(name=user.get("username", ""), uid=user.get("uid", ""), groups=tuple(user.get("groups") or ()))

    return authenticate


def reviewer(client: Client) -> AccessReviewer:
    """Asks a SubjectAccessReview."""

    async def review(user: User, asked: Attributes) -> bool:
        attributes = {"verb": asked.verb, "group": asked.group, "resource": asked.resource,
                      "subresource": asked.subresource, "namespace": asked.namespace, "name": asked.name}
        answer = await client.create(SUBJECT_ACCESS_REVIEWS, {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version, "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {"user": user.name, "groups": list(user.groups), "uid": user.uid,
                     "resourceAttributes": attributes}})
        return bool((answer.get("status") or {}).get("allowed"))

    return review
