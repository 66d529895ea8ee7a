"""REST v2beta1 of pipelines and their versions: upload, create, get, list, update, delete."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import document, packages, parse, rest, shapes
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Object
from lightship.records import pipelines
from lightship.records.rows import Pipeline, PipelineVersion
from lightship.web import bodies, paging
from lightship.web.endpoints import route

_RESOURCE = "pipelines"
_FIELD = "uploadfile"


def routes(deps: Deps) -> list[BaseRoute]:
    here = Pipelines(deps)
    base = f"{rest.PREFIX}/pipelines"
    version = f"{base}/{{id}}/versions/{{version}}"
    return [
        route(f"{base}/upload", here.upload, methods=("POST",)),
        route(f"{base}/upload_version", here.upload_version, methods=("POST",)),
        route(f"{base}/create", here.create_with_version, methods=("POST",)),
        route(f"{base}/names/{{name}}", here.get_by_name),
        route(base, here.list),
        route(base, here.create, methods=("POST",)),
        route(f"{base}/{{id}}/versions", here.list_versions),
        route(f"{base}/{{id}}/versions", here.create_version, methods=("POST",)),
        route(version, here.get_version),
        route(version, here.update_version, methods=("PATCH",)),
        route(version, here.delete_version, methods=("DELETE",)),
        route(f"{base}/{{id}}", here.get),
        route(f"{base}/{{id}}", here.update, methods=("PATCH",)),
        route(f"{base}/{{id}}", here.delete, methods=("DELETE",)),
    ]


class Pipelines:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def upload(self, request: Request) -> Any:
        """A new pipeline with its first version, from a file."""
        query = dict(request.query_params)
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "create", _RESOURCE, namespace)
        spec, own_name = await self._uploaded(request)
        pipeline = self._pipeline(query | {"name": query.get("name") or own_name}, namespace)
        first = self._version(query | {"name": pipeline.name}, pipeline, spec)
        return shapes.pipeline(await self._keep_both(pipeline, first))

    async def upload_version(self, request: Request) -> Any:
        query = dict(request.query_params)
        if not query.get("pipelineid"):
            raise errors.BadRequest('the query needs "pipelineid": the pipeline to add a version to')
        pipeline = await self._allowed(request, "update", query["pipelineid"])
        spec, own_name = await self._uploaded(request)
        version = self._version(query | {"name": query.get("name") or own_name}, pipeline, spec)
        return shapes.version(await self._keep_version(pipeline, version))

    async def create(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        namespace = rest.text(body, "namespace") or self._deps.default_namespace
        await rest.allow(request, "create", _RESOURCE, namespace)
        row = self._pipeline(body, namespace)
        return shapes.pipeline(await self._keep(row))

    async def create_with_version(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        about, given = rest.child(body, "pipeline"), rest.child(body, "pipeline_version")
        namespace = rest.text(about, "namespace") or self._deps.default_namespace
        await rest.allow(request, "create", _RESOURCE, namespace)
        pipeline = self._pipeline(about, namespace)
        first = self._version({"name": pipeline.name} | given, pipeline, await self._spec_of(given))
        return shapes.pipeline(await self._keep_both(pipeline, first))

    async def create_version(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "update", request.path_params["id"])
        body = await bodies.json_object(request)
        version = self._version(body, pipeline, await self._spec_of(body))
        return shapes.version(await self._keep_version(pipeline, version))

    async def get(self, request: Request) -> Any:
        return shapes.pipeline(await self._allowed(request, "get", request.path_params["id"]))

    async def get_by_name(self, request: Request) -> Any:
        namespace, name = rest.namespace(request, self._deps), request.path_params["name"]
        await rest.allow(request, "get", _RESOURCE, namespace)
        row = await self._deps.database.read(lambda c: pipelines.find(c, namespace, name))
        if row is None:
            raise errors.NotFound(f'no pipeline named "{name}"')
        return shapes.pipeline(row)

    async def list(self, request: Request) -> Any:
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "list", _RESOURCE, namespace)
        asked = rest.asked(request, namespace)
        found, page = await self._deps.database.read(lambda c: pipelines.page(c, namespace, paging.query(asked)))
        return rest.listed("pipelines", [shapes.pipeline(row) for row in found], page, asked)

    async def list_versions(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "list", request.path_params["id"])
        asked = rest.asked(request, pipeline.id)
        found, page = await self._deps.database.read(
            lambda c: pipelines.version_page(c, pipeline.id, paging.query(asked)))
        return rest.listed("pipeline_versions", [shapes.version(row) for row in found], page, asked)

    async def get_version(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "get", request.path_params["id"])
        return shapes.version(await self._deps.database.read(
            lambda c: pipelines.get_version(c, pipeline.id, request.path_params["version"])))

    async def update(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "update", request.path_params["id"])
        changes = _changes(await bodies.json_object(request))
        if self._deps.objects is not None:
            await self._deps.objects.describe(pipeline, changes)
        return shapes.pipeline(await self._deps.database.run(lambda c: pipelines.describe(c, pipeline.id, changes)))

    async def update_version(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "update", request.path_params["id"])
        changes = _changes(await bodies.json_object(request))
        if self._deps.objects is not None:
            await self._deps.objects.describe(await self._version_of(request, pipeline), changes)
        return shapes.version(await self._deps.database.run(
            lambda c: pipelines.describe_version(c, pipeline.id, request.path_params["version"], changes)))

    async def delete(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "delete", request.path_params["id"])
        cascade = request.query_params.get("cascade", "").lower() == "true"
        await self._deps.database.read(lambda c: pipelines.check_removal(c, pipeline.id, cascade=cascade))
        if self._deps.objects is not None:
            await self._deps.objects.delete(pipeline)
        with contextlib.suppress(errors.NotFound):  # The mirror may have been faster.
            await self._deps.database.run(lambda c: pipelines.remove(c, pipeline.id, cascade=cascade))
        return {}

    async def delete_version(self, request: Request) -> Any:
        pipeline = await self._allowed(request, "update", request.path_params["id"])
        version = await self._version_of(request, pipeline)
        if self._deps.objects is not None:
            await self._deps.objects.delete(version)
        with contextlib.suppress(errors.NotFound):
            await self._deps.database.run(lambda c: pipelines.remove_version(c, pipeline.id, version.id))
        return {}

    async def _version_of(self, request: Request, pipeline: Pipeline) -> PipelineVersion:
        return await self._deps.database.read(
            lambda c: pipelines.get_version(c, pipeline.id, request.path_params["version"]))

    async def _keep(self, row: Pipeline) -> Pipeline:
        """Object first, then the row that is its index: a crash in between leaves an object, and ``mirror`` its row."""
        if self._deps.objects is None:
            return await self._deps.database.run(lambda c: pipelines.create(c, row))
        await self._deps.database.read(lambda c: pipelines.check_new(c, row))
        made = await self._deps.objects.create(row)
        return await self._deps.database.run(lambda c: pipelines.mirror(c, made))

    async def _keep_version(self, pipeline: Pipeline, row: PipelineVersion) -> PipelineVersion:
        if self._deps.objects is None:
            return await self._deps.database.run(lambda c: pipelines.create_version(c, row))
        await self._deps.database.read(lambda c: pipelines.check_new_version(c, row))
        made = await self._deps.objects.create_version(pipeline, row)
        await self._deps.database.run(lambda c: pipelines.mirror_version(c, made))
        return made

    async def _keep_both(self, pipeline: Pipeline, first: PipelineVersion) -> Pipeline:
        if self._deps.objects is None:
            await self._deps.database.run(
                lambda c: (pipelines.create(c, pipeline), pipelines.create_version(c, first)))
            return pipeline
        kept = await self._keep(pipeline)
        await self._keep_version(kept, dataclasses.replace(first, pipeline_id=kept.id))
        return kept

    async def _allowed(self, request: Request, verb: str, pipeline_id: str) -> Pipeline:
        row = await self._deps.database.read(lambda c: pipelines.get(c, pipeline_id))
        await rest.allow(request, verb, _RESOURCE, row.namespace, row.id)
        return row

    async def _uploaded(self, request: Request) -> tuple[Object, str]:
        """The specification in the uploaded package, checked whole, and the pipeline's own name."""
        _, data = await bodies.uploaded(request, _FIELD)
        spec = await asyncio.to_thread(lambda: parse.combine(document.load(packages.pipeline_file(data))))
        return spec, (await rest.checked(spec)).name

    async def _spec_of(self, body: Object) -> Object:
        """The specification in a version's body. What lies at a URL is not fetched by this server."""
        spec = body.get("pipeline_spec")
        if not isinstance(spec, dict):
            raise errors.Unsupported("a pipeline version is made from its pipeline_spec, not from a package_url",
                                     remedy="Upload the compiled file to /apis/v2beta1/pipelines/upload_version")
        document.check_size(spec)
        stored = parse.combine([spec])
        await rest.checked(stored)
        return stored

    def _pipeline(self, given: Object, namespace: str) -> Pipeline:
        name = rest.text(given, "name", "display_name")
        if not name:
            raise errors.BadRequest('a pipeline needs a "name"')
        return Pipeline(
            id=self._deps.ids.uid(), namespace=namespace, name=name,
            display_name=rest.text(given, "display_name") or name, tags=_tags(given.get("tags")),
            description=rest.text(given, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            created_at=self._deps.clock.now())

    def _version(self, given: Object, pipeline: Pipeline, spec: Object) -> PipelineVersion:
        name = rest.text(given, "name", "display_name")
        if not name:
            raise errors.BadRequest('a pipeline version needs a "name"')
        return PipelineVersion(
            id=self._deps.ids.uid(), namespace=pipeline.namespace, pipeline_id=pipeline.id, name=name,
            display_name=rest.text(given, "display_name") or name, tags=_tags(given.get("tags")),
            description=rest.text(given, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            code_source_url=rest.text(given, "code_source_url", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            spec=spec, created_at=self._deps.clock.now())


def _changes(body: Object) -> dict[str, Any]:
    """The fields that may be changed, of those that were sent."""
    changes: dict[str, Any] = {}
    if "display_name" in body:
        changes["display_name"] = rest.text(body, "display_name")
    if "description" in body:
        changes["description"] = rest.text(body, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS)
    if "tags" in body:
        changes["tags"] = _tags(body["tags"])
    return changes


def _tags(given: Any) -> dict[str, str] | None:
    if given in (None, "", {}):
        return None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise errors.BadRequest('"tags" is not a JSON object') from error
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise errors.BadRequest('"tags" must map strings to strings')
    return {str(key): value for key, value in given.items()}
