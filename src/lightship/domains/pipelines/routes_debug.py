"""What ``lightship debug`` asks: the Pod that a step would get, apart from its run. Ours; KFP has nothing like it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import debugging, rest
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Key
from lightship.records import run_history
from lightship.records.runs import Runs
from lightship.web.endpoints import route


def routes(deps: Deps) -> list[BaseRoute]:
    return [route(f"{rest.PREFIX}/runs/{{id}}/tasks/{{task_id}}:debugPod", Debug(deps).pod)]


class Debug:
    """The handler."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def pod(self, request: Request) -> Any:
        """The Pod, which the caller may create with his own rights; ``?hold=true``: it waits for a shell."""
        row = await self._deps.database.read(lambda c: run_history.get(c, request.path_params["id"]))
        await rest.allow(request, "get", "runs", row.namespace, row.id)
        loaded = await Runs(self._deps.database).load(Key(row.namespace, row.id))
        if loaded is None:
            raise errors.NotFound(f'there is no run "{row.id}"')
        run, tasks = loaded
        hold = request.query_params.get("hold", "") == "true"
        try:
            return await asyncio.to_thread(debugging.pod, run, list(tasks), request.path_params["task_id"], hold=hold)
        except StepError as error:
            raise errors.InvalidInput(error.message, remedy=error.remedy) from error
