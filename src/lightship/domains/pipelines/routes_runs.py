"""REST v2beta1 of runs: create, get, list, archive, unarchive, terminate, retry, delete."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import folders, rest, shapes, sources
from lightship.domains.pipelines.recurring import macros
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Key
from lightship.records import experiments, notices, rows, run_history
from lightship.records.rows import Run
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


class Runs:
    """The handlers. Each change is announced, so that the engine takes it up at once."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def create(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        experiment = await sources.experiment(self._deps, request, body, _RESOURCE)
        source = await sources.of(self._deps, request, body)
        pipeline = await rest.checked(source.spec)
        run_id, now = self._deps.ids.uid(), self._deps.clock.now()
        chosen = sources.runtime(body).expanded(macros.Macros(run_id=run_id, now=now), source.spec)
        sources.check(pipeline, chosen)
        chosen = sources.placed(self._deps, pipeline, experiment.namespace, chosen)
        row = Run(
            id=run_id, namespace=experiment.namespace, experiment_id=experiment.id,
            display_name=rest.text(body, "display_name", "name", limit=255) or pipeline.name,
            description=rest.text(body, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            pipeline_id=source.pipeline_id, pipeline_version_id=source.version_id, pipeline_name=pipeline.name,
            spec=source.spec, parameters=chosen.parameters, pipeline_root=chosen.root,
            service_account=rest.text(body, "service_account", limit=253), state="PENDING", created_at=now)
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
        query = rest.within(paging.query(asked), "experiment_id", experiment_id)
        found, page = await self._deps.database.read(lambda c: run_history.page(c, namespace, query))
        return rest.listed("runs", [shapes.run(row) for row in found], page, asked)

    async def archive(self, request: Request) -> Any:
        return await self._store(request, "archive", rows.ARCHIVED)

    async def unarchive(self, request: Request) -> Any:
        run = await self._allowed(request, "unarchive")
        experiment = await self._deps.database.read(lambda c: experiments.get(c, run.experiment_id))
        if experiment.storage_state == rows.ARCHIVED:
            raise errors.Conflict(f'experiment "{experiment.id}" of run "{run.id}" is archived',
                                  remedy="Unarchive the experiment first to allow the run to be restored")
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
        self._deps.notices.publish(notices.ENDED_RUNS, key)
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
