"""REST of lineage: which tasks took and made which artifacts, and a run's tasks by themselves.

``/artifact_tasks`` and ``/runs/{id}/tasks`` are of upstream's next model; ``/lineage/{artifact}`` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import rest, shapes, task_shapes
from lightship.domains.pipelines.rest import Deps
from lightship.records import artifacts, lineage, listing, schema, task_history
from lightship.records.artifacts import Ends, Link
from lightship.records.lineage import Lineage, LineageTask
from lightship.records.pipeline_rows import INPUT, OUTPUT
from lightship.web import paging
from lightship.web.endpoints import route

IDS_LIMIT = 500
_INPUT_TYPES = frozenset({"COMPONENT_DEFAULT_INPUT", "TASK_OUTPUT_INPUT", "COMPONENT_INPUT", "RUNTIME_VALUE_INPUT",
                          "COLLECTED_INPUTS", "ITERATOR_INPUT", "ITERATOR_INPUT_RAW"})
_OUTPUT_TYPES = frozenset({"OUTPUT", "ITERATOR_OUTPUT", "ONE_OF_OUTPUT", "TASK_FINAL_STATUS_OUTPUT"})
_DIRECTIONS: Mapping[str, Sequence[str]] = {
    "both": (lineage.UPSTREAM, lineage.DOWNSTREAM), lineage.UPSTREAM: (lineage.UPSTREAM,),
    lineage.DOWNSTREAM: (lineage.DOWNSTREAM,)}

Producers = Mapping[tuple[str, str], Link]
"""Of an artifact in a run, by (run id, artifact id): the output that it is there."""


def routes(deps: Deps) -> list[BaseRoute]:
    here = LineageRoutes(deps)
    return [
        route(f"{rest.PREFIX}/artifact_tasks", here.links),
        route(f"{rest.PREFIX}/lineage/{{id}}", here.lineage),
        route(f"{rest.PREFIX}/runs/{{id}}/tasks", here.tasks),
        route(f"{rest.PREFIX}/runs/{{id}}/tasks/{{task_id}}", here.task),
    ]


class LineageRoutes:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def links(self, request: Request) -> Any:
        """Links between artifacts and tasks, of the artifacts, tasks or runs that the request names."""
        given = request.query_params.getlist
        ends = Ends(artifact_ids=_ids(given("artifact_ids")), task_ids=_ids(given("task_ids")),
                    run_ids=_ids(given("run_ids")))
        if ends == Ends():
            raise errors.BadRequest("name at least one of artifact_ids, task_ids and run_ids")
        for namespace in sorted(await self._deps.database.read(lambda c: artifacts.namespaces_of(c, ends)) or {""}):
            await rest.allow(request, "list", "runs", namespace)
        wanted = _stored_type(request.query_params.get("type", ""))
        asked = rest.asked(request, *ends.artifact_ids, *ends.task_ids, *ends.run_ids, wanted)
        query = paging.query(asked)
        if wanted:
            only = listing.Predicate(field="type", operation="EQUALS", values=(wanted,))
            query = listing.Query(predicates=(*query.predicates, only), sort=query.sort, descending=query.descending,
                                  after=query.after, limit=query.limit)
        found, page = await self._deps.database.read(lambda c: artifacts.link_page(c, ends, query))
        producers = await self._producers([link for link in found if link.type == INPUT])
        return rest.listed("artifact_tasks", [_link(link, producers) for link in found], page, asked)

    async def lineage(self, request: Request) -> Any:
        """All that an artifact came from and all that came of it: ``direction`` both, upstream or downstream."""
        directions = _DIRECTIONS.get(request.query_params.get("direction", "both").lower())
        if directions is None:
            raise errors.BadRequest(f"direction must be one of {', '.join(_DIRECTIONS)}")
        levels = _levels(request.query_params.get("levels", ""))
        start = await self._deps.database.read(lambda c: artifacts.get(c, request.path_params["id"]))
        await rest.allow(request, "list", "runs", start.namespace)
        found = await self._deps.database.read(lambda c: lineage.closure(
            c, start.namespace, start.row.artifact_id, directions, levels))
        return _lineage(start.row.artifact_id, found)

    async def tasks(self, request: Request) -> Any:
        """A run's tasks, in pages; ``parent_task_id`` asks for one task's children."""
        run_id, parent = request.path_params["id"], request.query_params.get("parent_task_id", "")
        await self._allow_run(request, run_id)
        asked = rest.asked(request, run_id, parent)
        query = paging.query(asked)
        found, page = await self._deps.database.read(lambda c: task_history.page(c, run_id, parent, query))
        parents = await self._deps.database.read(lambda c: task_history.ids_of_paths(
            c, run_id, sorted({task.parent_path for task in found if task.parent_path})))
        return rest.listed("tasks", [task_shapes.task(task, parents) for task in found], page, asked)

    async def task(self, request: Request) -> Any:
        run_id, task_id = request.path_params["id"], request.path_params["task_id"]
        await self._allow_run(request, run_id)
        row = await self._deps.database.read(lambda c: task_history.get(c, run_id, task_id))
        parents = await self._deps.database.read(lambda c: task_history.ids_of_paths(c, run_id, [row.parent_path]))
        return task_shapes.task(row, parents)

    async def _allow_run(self, request: Request, run_id: str) -> None:
        namespace = await self._deps.database.read(lambda c: task_history.namespace_of(c, run_id))
        await rest.allow(request, "get", "runs", namespace, run_id)

    async def _producers(self, inputs: Sequence[Link]) -> Producers:
        """Who made these inputs within their own runs."""
        if not inputs:
            return {}
        runs, ids = {link.run_id for link in inputs}, {link.artifact_id for link in inputs}
        events = schema.events.c
        made = await self._deps.database.read(lambda c: artifacts.links_where(
            c, events.run_id.in_(runs), events.artifact_id.in_(ids), events.type == OUTPUT))
        return {(link.run_id, link.artifact_id): link for link in made}


def _ids(given: Sequence[str]) -> tuple[str, ...]:
    """The ids of a repeated parameter, which may also hold several with commas."""
    ids = tuple(one for text in given for one in text.split(",") if one)
    if len(ids) > IDS_LIMIT:
        raise errors.BadRequest(f"a request names more than {IDS_LIMIT} ids")
    return ids


def _levels(text: str) -> int:
    if not text:
        return lineage.LINEAGE_LIMIT_LEVELS
    if not text.isdecimal() or not 1 <= int(text[:9]) <= lineage.LINEAGE_LIMIT_LEVELS:
        raise errors.BadRequest(f"levels must be a number from 1 to {lineage.LINEAGE_LIMIT_LEVELS}")
    return int(text)


def _stored_type(asked: str) -> str:
    """Our INPUT or OUTPUT for upstream's finer types; empty for all."""
    if asked in ("", "UNSPECIFIED"):
        return ""
    if asked in _INPUT_TYPES | {INPUT}:
        return INPUT
    if asked in _OUTPUT_TYPES:
        return OUTPUT
    raise errors.BadRequest(f'there is no type "{asked}" of links between artifacts and tasks')


