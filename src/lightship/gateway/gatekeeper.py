"""Who may call a model: asks the API server about the bearer token, and believes its answer for a bounded time.

``proxy`` asks me for every request on the data path; I call ``client`` (TokenReview, then SubjectAccessReview: to call
an InferenceService one must be allowed to get it). A cached answer costs a hash and a look-up, no task.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

from lightship import errors
from lightship.client.client import Client
from lightship.gateway.options import Limits
from lightship.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS

LIMIT_TOKEN_BYTES = 16 * 1024


class Target(NamedTuple):
    """What is called: an InferenceService, or (with no namespace) a page of the gateway's own by its path."""

    namespace: str
    name: str


class Verdict(NamedTuple):
    """Whether a caller may; else the error to answer with."""

    error: errors.LightshipError | None = None


ALLOWED = Verdict()
MISSING = Verdict(errors.Unauthenticated("a bearer token is required",
                                         remedy='Send the header "Authorization: Bearer <token>"; '
                                                "the token lies in the data directory's file \"token\""))


class Gatekeeper(Protocol):
    """Decides who may call. ``known`` answers at once from what was learnt; ``review`` finds out."""

    def known(self, authorization: bytes, target: Target) -> Verdict | None: ...

    async def review(self, authorization: bytes, target: Target) -> Verdict: ...

    def permit(self, authorization: bytes, target: Target) -> bytes:
        """The name of a caller's right to a target."""
        ...

    def holds(self, permit: bytes) -> bool:
        """Whether a right is known, and still believed."""
        ...


class Reviews:
    """A gatekeeper that asks the API server."""

    def __init__(self, client: Client, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._limits = limits
        self._monotonic = monotonic
        # Refusals are kept apart, so that a flood of bad tokens pushes out no good one.
        self._allowed: OrderedDict[bytes, float] = OrderedDict()
        self._denied: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Verdict]] = {}

    def known(self, authorization: bytes, target: Target) -> Verdict | None:
        """The verdict, where it needs no question."""
        token = _token(authorization)
        if not token:
            return MISSING
        key = _key(token, target)
        now = self._monotonic()
        expiry = self._allowed.get(key)
        if expiry is not None and now < expiry:
            return ALLOWED
        denied = self._denied.get(key)
        return denied[1] if denied is not None and now < denied[0] else None

    def permit(self, authorization: bytes, target: Target) -> bytes:
        return _key(_token(authorization), target)

    def holds(self, permit: bytes) -> bool:
        return self._monotonic() < self._allowed.get(permit, 0.0)

    async def review(self, authorization: bytes, target: Target) -> Verdict:
        """Ask the API server; the same question asked at once by many is asked once."""
        token = _token(authorization)
        key = _key(token, target)
        task = self._asking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(token, target))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asking.pop(key, None))
        verdict = await asyncio.shield(task)
        self._remember(key, verdict)
        return verdict

    async def _ask(self, token: bytes, target: Target) -> Verdict:
        try:
            review = await self._client.create(TOKEN_REVIEWS, {
                "apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind,
                "metadata": {}, "spec": {"token": token.decode("latin-1")}})
            status = review.get("status") or {}
            if not status.get("authenticated"):
                return Verdict(errors.Unauthenticated("the bearer token is not known", remedy=_WHERE))
            user = status.get("user") or {}
            access = await self._client.create(SUBJECT_ACCESS_REVIEWS, {
                "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version, "kind": SUBJECT_ACCESS_REVIEWS.kind,
                "metadata": {},
                "spec": {"user": user.get("username", ""), "groups": user.get("groups") or [],
                         "uid": user.get("uid", ""), **_attributes(target)}})
        except errors.LightshipError as problem:
            return Verdict(errors.Unavailable(f"could not check the bearer token: {problem.message}",
                                              remedy="Try again; is the API server up?"))
        if (access.get("status") or {}).get("allowed"):
            return ALLOWED
        what = f'InferenceService "{target.namespace}/{target.name}"' if target.namespace else target.name
        return Verdict(errors.Forbidden(f'user "{user.get("username", "")}" may not get {what}, so may not call it'))

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        now, limit = self._monotonic(), self._limits.reviews_cached
        if verdict.error is None:
            self._allowed[key] = now + self._limits.review_seconds
            self._allowed.move_to_end(key)
            while len(self._allowed) > limit:
                self._allowed.popitem(last=False)
        elif not isinstance(verdict.error, errors.Unavailable):
            self._denied[key] = (now + self._limits.refusal_seconds, verdict)
            self._denied.move_to_end(key)
            while len(self._denied) > limit:
                self._denied.popitem(last=False)


_WHERE = "The platform's own token lies in the data directory's file \"token\""


def _token(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and len(token) <= LIMIT_TOKEN_BYTES else b""


def _attributes(target: Target) -> dict[str, dict[str, str]]:
    if not target.namespace:
        return {"nonResourceAttributes": {"path": target.name, "verb": "get"}}
    return {"resourceAttributes": {"group": "serving.kserve.io", "resource": "inferenceservices", "verb": "get",
                                   "namespace": target.namespace, "name": target.name}}


def _key(token: bytes, target: Target) -> bytes:
    # A hash, so that this process keeps no tokens; no name of a target contains a NUL.
    return hashlib.blake2b(f"{target.namespace}\0{target.name}\0".encode() + token, digest_size=16).digest()
