"""KFP's REST v2beta1, all of it that this room serves; what is still to come answers 501 and says so.

``Domain.routes`` is my ``routes``. The files beside me (``routes_*.py``) hold one resource each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import (
    rest,
    routes_artifacts,
    routes_cache,
    routes_debug,
    routes_experiments,
    routes_lineage,
    routes_pipelines,
    routes_runs,
)
from lightship.domains.pipelines.recurring import routes as recurring
from lightship.domains.pipelines.rest import Deps
from lightship.web import access
from lightship.web.endpoints import route


def routes(deps: Deps) -> list[BaseRoute]:
    """Every route of the pipelines API."""
    return [
        *routes_pipelines.routes(deps), *routes_experiments.routes(deps), *routes_runs.routes(deps),
        *routes_artifacts.routes(deps), *routes_cache.routes(deps), *routes_debug.routes(deps),
        *routes_lineage.routes(deps), *recurring.routes(deps), *_service(), *_to_come()]


def _service() -> list[BaseRoute]:
    return [
        route("/apis/v2beta1/healthz", _healthz),
        route("/apis/v1beta1/healthz", _healthz),
        route("/apis/v2beta1/auth", _authorize),
    ]


async def _healthz(request: Request) -> Any:
    access.everyone(request)
    return {"multi_user": False, "pipeline_store": "database"}


async def _authorize(request: Request) -> Any:
    """Whether the user may see a namespace's viewers (upstream's TensorBoards)."""
    query = request.query_params
    await access.review(request, access.Attributes(
        verb=query.get("verb", "get").lower(), resource=query.get("resources", "viewers").lower(),
        group="kubeflow.org", namespace=query.get("namespace", "")))
    return {}


def _to_come() -> list[BaseRoute]:
    return [
        _missing(f"{rest.PREFIX}/visualizations/{{namespace}}", "visualizations", ("POST",)),
        _missing(f"{rest.PREFIX}/workflows", "reports of Argo workflows", ("POST",)),
        _missing(f"{rest.PREFIX}/scheduledworkflows", "reports of Argo workflows", ("POST",)),
    ]


def _missing(path: str, what: str, methods: tuple[str, ...]) -> BaseRoute:
    return route(path, _refuse(what), methods=methods)


def _refuse(what: str) -> Callable[[Request], Any]:
    async def refuse(request: Request) -> Any:
        raise errors.Unsupported(f"{what} are not served yet by this version of Lightship")

    return refuse
