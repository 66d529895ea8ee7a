"""The Model Registry's REST, under both prefixes that its clients use: ``v1`` and ``v1alpha3``.

``Domain.routes`` is my ``routes``. Each kind gets the same handlers, since the registry's things are all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.registry import kinds, lineage, shapes
from lightship.domains.registry.kinds import Kind
from lightship.kube.objects import Key
from lightship.lib.clock import Clock
from lightship.records import notices, registry
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.web import access, bodies, filters, paging
from lightship.web.endpoints import json, route

PREFIXES = ("/api/model_registry/v1", "/api/model_registry/v1alpha3")
GROUP = "modelregistry.kubeflow.org"
_ORDERS = {"": "id", "ID": "id", "CREATE_TIME": "created_at", "LAST_UPDATE_TIME": "updated_at"}
Where = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Deps:
    """What the routes need from ``app``."""

    database: Database
    notices: Notices
    clock: Clock
    namespace: str = "default"
    """The registry's own: its API names none, and upstream runs one registry a namespace."""


def routes(deps: Deps) -> list[BaseRoute]:
    """Every route of the registry."""
    return [each for prefix in PREFIXES for each in _under(prefix, deps)]


def _under(prefix: str, deps: Deps) -> list[BaseRoute]:
    made: list[BaseRoute] = []

    def serve(path: str, handler: Callable[[Request], Any], method: str = "GET", status: int = 200) -> None:
        made.append(route(prefix + path, handler, methods=(method,), status=status))

    for name, kind in (("registered_model", kinds.REGISTERED_MODEL), ("model_version", kinds.MODEL_VERSION),
                       ("serving_environment", kinds.SERVING_ENVIRONMENT),
                       ("inference_service", kinds.INFERENCE_SERVICE), ("model_artifact", kinds.MODEL_ARTIFACT),
                       ("artifact", None)):
        things = Things(deps, kind)
        serve(f"/{name}", things.find)
        serve(f"/{name}s", things.list)
        serve(f"/{name}s", things.create, "POST", 201)
        serve(f"/{name}s/{{id}}", things.get)
        serve(f"/{name}s/{{id}}", things.update, "PATCH")
    for parent, children, kind, column in (
            (kinds.REGISTERED_MODEL, "registered_models/{parent}/versions", kinds.MODEL_VERSION,
             "registered_model_id"),
            (kinds.MODEL_VERSION, "model_versions/{parent}/artifacts", None, "model_version_id"),
            (kinds.SERVING_ENVIRONMENT, "serving_environments/{parent}/inference_services", kinds.INFERENCE_SERVICE,
             "serving_environment_id"),
            (kinds.INFERENCE_SERVICE, "inference_services/{parent}/serves", kinds.SERVE_MODEL,
             "inference_service_id")):
        things = Things(deps, kind, parent=parent, column=column)
        serve(f"/{children}", things.list)
        serve(f"/{children}", things.upsert if kind is None else things.create, "POST", 201)
    serving = Things(deps, kinds.INFERENCE_SERVICE)
    serve("/inference_services/{id}/model", serving.model)
    serve("/inference_services/{id}/version", serving.version)
    serve("/model_versions/{id}/lineage", Things(deps, kinds.MODEL_VERSION).lineage)
    for name in ("experiment", "experiments", "experiment_run", "experiment_runs"):
        serve(f"/{name}", _experiments)
    return made


async def _experiments(request: Request) -> Any:
    raise errors.Unsupported("the registry's experiments are not served yet by this version of Lightship")


