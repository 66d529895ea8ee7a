"""What the REST routes of this room share: their dependencies, access, and reading a list request.

``routes*.py`` call me; I call ``web`` and ``records``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from lightship import errors
from lightship.artifacts.store import Stores
from lightship.domains.pipelines import parse
from lightship.domains.pipelines.ir import Pipeline
from lightship.domains.pipelines.logs import Logs
from lightship.domains.pipelines.objects.store import Objects
from lightship.domains.pipelines.providers import Providers
from lightship.kube.objects import Object
from lightship.lib.clock import Clock
from lightship.lib.ids import IdSource
from lightship.records import listing
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.web import access, filters, paging

GROUP = "pipelines.kubeflow.org"
NAME_LIMIT_CHARACTERS = 128
DESCRIPTION_LIMIT_CHARACTERS = 10_000
PREFIX = "/apis/v2beta1"


@dataclass(frozen=True, kw_only=True)
class Deps:
    """What the routes need from ``app``."""

    database: Database
    notices: Notices
    artifacts: Stores
    clock: Clock
    ids: IdSource
    default_namespace: str = "default"
    """Where things go when a client names no namespace, as KFP's single-user clients do."""
    objects: Objects | None = None
    """Writes the objects of pipelines; None where there is no Kubernetes, and the rows are all there is."""
    logs: Logs | None = None
    """Reads the logs of steps; None where there are no Pods."""
    providers: Providers | None = None
    """What namespaces say of their stores; None where there is no Kubernetes."""


async def allow(request: Request, verb: str, resource: str, namespace: str, name: str = "") -> None:
    """The access review of one of this room's resources. Raises ``errors.Forbidden``."""
    await access.review(request, access.Attributes(verb=verb, group=GROUP, resource=resource, namespace=namespace,
                                                   name=name))


def namespace(request: Request, deps: Deps) -> str:
    return request.query_params.get("namespace") or deps.default_namespace


def asked(request: Request, *scope: str) -> paging.Asked:
    """The page, order and filter that the request asks for."""
    query = request.query_params
    sort, descending = paging.sort_order(query.get("sort_by", ""), "created_at")
    return paging.Asked(page_size=query.get("page_size", ""), page_token=query.get("page_token", ""), sort=sort,
                        descending=descending, predicates=filters.kfp(query.get("filter", "")), scope=scope)


def within(query: listing.Query, field: str, value: str) -> listing.Query:
    """The query, held to rows of which ``field`` is ``value``; as it is where that is empty."""
    if not value:
        return query
    only = listing.Predicate(field=field, operation="EQUALS", values=(value,))
    return dataclasses.replace(query, predicates=(*query.predicates, only))


async def checked(spec: Object) -> Pipeline:
    """The pipeline of a specification, checked in a worker. Raises ``InvalidPipeline`` naming the place."""
    return await asyncio.to_thread(parse.spec, spec)


def listed(name: str, shapes: Sequence[Any], page: listing.Page, asked: paging.Asked) -> Object:
    """One page as upstream answers: no field for no rows, no token on the last page."""
    answer: Object = {"total_size": page.total}
    if shapes:
        answer[name] = shapes
    if page.next is not None:
        answer["next_page_token"] = paging.token(asked, page.next)
    return answer


def text(body: Object, *names: str, limit: int = NAME_LIMIT_CHARACTERS) -> str:
    """The first of the body's fields that is there, as bounded text; empty where none is."""
    for name in names:
        value = body.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise errors.BadRequest(f'"{name}" must be a string')
        if len(value) > limit:
            raise errors.BadRequest(f'"{name}" has more than {limit} characters')
        return value
    return ""


def child(body: Object, name: str) -> Object:
    """The object under ``name``; empty where there is none."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.BadRequest(f'"{name}" must be an object')
    return value
