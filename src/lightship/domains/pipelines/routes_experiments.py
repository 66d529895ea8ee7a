"""REST v2beta1 of experiments: create, get, list, archive, unarchive, delete."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import rest, shapes
from lightship.domains.pipelines.rest import Deps
from lightship.records import experiments, rows
from lightship.records.rows import Experiment
from lightship.web import bodies, paging
from lightship.web.endpoints import route

DEFAULT_NAME = "Default"
_RESOURCE = "experiments"


def routes(deps: Deps) -> list[BaseRoute]:
    here = Experiments(deps)
    base = f"{rest.PREFIX}/experiments"
    return [
        route(base, here.list),
        route(base, here.create, methods=("POST",)),
        route(f"{base}/{{id}}:archive", here.archive, methods=("POST",)),
        route(f"{base}/{{id}}:unarchive", here.unarchive, methods=("POST",)),
        route(f"{base}/{{id}}", here.get),
        route(f"{base}/{{id}}", here.delete, methods=("DELETE",)),
    ]


class Experiments:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def create(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        name = rest.text(body, "display_name", "name")
        namespace = rest.text(body, "namespace") or self._deps.default_namespace
        await rest.allow(request, "create", _RESOURCE, namespace)
        if not name:
            raise errors.BadRequest('an experiment needs a "display_name"')
        row = Experiment(id=self._deps.ids.uid(), namespace=namespace, name=name,
                         description=rest.text(body, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
                         created_at=self._deps.clock.now())
        return shapes.experiment(await self._deps.database.run(lambda c: experiments.create(c, row)))

    async def get(self, request: Request) -> Any:
        return shapes.experiment(await self._allowed(request, "get"))

    async def list(self, request: Request) -> Any:
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "list", _RESOURCE, namespace)
        asked = rest.asked(request, namespace)
        found, page = await self._deps.database.read(
            lambda c: experiments.page(c, namespace, paging.query(asked)))
        return rest.listed("experiments", [shapes.experiment(row) for row in found], page, asked)

    async def archive(self, request: Request) -> Any:
        return await self._store(request, "archive", rows.ARCHIVED)

    async def unarchive(self, request: Request) -> Any:
        return await self._store(request, "unarchive", rows.AVAILABLE)

    async def delete(self, request: Request) -> Any:
        row = await self._allowed(request, "delete")
        if row.name == DEFAULT_NAME:
            raise errors.BadRequest(f'could not delete experiment "{row.id}". The default experiment cannot be deleted',
                                    remedy="Archive it, or delete its runs")
        await self._deps.database.run(lambda c: experiments.remove(c, row.id))
        return {}

    async def _store(self, request: Request, verb: str, state: str) -> Any:
        row, at = await self._allowed(request, verb), self._deps.clock.now()
        await self._deps.database.run(lambda c: experiments.set_storage_state(c, row.id, state, at))
        return {}

    async def _allowed(self, request: Request, verb: str) -> Experiment:
        row = await self._deps.database.read(lambda c: experiments.get(c, request.path_params["id"]))
        await rest.allow(request, verb, _RESOURCE, row.namespace, row.id)
        return row


async def default(deps: Deps, namespace: str) -> Experiment:
    """The experiment for runs that name none, made when it is first needed."""
    row = Experiment(id=deps.ids.uid(), namespace=namespace, name=DEFAULT_NAME, created_at=deps.clock.now(),
                     description="Runs that were started without an experiment")
    return await deps.database.run(
        lambda c: experiments.by_name(c, namespace, DEFAULT_NAME) or experiments.create(c, row))