class Things:
    """The handlers of one kind, or with ``kind=None`` of artifacts of every type; under one parent where there is one.
    """

    def __init__(self, deps: Deps, kind: Kind | None, *, parent: Kind | None = None, column: str = "") -> None:
        self._deps = deps
        self._kind = kind
        self._any = kind or kinds.MODEL_ARTIFACT
        self._parent = parent
        self._column = column

    async def create(self, request: Request) -> Any:
        await self._allow(request, "create")
        return self._shown(await self._create(await bodies.json_object(request), self._parent_id(request)))

    async def upsert(self, request: Request) -> Response:
        """An artifact under a version: changed where the body names one, made otherwise."""
        await self._allow(request, "create")
        body = await bodies.json_object(request)
        if not body.get("id"):
            return json(self._shown(await self._create(body, self._parent_id(request))), status=201)
        return json(self._shown(await self._update(shapes.row_id(str(body["id"])), _without(body, "name"))))

    async def update(self, request: Request) -> Any:
        await self._allow(request, "update")
        body = await bodies.json_object(request)
        return self._shown(await self._update(shapes.row_id(request.path_params["id"]), body))

    async def get(self, request: Request) -> Any:
        await self._allow(request, "get")
        return self._shown(await self._row(request))

    async def find(self, request: Request) -> Any:
        """By ``externalId``, or by ``name`` (and ``parentResourceId`` where the kind has a parent)."""
        await self._allow(request, "get")
        query = request.query_params
        where: dict[str, Any] = {}
        if query.get("externalId"):
            where["external_id"] = query["externalId"]
        elif query.get("name"):
            where["name"] = query["name"]
            if self._any.parent and not query.get("parentResourceId"):
                raise errors.BadRequest('finding by "name" needs "parentResourceId" too')
        else:
            raise errors.BadRequest('the query needs "externalId" or "name"')
        if query.get("parentResourceId"):
            where[self._any.parent] = shapes.row_id(query["parentResourceId"])
        where |= self._type_of(request)
        return self._shown(await self._deps.database.read(
            lambda c: registry.find(c, self._any.table, self._deps.namespace, where)))

    async def list(self, request: Request) -> Any:
        await self._allow(request, "list")
        query = request.query_params
        where = self._type_of(request)
        if self._parent is not None:
            where[self._column] = self._parent_id(request)
        where |= {column: query[name] for name, column in (("name", "name"), ("externalId", "external_id"))
                  if query.get(name) and self._parent is not None}
        asked = _asked(request, where)
        page = await self._deps.database.read(lambda c: self._page(c, where, asked))
        return {"items": [self._shown(row) for row in page.rows], "size": len(page.rows),
                "pageSize": paging.page_rows(asked.page_size), "nextPageToken": paging.token(asked, page.next)}

    async def model(self, request: Request) -> Any:
        """The registered model of an inference service."""
        await self._allow(request, "get")
        row = await self._row(request)
        return await self._other(kinds.REGISTERED_MODEL, row["registered_model_id"])

    async def version(self, request: Request) -> Any:
        """The version that an inference service serves: the one it names, else the model's newest."""
        await self._allow(request, "get")
        row = await self._row(request)
        if row["model_version_id"] is not None:
            return await self._other(kinds.MODEL_VERSION, row["model_version_id"])
        where = {"registered_model_id": row["registered_model_id"]}
        return shapes.shown(kinds.MODEL_VERSION, await self._deps.database.read(
            lambda c: registry.find(c, kinds.MODEL_VERSION.table, self._deps.namespace, where)))

    async def lineage(self, request: Request) -> Any:
        """Ours: where each artifact of a version came from, as the records know it."""
        await self._allow(request, "get")
        version = await self._row(request)
        asked = paging.Asked(page_size=str(paging.PAGE_LIMIT_ROWS), sort="id")
        page = await self._deps.database.read(lambda c: registry.page(
            c, kinds.MODEL_ARTIFACT.table, self._deps.namespace, {"model_version_id": version["id"]},
            paging.query(asked)))
        return {"items": [{"artifactId": str(row["id"]), "uri": row["uri"], "digest": row["digest"],
                           "runId": row["run_id"], "taskId": row["task_id"], "recordId": row["artifact_id"]}
                          for row in page.rows]}

    def _page(self, connection: Connection, where: Where, asked: paging.Asked) -> Any:
        if self._parent is not None:
            registry.get(connection, self._parent.table, self._deps.namespace, where[self._column])
        return registry.page(connection, self._any.table, self._deps.namespace, where, paging.query(asked))

    async def _create(self, body: Mapping[str, Any], parent: int | None) -> registry.Row:
        kind = self._kind_of(body)
        if parent is not None and self._any.parent == self._column:
            field = next(name for name, column in kinds.COLUMNS.items() if column == self._column)
            if field in kind.create and body.get(field) not in (None, str(parent), parent):
                raise errors.BadRequest(f'"{field}" is not the one in the path')
            body = {**body, field: str(parent)} if field in kind.create else body
        values = shapes.created(kind, body)
        if self._column:
            values[self._column] = parent
        if kind.table is kinds.MODEL_ARTIFACT.table:
            values["type"] = kind.title
        if not values.get("name"):
            values["name"] = values.get("external_id") or f"{kind.title}-{self._deps.clock.now():%Y%m%dT%H%M%S.%f}"

        def work(connection: Connection) -> registry.Row:
            for column, table in _references(values):
                registry.get(connection, table, self._deps.namespace, values[column])
            stamped = registry.stamped(values, self._deps.namespace, self._deps.clock.now())
            if "type" in values:
                stamped |= lineage.columns(connection, self._deps.namespace, values)
            return registry.create(connection, kind.table, stamped, kind.unique)

        row = await self._deps.database.run(work)
        self._announce(row)
        return row

    async def _update(self, row_id: int, body: Mapping[str, Any]) -> registry.Row:
        def work(connection: Connection) -> registry.Row:
            row = registry.get(connection, self._any.table, self._deps.namespace, row_id)
            kind = kinds.ARTIFACTS[row["type"]] if "type" in row else self._any
            if self._kind is not None and kind.title != self._kind.title:
                raise errors.NotFound(f"no {self._kind.title} {row_id}")
            values = shapes.changed(kind, body) | {"updated_at": self._deps.clock.now()}
            if "uri" in values or "fields" in values:
                values |= lineage.columns(connection, self._deps.namespace, {**row, **values})
            for column, table in _references(values):
                registry.get(connection, table, self._deps.namespace, values[column])
            return registry.change(connection, kind.table, row, values)

        row = await self._deps.database.run(work)
        self._announce(row)
        return row

    async def _row(self, request: Request) -> registry.Row:
        row = await self._deps.database.read(lambda c: registry.get(
            c, self._any.table, self._deps.namespace, shapes.row_id(request.path_params["id"])))
        if self._kind is not None and "type" in row and row["type"] != self._kind.title:
            raise errors.NotFound(f"no {self._kind.title} {row['id']}")
        return row

    async def _other(self, kind: Kind, row_id: int) -> Any:
        return shapes.shown(kind, await self._deps.database.read(
            lambda c: registry.get(c, kind.table, self._deps.namespace, row_id)))

    async def _allow(self, request: Request, verb: str) -> None:
        await access.review(request, access.Attributes(
            verb=verb, group=GROUP, resource=self._any.resource, namespace=self._deps.namespace,
            name=request.path_params.get("id", "")))

    def _announce(self, row: registry.Row) -> None:
        self._deps.notices.publish(notices.REGISTRY, Key(self._deps.namespace, str(row["id"])))

    def _parent_id(self, request: Request) -> int | None:
        return shapes.row_id(request.path_params["parent"]) if self._parent is not None else None

    def _kind_of(self, body: Mapping[str, Any]) -> Kind:
        """The kind that the body is of: artifacts say it themselves."""
        if self._kind is not None and self._kind.table is not kinds.MODEL_ARTIFACT.table:
            return self._kind
        named = body.get("artifactType", self._kind.title if self._kind else None)
        kind = kinds.ARTIFACTS.get(named) if isinstance(named, str) else None
        if kind is None or (self._kind is not None and kind is not self._kind):
            raise errors.BadRequest('"artifactType" is not valid here',
                                    remedy=f"Use one of {', '.join(kinds.ARTIFACTS)}")
        return kind

    def _type_of(self, request: Request) -> dict[str, Any]:
        if self._any.table is not kinds.MODEL_ARTIFACT.table:
            return {}
        named = self._kind.title if self._kind else request.query_params.get("artifactType", "")
        if named and named not in kinds.ARTIFACTS:
            raise errors.BadRequest('"artifactType" is not valid', remedy=f"Use one of {', '.join(kinds.ARTIFACTS)}")
        return {"type": named} if named else {}

    def _shown(self, row: registry.Row) -> dict[str, Any]:
        return shapes.shown(kinds.ARTIFACTS[row["type"]] if "type" in row else self._any, row)


def _references(values: Where) -> list[tuple[str, Any]]:
    """The rows that a row refers to, which must be there."""
    tables = (kinds.REGISTERED_MODEL, kinds.MODEL_VERSION, kinds.SERVING_ENVIRONMENT, kinds.INFERENCE_SERVICE)
    columns = ("registered_model_id", "model_version_id", "serving_environment_id", "inference_service_id")
    return [(column, kind.table) for column, kind in zip(columns, tables, strict=True)
            if values.get(column) is not None]


def _asked(request: Request, where: Where) -> paging.Asked:
    query = request.query_params
    order, direction = query.get("orderBy", ""), query.get("sortOrder", "") or "ASC"
    if order not in _ORDERS or direction not in ("ASC", "DESC"):
        raise errors.BadRequest('"orderBy" is ID, CREATE_TIME or LAST_UPDATE_TIME, "sortOrder" is ASC or DESC')
    return paging.Asked(
        page_size=query.get("pageSize", ""), page_token=query.get("nextPageToken", ""), sort=_ORDERS[order],
        descending=direction == "DESC", predicates=filters.registry(query.get("filterQuery", "")),
        scope=tuple(f"{key}={value}" for key, value in sorted(where.items())))


def _without(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}
