"""REST v2beta1 of runs: create, get, list, archive, unarchive, terminate, retry, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import document, folders, inputs, parse, rest, shapes
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.rest import Deps
from lightship.domains.pipelines.routes_experiments import default
from lightship.kube.objects import Key, Object
from lightship.records import experiments, listing, notices, pipelines, rows, run_history
from lightship.records.rows import Experiment, Run
from lightship.web import bodies, paging
from lightship.web.endpoints import route

_RESOURCE = "runs"


def routes(deps: Deps) -> list[BaseRoute]:
    here = Runs(deps)
    base = f"{rest.PREFIX}/runs"
    return [
        route(base, here.list),
        route(base, here.create, methods=("POST",)),
        route(f"{base}/{{id}}:archive", here.archive, methods=("POST",)),
        route(f"{base}/{{id}}:unarchive", here.unarchive, methods=("POST",)),
        route(f"{base}/{{id}}:terminate", here.terminate, methods=("POST",)),
        route(f"{base}/{{id}}:retry", here.retry, methods=("POST",)),
        route(f"{base}/{{id}}", here.get),
        route(f"{base}/{{id}}", here.delete, methods=("DELETE",)),
    ]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a run's specification comes from."""

    spec: Object
    pipeline_id: str = ""
    version_id: str = ""


class Runs:
    """The handlers. Each change is announced, so that the engine takes it up at once."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def create(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        experiment = await self._experiment(request, body)
        await rest.allow(request, "create", _RESOURCE, experiment.namespace)
        source = await self._source(request, body)
        pipeline = await rest.checked(source.spec)
        parameters, root = _runtime(body)
        folders.check(experiment.namespace, root, pipeline.default_root)
        try:
            inputs.of_root(pipeline, parameters)
        except StepError as error:
            raise errors.InvalidInput(error.message, remedy=error.remedy, field="runtime_config.parameters") from error
        row = Run(
            id=self._deps.ids.uid(), namespace=experiment.namespace, experiment_id=experiment.id,
            display_name=rest.text(body, "display_name", "name", limit=255) or pipeline.name,
            description=rest.text(body, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            pipeline_id=source.pipeline_id, pipeline_version_id=source.version_id, pipeline_name=pipeline.name,
            spec=source.spec, parameters=parameters, pipeline_root=root,
            service_account=rest.text(body, "service_account", limit=253), state="PENDING",
            created_at=self._deps.clock.now())
        made = await self._deps.database.run(lambda c: run_history.create(c, row))
        self._announce(Key(made.namespace, made.id))
        return shapes.run(made)

    async def get(self, request: Request) -> Any:
        row, tasks = await self._deps.database.read(lambda c: run_history.details(c, request.path_params["id"]))
        await rest.allow(request, "get", _RESOURCE, row.namespace, row.id)
        return shapes.run(row, tasks)

    async def list(self, request: Request) -> Any:
        experiment_id = request.query_params.get("experiment_id", "")
        namespace = rest.namespace(request, self._deps)
        if experiment_id:
            namespace = (await self._deps.database.read(lambda c: experiments.get(c, experiment_id))).namespace
        await rest.allow(request, "list", _RESOURCE, namespace)
        asked = rest.asked(request, namespace, experiment_id)
        query = paging.query(asked)
        if experiment_id:
            within = listing.Predicate(field="experiment_id", operation="EQUALS", values=(experiment_id,))
            query = listing.Query(predicates=(*query.predicates, within), sort=query.sort,
                                  descending=query.descending, after=query.after, limit=query.limit)
        found, page = await self._deps.database.read(lambda c: run_history.page(c, namespace, query))
        return rest.listed("runs", [shapes.run(row) for row in found], page, asked)

    async def archive(self, request: Request) -> Any:
        return await self._store(request, "archive", rows.ARCHIVED)

    async def unarchive(self, request: Request) -> Any:
        return await self._store(request, "unarchive", rows.AVAILABLE)

    async def terminate(self, request: Request) -> Any:
        run, at = await self._allowed(request, "terminate"), self._deps.clock.now()
        self._announce(await self._deps.database.run(lambda c: run_history.terminate(c, run.id, at)))
        return {}

    async def retry(self, request: Request) -> Any:
        run, at = await self._allowed(request, "retry"), self._deps.clock.now()
        self._announce(await self._deps.database.run(lambda c: run_history.retry(c, run.id, at)))
        return {}

    async def delete(self, request: Request) -> Any:
        run, at = await self._allowed(request, "delete"), self._deps.clock.now()
        root = folders.of_stored(run.namespace, run.id, run.pipeline_root, run.spec)
        key = await self._deps.database.run(lambda c: run_history.remove(c, run.id, at, root))
        self._announce(key)
        self._deps.notices.publish(notices.GARBAGE, key)
        return {}

    async def _store(self, request: Request, verb: str, state: str) -> Any:
        run = await self._allowed(request, verb)
        self._announce(await self._deps.database.run(lambda c: run_history.set_storage_state(c, run.id, state)))
        return {}

    async def _allowed(self, request: Request, verb: str) -> Run:
        row = await self._deps.database.read(lambda c: run_history.get(c, request.path_params["id"]))
        await rest.allow(request, verb, _RESOURCE, row.namespace, row.id)
        return row

    def _announce(self, key: Key) -> None:
        self._deps.notices.publish(notices.RUNS, key)

    async def _experiment(self, request: Request, body: Object) -> Experiment:
        given = rest.text(body, "experiment_id") or request.query_params.get("experiment_id", "")
        if not given:
            namespace = rest.namespace(request, self._deps)
            await rest.allow(request, "create", _RESOURCE, namespace)
            return await default(self._deps, namespace)
        return await self._deps.database.read(lambda c: experiments.get(c, given))

    async def _source(self, request: Request, body: Object) -> _Source:
        reference = rest.child(body, "pipeline_version_reference")
        pipeline_id = rest.text(reference, "pipeline_id")
        version_id = rest.text(reference, "pipeline_version_id") or rest.text(body, "pipeline_version_id")
        spec = body.get("pipeline_spec")
        if spec and (pipeline_id or version_id):
            raise errors.BadRequest("a run is made from a pipeline_spec or from a pipeline version, not from both")
        if isinstance(spec, dict) and spec:
            document.check_size(spec)
            return _Source(spec=parse.combine([spec]))
        if not pipeline_id and not version_id:
            raise errors.BadRequest("a run needs a pipeline_spec or a pipeline_version_reference")
        version = await self._deps.database.read(
            lambda c: pipelines.get_version(c, pipeline_id, version_id) if version_id
            else pipelines.latest_version(c, pipeline_id))
        await rest.allow(request, "get", "pipelines", version.namespace, version.pipeline_id)
        return _Source(spec=version.spec, pipeline_id=version.pipeline_id, version_id=version.id)


def _runtime(body: Object) -> tuple[Object, str]:
    """The run's parameters and pipeline root."""
    config = rest.child(body, "runtime_config")
    return rest.child(config, "parameters"), rest.text(config, "pipeline_root", limit=4096)
