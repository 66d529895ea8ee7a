"""ServiceAccounts' tokens at the API: ``kubectl create token``, whether one still counts, and the pages by which others
check one. ``server`` calls me; I call ``tokens``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import bodies, reads, shapes
from lightship.cluster.apiserver.backend import Backend, Call, decode, encode
from lightship.cluster.apiserver.errors import Cause, Invalid
from lightship.cluster.apiserver.statuses import JSON
from lightship.cluster.apiserver.tokens import DEFAULT_AUDIENCE, ISSUER, Bound, Claims, TokenAuthority
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Store
from lightship.kube import objects, times
from lightship.kube.objects import Object
from lightship.kube.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

DEFAULT_TOKEN_SECONDS = 3600
LIMIT_TOKEN_SECONDS = 365 * 24 * 3600
LIMIT_SECRET_TOKEN_SECONDS = 10 * LIMIT_TOKEN_SECONDS
"""Of a token in a Secret of its account, which dies with either."""
MINIMUM_TOKEN_SECONDS = 600

CONFIGURATION_PATH, KEYS_PATH = "/.well-known/openid-configuration", "/openid/v1/jwks"
_BINDABLE = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}


class _Meta(msgspec.Struct):
    uid: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta


_head = msgspec.json.Decoder(_Head).decode


class _Reference(msgspec.Struct):
    kind: str | None = None
    apiVersion: str | None = None
    name: str | None = None
    uid: str | None = None


class _TokenSpec(msgspec.Struct):
    audiences: list[str] | None = None
    expirationSeconds: int | None = None
    boundObjectRef: _Reference | None = None


async def token(backend: Backend, call: Call, authority: TokenAuthority | None) -> Response:
    """POST to a ServiceAccount's ``token``."""
    if authority is None:
        raise errors.Unsupported("this server issues no tokens")
    account = decode(backend.entry(call).value)
    data = bodies.read(call.request) or {}
    if not isinstance(data, dict):
        raise errors.BadRequest("the body must be a TokenRequest")
    spec = shapes.convert(data.get("spec") or {}, _TokenSpec, "spec")
    bound, node = _bound(backend.store, call, spec.boundObjectRef)
    seconds = spec.expirationSeconds if spec.expirationSeconds is not None else DEFAULT_TOKEN_SECONDS
    if not MINIMUM_TOKEN_SECONDS <= seconds <= 2**32:
        raise Invalid('TokenRequest.authentication.k8s.io ""', [
            Cause("spec.expirationSeconds",
                  f"Invalid value: {seconds}: may not specify a duration less than 10 minutes")])
    most = LIMIT_SECRET_TOKEN_SECONDS if bound and bound.kind == "Secret" else LIMIT_TOKEN_SECONDS
    expiry = backend.clock.now() + timedelta(seconds=min(seconds, most))
    audiences = tuple(spec.audiences or [DEFAULT_AUDIENCE])
    text = authority.issue(Claims(namespace=call.target.namespace, name=call.target.name, uid=objects.uid(account),
                                  audiences=audiences, expiry=expiry, bound=bound, node=node, id=backend.ids.uid()))
    shown: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": min(seconds, most)}
    if bound and spec.boundObjectRef:
        shown["boundObjectRef"] = {"kind": bound.kind, "apiVersion": "v1", "name": bound.name, "uid": bound.uid}
    answer = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
              "metadata": {"name": call.target.name, "namespace": call.target.namespace, "uid": objects.uid(account),
                           "creationTimestamp": times.rfc3339(backend.clock.now())},
              "spec": shown,
              "status": {"token": text, "expirationTimestamp": times.rfc3339(expiry)}}
    return Response(status=201, headers=reads.HEADERS, body=encode(answer))


def _bound(store: Store, call: Call, reference: _Reference | None) -> tuple[Bound | None, tuple[str, str] | None]:
    """What a token is to be bound to, and of a Pod its node's name and uid."""
    if reference is None:
        return None, None
    kind, name = reference.kind or "", reference.name or ""
    if kind not in _BINDABLE or reference.apiVersion not in (None, "", "v1"):
        raise errors.BadRequest(f"cannot bind token for serviceaccount to object type {kind[:100]!r}",
                                remedy="A token can be bound to a Pod, a Secret or a Node")
    obj = _find(store, kind, call.target.namespace, name)
    if obj is None:
        raise errors.NotFound(f'{_BINDABLE[kind].plural} "{name[:253]}" not found')
    if reference.uid and reference.uid != objects.uid(obj):
        raise errors.Conflict(f"the UID in the bound object reference ({reference.uid[:100]}) does not match the UID "
                              "in record. The object might have been deleted and then recreated")
    node = None
    if kind == "Pod":
        account = objects.spec(obj).get("serviceAccountName")
        if account != call.target.name:
            raise errors.BadRequest(f"cannot bind token for serviceaccount {call.target.name!r} to pod running with "
                                    "different serviceaccount name")
        host = str(objects.spec(obj).get("nodeName") or "")
        machine = _find(store, "Node", "", host) if host else None
        node = (host, objects.uid(machine)) if machine else None
    return Bound(kind=kind, name=name, uid=objects.uid(obj)), node


def _find(store: Store, kind: str, namespace: str, name: str) -> Object | None:
    resource = _BINDABLE[kind]
    entry = store.get(Key(resource.group_resource, namespace if resource.namespaced else "", name))
    return None if entry is None else decode(entry.value)


def still_there(store: Store, claims: Claims) -> bool:
    """Whether the token's account, and what it is bound to, are those that it was issued for."""
    if not _is(store, Key(SERVICE_ACCOUNTS.group_resource, claims.namespace, claims.name), claims.uid):
        return False
    bound = claims.bound
    if bound is None:
        return True
    resource = _BINDABLE[bound.kind]
    return _is(store, Key(resource.group_resource, claims.namespace if resource.namespaced else "", bound.name),
               bound.uid)


def _is(store: Store, key: Key, uid: str) -> bool:
    entry = store.get(key)
    return entry is not None and _head(entry.value).metadata.uid == uid


def page(path: str, authority: TokenAuthority | None) -> Response | None:
    """OpenID Connect's discovery of our tokens; None for another path, and where tokens cannot be checked by others."""
    public = authority.public if authority else None
    if public is None:
        return None
    if path == CONFIGURATION_PATH:
        body: dict[str, Any] = {
            "issuer": ISSUER, "jwks_uri": f"{ISSUER}{KEYS_PATH}", "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [public.algorithm]}
        return Response(status=200, headers={"content-type": JSON}, body=encode(body))
    if path == KEYS_PATH:
        return Response(status=200, headers={"content-type": "application/jwk-set+json"}, body=encode(public.key_set()))
    return None
