"""Reviews of tokens and of access: objects that are answered and never stored. ``server`` calls me."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response, User
from lightship.cluster.apiserver import bodies, reads, shapes
from lightship.cluster.apiserver.access import Attributes, Authorizer, rules
from lightship.cluster.apiserver.access.rbac import Rbac
from lightship.cluster.apiserver.backend import Call, encode
from lightship.cluster.apiserver.errors import Cause, Invalid
from lightship.cluster.apiserver.tokens import DEFAULT_AUDIENCE, Authenticator, TokenAuthenticator
from lightship.kube import objects
from lightship.kube.objects import Object


class _ResourceAttributes(msgspec.Struct):
    namespace: str | None = None
    verb: str | None = None
    group: str | None = None
    version: str | None = None
    resource: str | None = None
    subresource: str | None = None
    name: str | None = None


class _PathAttributes(msgspec.Struct):
    path: str | None = None
    verb: str | None = None


class _AccessSpec(msgspec.Struct):
    resourceAttributes: _ResourceAttributes | None = None
    nonResourceAttributes: _PathAttributes | None = None
    user: str | None = None
    groups: list[str] | None = None
    uid: str | None = None
    extra: dict[str, list[str]] | None = None


class _RulesSpec(msgspec.Struct):
    namespace: str | None = None


class _TokenSpec(msgspec.Struct):
    token: str | None = None
    audiences: list[str] | None = None


class Reviewer:
    """Answers all reviews with the server's own authenticator and authorizer; ``known`` tells somebody's rules."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, known: Rbac) -> None:
        self._authenticator, self._authorizer, self._known = authenticator, authorizer, known
        self._kinds: dict[str, Callable[[Call, Object], Awaitable[dict[str, Any]]]] = {
            "TokenReview": self._token, "SelfSubjectReview": self._self, "SelfSubjectAccessReview": self._access,
            "SubjectAccessReview": self._access, "LocalSubjectAccessReview": self._access,
            "SelfSubjectRulesReview": self._rules,
        }

    async def review(self, call: Call) -> Response:
        """POST of a review; the answer is the review with its status."""
        obj = shapes.read_object(bodies.read(call.request) or {}, call.served)
        status = await self._kinds[obj["kind"]](call, obj)
        return Response(status=201, headers=reads.HEADERS, body=encode(obj | {"status": status}))

    async def _token(self, call: Call, obj: Object) -> dict[str, Any]:
        spec = shapes.convert(objects.spec(obj), _TokenSpec, "spec")
        wanted = spec.audiences or [DEFAULT_AUDIENCE]
        user, good = await self._authenticator.authenticate(spec.token) if spec.token else None, [DEFAULT_AUDIENCE]
        if isinstance(self._authenticator, TokenAuthenticator) and spec.token:
            known = self._authenticator.claims(spec.token)
            user = known[0] if known else None
            good = list(known[1].audiences) if known and known[1] else good
        shared = [audience for audience in wanted if audience in good]
        if user is None or not shared:
            return {"authenticated": False, "user": {}, "error": "the token is not known, or not for this audience"}
        return {"authenticated": True, "user": _user_info(user), "audiences": shared}

    async def _self(self, call: Call, obj: Object) -> dict[str, Any]:
        return {"userInfo": _user_info(call.user)}

    async def _access(self, call: Call, obj: Object) -> dict[str, Any]:
        spec = shapes.convert(objects.spec(obj), _AccessSpec, "spec")
        user = call.user
        if obj["kind"] != "SelfSubjectAccessReview":
            if not spec.user and not spec.groups:
                raise Invalid(f'{obj["kind"]}.authorization.k8s.io ""', [
                    Cause("spec.user", 'Invalid value: "": at least one of user or group must be specified')])
            user = User(name=spec.user or "", groups=tuple(spec.groups or ()), uid=spec.uid or "")
        asked = _attributes(spec)
        if obj["kind"] == "LocalSubjectAccessReview" and asked.namespace != call.target.namespace:
            raise Invalid('LocalSubjectAccessReview.authorization.k8s.io ""', [
                Cause("spec.resourceAttributes.namespace", f'Invalid value: "{asked.namespace[:253]}": must match '
                                                           "metadata.namespace")])
        decision = await self._authorizer.review(user, asked)
        status: dict[str, Any] = {"allowed": decision.allowed}
        return status | ({"reason": decision.reason} if decision.reason else {})

    async def _rules(self, call: Call, obj: Object) -> dict[str, Any]:
        namespace = shapes.convert(objects.spec(obj), _RulesSpec, "spec").namespace
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        found, lost = self._known.rules_of(call.user, namespace)
        shown = [rules.as_object(rule) for rule in found]
        status: dict[str, Any] = {
            "resourceRules": [rule for rule in shown if "nonResourceURLs" not in rule],
            "nonResourceRules": [rule for rule in shown if "nonResourceURLs" in rule], "incomplete": bool(lost)}
        return status | ({"evaluationError": "; ".join(lost)} if lost else {})


def _attributes(spec: _AccessSpec) -> Attributes:
    asked, path = spec.resourceAttributes, spec.nonResourceAttributes
    if (asked is None) == (path is None):
        raise Invalid('SubjectAccessReview.authorization.k8s.io ""', [
            Cause("spec.resourceAttributes", "Invalid value: exactly one of nonResourceAttributes or "
                                             "resourceAttributes must be specified")])
    if asked is None:
        assert path is not None
        return Attributes(verb=path.verb or "", path=path.path or "")
    return Attributes(verb=asked.verb or "", group=asked.group or "", resource=asked.resource or "",
                      subresource=asked.subresource or "", namespace=asked.namespace or "", name=asked.name or "")


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
