"""The routes of the page: ``/``, ``/runs/ID``, ``/artifacts/ID``, its style and script, and the stream of changes.

``app`` builds ``Page`` and adds ``routes(page)`` to those of the domains. Each route passes the access review for what
it shows; a part of the first page that the user may not see is left empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightship import errors
from lightship.artifacts.store import Entry, Stores
from lightship.kube.objects import Object
from lightship.lib.clock import Clock
from lightship.records import artifacts, notices, registry, run_history
from lightship.records.artifacts import StoredArtifact
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.rows import Run
from lightship.web import access, paging
from lightship.web.access import Attributes
from lightship.web.endpoints import route
from lightship.web.page import views
from lightship.web.page.html import Markup
from lightship.web.sse import Streams

ROWS_SHOWN = 25
FILES_SHOWN = 500
TOPICS = (notices.RUNS, notices.REGISTRY)
_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
_RUNS = Attributes(verb="list", resource="runs", group="pipelines.kubeflow.org")
_MODELS = Attributes(verb="list", resource="modelversions", group="modelregistry.kubeflow.org")
_ENDPOINTS = Attributes(verb="list", resource="inferenceservices", group="serving.kserve.io")

Endpoints = Callable[[str], Awaitable[Sequence[Object]]]
"""The InferenceServices of a namespace."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page needs from ``app``. ``streams`` must be closed when the server stops."""

    database: Database
    artifacts: Stores
    clock: Clock
    endpoints: Endpoints
    streams: Streams
    namespace: str = "default"


def streams(heard: Notices) -> Streams:
    """The streams that tell open pages of changes."""
    return Streams(heard, TOPICS)


def routes(page: Page) -> list[BaseRoute]:
    here = _Handlers(page)
    return [
        route("/", here.home),
        route("/runs/{id}", here.run),
        route("/artifacts/{id}", here.artifact),
        route("/events", here.events),
        *(route(f"/static/{name}", _static(name, media_type)) for name, media_type in _STATIC.items()),
    ]


class _Handlers:
    def __init__(self, page: Page) -> None:
        self._page = page

    async def home(self, request: Request) -> Response:
        namespace = request.query_params.get("namespace") or self._page.namespace
        access.everyone(request)  # The frame; each part is reviewed by itself.
        may_runs, may_models, may_endpoints = [
            await _may(request, asked, namespace) for asked in (_RUNS, _MODELS, _ENDPOINTS)]
        asked = paging.Asked(page_size=str(ROWS_SHOWN), page_token=request.query_params.get("after", ""),
                             sort="created_at", descending=True, scope=("page", namespace))
        query = paging.query(asked)
        runs: Sequence[Run] = []
        older = ""
        if may_runs:
            runs, found = await self._page.database.read(lambda c: run_history.page(c, namespace, query))
            older = paging.token(asked, found.next)
        models: Sequence[Any] = []
        if may_models:
            models = await self._page.database.read(lambda c: registry.latest(c, namespace, ROWS_SHOWN))
        endpoints = await self._page.endpoints(namespace) if may_endpoints else []
        return _html(views.home(views.Home(
            runs=runs, older=older, models=models, endpoints=endpoints, now=self._page.clock.now())))

    async def run(self, request: Request) -> Response:
        row, tasks = await self._page.database.read(lambda c: run_history.details(c, request.path_params["id"]))
        await access.review(request, Attributes(verb="get", resource="runs", group=_RUNS.group,
                                                namespace=row.namespace, name=row.id))
        return _html(views.run(row, tasks, self._page.clock.now()))

    async def artifact(self, request: Request) -> Response:
        found = await self._page.database.read(lambda c: artifacts.get(c, request.path_params["id"]))
        await access.review(request, Attributes(verb="readArtifact", resource="runs", group=_RUNS.group,
                                                namespace=found.namespace))
        row = found.row
        made = await self._page.database.read(lambda c: artifacts.producers(c, [row.artifact_id]))
        return _html(views.artifact(row, await self._files(found), made.get(row.artifact_id, ("", ""))))

    async def events(self, request: Request) -> Response:
        access.everyone(request)  # It says that something changed, not what.
        return self._page.streams.response()

    async def _files(self, found: StoredArtifact) -> Sequence[Entry]:
        try:
            return await self._page.artifacts.within(found.namespace).list(found.row.uri, limit=FILES_SHOWN)
        except (errors.Unsupported, errors.BadRequest, errors.Forbidden):
            return ()  # It lies in a store that is not ours; the page says so.


async def _may(request: Request, asked: Attributes, namespace: str) -> bool:
    reviewed = Attributes(verb=asked.verb, resource=asked.resource, group=asked.group, namespace=namespace)
    try:
        await access.review(request, reviewed)
    except errors.Forbidden:
        return False
    return True


def _static(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (Path(__file__).parent / "static" / name).read_bytes()

    async def static(request: Request) -> Response:
        access.everyone(request)
        return Response(content, media_type=media_type, headers={"cache-control": "private, max-age=60"})

    return static


def _html(page: Markup) -> Response:
    return Response(page, media_type="text/html")
