"""REST of what a step left, by its node: its log, streamed while it runs, and its artifacts; and a run's metrics.

KFP's interfaces call a step's Pod a node; a task's id or its place in the run will do as well.
"""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import rest
from lightship.domains.pipelines.rest import Deps
from lightship.records import run_history
from lightship.records.pipeline_rows import TaskRow
from lightship.records.rows import Run
from lightship.web.endpoints import route

READ_LIMIT_BYTES = 16 * 1024 * 1024
"""An artifact that is read whole, inside JSON; ``:download`` has no limit."""
_METRICS = "system.Metrics"


def routes(deps: Deps) -> list[BaseRoute]:
    here = Nodes(deps)
    found: list[BaseRoute] = [
        route("/apis/v1alpha1/runs/{id}/nodes/{node}/log", here.log),
        route(f"{rest.PREFIX}/runs/{{id}}/metrics", here.metrics),
    ]
    for version in ("v1beta1", "v2beta1"):
        found.append(route(f"/apis/{version}/runs/{{id}}/nodes/{{node}}/artifacts/{{name}}:read", here.read))
    return found


class Nodes:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def log(self, request: Request) -> Response:
        """The step's log as it is; with ``?follow=true`` until the step ends."""
        run, tasks = await self._allowed(request, "readArtifact")
        if self._deps.logs is None:
            raise errors.Unsupported("this server has no Pods whose logs it could read")
        follow = request.query_params.get("follow", "").lower() == "true"
        chunks = await self._deps.logs.read(run, _node(request, run, tasks), follow=follow)
        return StreamingResponse(chunks, media_type="text/plain; charset=utf-8",
                                 headers={"x-content-type-options": "nosniff", "cache-control": "no-cache, private"})

    async def read(self, request: Request) -> Any:
        """An output artifact's bytes in base64, as upstream answers."""
        run, tasks = await self._allowed(request, "readArtifact")
        task, name = _node(request, run, tasks), request.path_params["name"]
        rows = task.outputs.artifacts.get(name) or ()
        if not rows:
            known = ", ".join(sorted(task.outputs.artifacts)) or "none"
            raise errors.NotFound(f'the step "{task.path}" has no output artifact "{name}"',
                                  remedy=f"It has: {known}")
        row = rows[0]
        store = self._deps.artifacts.within(run.namespace)
        size, chunks = await store.stream(row.uri)
        if size > READ_LIMIT_BYTES:
            raise errors.TooLarge(f'the artifact "{name}" has {size} bytes, and {READ_LIMIT_BYTES} can be read so',
                                  remedy=f"Get {rest.PREFIX}/artifacts/{row.artifact_id}:download")
        parts = [chunk async for chunk in chunks]
        return {"data": base64.b64encode(b"".join(parts)).decode()}

    async def metrics(self, request: Request) -> Any:
        """The numbers in the metrics that the run's steps put out."""
        _, tasks = await self._allowed(request, "get")
        return {"metrics": [
            {"name": name, "node_id": task.task_id, "number_value": value, "format": "RAW", "artifact": row.name}
            for task in tasks for rows in task.outputs.artifacts.values() for row in rows
            if row.type_title == _METRICS and task.type == "RUNTIME"
            for name, value in row.metadata.items()
            if isinstance(value, int | float) and not isinstance(value, bool)]}

    async def _allowed(self, request: Request, verb: str) -> tuple[Run, list[TaskRow]]:
        run, tasks = await self._deps.database.read(lambda c: run_history.details(c, request.path_params["id"]))
        await rest.allow(request, verb, "runs", run.namespace, run.id)
        return run, tasks


def _node(request: Request, run: Run, tasks: list[TaskRow]) -> TaskRow:
    """The task of that Pod, id, path or, where only one has it, name."""
    wanted = request.path_params["node"]
    for found in ([task for task in tasks if wanted in (task.pod, task.task_id, task.path)],
                  [task for task in tasks if wanted == task.name]):
        if len(found) == 1:
            return found[0]
    raise errors.NotFound(f'run "{run.id}" has no step "{wanted}"')
