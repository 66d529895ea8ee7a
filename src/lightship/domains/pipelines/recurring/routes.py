"""REST v2beta1 of recurring runs: create, get, list, enable, disable, delete.

What is written here wakes ``scheduler`` by a notice. The access review knows recurring runs as ``jobs``, as upstream.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import rest, shapes, sources
from lightship.domains.pipelines.recurring import decide, macros, schedule
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Key, Object
from lightship.records import experiments, notices, recurring, rows
from lightship.records.rows import RecurringRun
from lightship.web import bodies, paging
from lightship.web.endpoints import route

LIMIT_CONCURRENT_RUNS = 10
_RESOURCE = "jobs"
_MODES = {"ENABLE": True, "DISABLE": False, "": True, "MODE_UNSPECIFIED": True, "1": True, "2": False, "0": True}


def routes(deps: Deps) -> list[BaseRoute]:
    here = RecurringRuns(deps)
    base = f"{rest.PREFIX}/recurringruns"
    return [
        route(base, here.list),
        route(base, here.create, methods=("POST",)),
        route(f"{base}/{{id}}:enable", here.enable, methods=("POST",)),
        route(f"{base}/{{id}}:disable", here.disable, methods=("POST",)),
        route(f"{base}/{{id}}", here.get),
        route(f"{base}/{{id}}", here.delete, methods=("DELETE",)),
    ]


class RecurringRuns:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def create(self, request: Request) -> Any:
        body = await bodies.json_object(request)
        now = self._deps.clock.now()
        times = schedule.parse(rest.child(body, "trigger"), now)
        experiment = await sources.experiment(self._deps, request, body, _RESOURCE)
        source = await sources.of(self._deps, request, body)
        pipeline = await rest.checked(source.spec)
        chosen = sources.runtime(body)
        sample = macros.Macros(run_id=self._deps.ids.uid(), now=now, scheduled=now, index=1)
        sources.check(pipeline, chosen.expanded(sample, source.spec))
        sources.placed(self._deps, pipeline, experiment.namespace, chosen)  # Each run is placed when it is made.
        row = RecurringRun(
            id=self._deps.ids.uid(), namespace=experiment.namespace, experiment_id=experiment.id,
            display_name=rest.text(body, "display_name", "name", limit=255) or pipeline.name,
            description=rest.text(body, "description", limit=rest.DESCRIPTION_LIMIT_CHARACTERS),
            pipeline_id=source.pipeline_id, pipeline_version_id="" if source.latest else source.version_id,
            spec={} if source.latest else source.spec, parameters=chosen.parameters, pipeline_root=chosen.root,
            service_account=rest.text(body, "service_account", limit=253),
            trigger=schedule.normal(rest.child(body, "trigger")), max_concurrency=_concurrency(body),
            no_catchup=_flag(body, "no_catchup"), enabled=_mode(body), counted_from=times.start or now,
            created_at=now, updated_at=now)
        row = dataclasses.replace(row, next_at=decide.next_at(row))
        if row.enabled and experiment.storage_state == rows.ARCHIVED:
            raise _archived(experiment.id)
        await self._deps.database.run(lambda c: recurring.create(c, row))
        self._announce(row)
        return shapes.recurring_run(row)

    async def get(self, request: Request) -> Any:
        return shapes.recurring_run(await self._allowed(request, "get"))

    async def list(self, request: Request) -> Any:
        experiment_id = request.query_params.get("experiment_id", "")
        namespace = rest.namespace(request, self._deps)
        if experiment_id:
            namespace = (await self._deps.database.read(lambda c: experiments.get(c, experiment_id))).namespace
        await rest.allow(request, "list", _RESOURCE, namespace)
        asked = rest.asked(request, namespace, experiment_id)
        query = rest.within(paging.query(asked), "experiment_id", experiment_id)
        found, page = await self._deps.database.read(lambda c: recurring.page(c, namespace, query))
        return rest.listed("recurringRuns", [shapes.recurring_run(row) for row in found], page, asked)

    async def enable(self, request: Request) -> Any:
        """From now on: the times that passed while it was disabled never get runs."""
        row, now = await self._allowed(request, "enable"), self._deps.clock.now()

        def change(connection: Any) -> RecurringRun:
            known = recurring.get(connection, row.id, lock=True)
            if known.enabled:
                return known
            if experiments.get(connection, known.experiment_id).storage_state == rows.ARCHIVED:
                raise _archived(known.experiment_id)
            changed = dataclasses.replace(known, enabled=True, counted_from=max(known.counted_from, now), error="",
                                          updated_at=now)
            changed = dataclasses.replace(changed, next_at=decide.next_at(changed))
            recurring.move(connection, changed)
            return changed

        self._announce(await self._deps.database.run(change))
        return {}

    async def disable(self, request: Request) -> Any:
        row, now = await self._allowed(request, "disable"), self._deps.clock.now()

        def change(connection: Any) -> RecurringRun:
            known = recurring.get(connection, row.id, lock=True)
            changed = dataclasses.replace(known, enabled=False, next_at=None, updated_at=now)
            if known.enabled:
                recurring.move(connection, changed)
            return changed

        self._announce(await self._deps.database.run(change))
        return {}

    async def delete(self, request: Request) -> Any:
        row = await self._allowed(request, "delete")
        await self._deps.database.run(lambda c: recurring.remove(c, row.id))
        self._announce(row)
        return {}

    async def _allowed(self, request: Request, verb: str) -> RecurringRun:
        row = await self._deps.database.read(lambda c: recurring.get(c, request.path_params["id"]))
        await rest.allow(request, verb, _RESOURCE, row.namespace, row.id)
        return row

    def _announce(self, row: RecurringRun) -> None:
        self._deps.notices.publish(notices.RECURRING, Key(row.namespace, row.id))


def _archived(experiment_id: str) -> errors.Conflict:
    return errors.Conflict(f'experiment "{experiment_id}" is archived', remedy="Unarchive the experiment first")


def _concurrency(body: Object) -> int:
    """How many of its runs may run at once; REST writes 64-bit numbers as text."""
    value = body.get("max_concurrency")
    if value in (None, ""):
        return 1
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LIMIT_CONCURRENT_RUNS:
        raise errors.InvalidInput(f"the max concurrency of a recurring run is 1 to {LIMIT_CONCURRENT_RUNS}",
                                  field="max_concurrency")
    return value


def _flag(body: Object, name: str) -> bool:
    value = body.get(name)
    if value not in (None, True, False):
        raise errors.BadRequest(f'"{name}" must be true or false')
    return bool(value)


def _mode(body: Object) -> bool:
    value = body.get("mode")
    enabled = _MODES.get("" if value is None else str(value))
    if enabled is None:
        raise errors.BadRequest('"mode" must be ENABLE or DISABLE')
    return enabled