def _link(link: Link, producers: Producers) -> dict[str, Any]:
    """One link as upstream has it: an input that was made in its run names its producer."""
    made = link if link.type == OUTPUT else producers.get((link.run_id, link.artifact_id))
    shape: dict[str, Any] = {
        "id": f"{link.task_id}/{link.type}/{link.key}/{link.artifact_id}", "artifact_id": link.artifact_id,
        "run_id": link.run_id, "task_id": link.task_id, "key": link.key,
        "type": OUTPUT if link.type == OUTPUT else "TASK_OUTPUT_INPUT" if made else "COMPONENT_INPUT"}
    if made is not None:
        shape["producer"] = {"task_name": made.task_name}
        if made.iteration is not None:
            shape["producer"]["iteration"] = str(made.iteration)
    return shape


def _lineage(artifact_id: str, found: Lineage) -> dict[str, Any]:
    producers = {(link.run_id, link.artifact_id): link for link in found.links if link.type == OUTPUT}
    return {
        "artifact_id": artifact_id, "artifacts": [shapes.stored_artifact(artifact) for artifact in found.artifacts],
        "tasks": [_task(task) for task in found.tasks], "links": [_link(link, producers) for link in found.links],
        "truncated": found.truncated}


def _task(task: LineageTask) -> dict[str, Any]:
    return {"task_id": task.task_id, "run_id": task.run_id, "run_display_name": task.run_name, "scope_path": task.path,
            "display_name": task.name, "type": task.type, "state": task.state, "start_time": task.started_at,
            "end_time": task.finished_at}
