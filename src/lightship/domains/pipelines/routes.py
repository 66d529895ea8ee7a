"""KFP's REST v2beta1, all of it that this room serves; what it does without answers 501 and says why.

``Domain.routes`` is my ``routes``. The files beside me (``routes_*.py``) hold one resource each.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    routes_nodes,
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
        *routes_lineage.routes(deps), *routes_nodes.routes(deps),
        *recurring.routes(deps), *_service(deps), *_done_without()]


def _service(deps: Deps) -> list[BaseRoute]:
    async def healthz(request: Request) -> Any:
        access.everyone(request)
        return {"multi_user": False, "pipeline_store": "database" if deps.objects is None else "kubernetes"}

    return [
        route("/apis/v2beta1/healthz", healthz),
        route("/apis/v1beta1/healthz", healthz),
        route("/apis/v2beta1/auth", _authorize),
    ]


async def _authorize(request: Request) -> Any:
    """Whether the user may see a namespace's viewers (upstream's TensorBoards)."""
    query = request.query_params
    await access.review(request, access.Attributes(
        verb=query.get("verb", "get").lower(), resource=query.get("resources", "viewers").lower(),
        group="kubeflow.org", namespace=query.get("namespace", "")))
    return {}


def _done_without() -> list[BaseRoute]:
    """What upstream's own parts call, and there is nothing here that would."""
    visual = "visualizations need upstream's visualization server, which KFP's second version has given up"
    first = ("this is KFP's second API, v2beta1; its first, v1beta1, is not served. Use the SDK kfp 2 or later; runs' "
             "metrics are artifacts of the type Metrics")
    argo = "there are no Argo workflows to report: runs are recorded by the engine itself"
    return [_refused(f"{rest.PREFIX}/visualizations/{{namespace}}", visual),
            _refused(f"{rest.PREFIX}/workflows", argo), _refused(f"{rest.PREFIX}/scheduledworkflows", argo),
            _refused("/apis/v1beta1/{rest:path}", first, methods=("GET", "POST", "DELETE"))]


def _refused(path: str, why: str, methods: Sequence[str] = ("POST",)) -> BaseRoute:
    async def refuse(request: Request) -> Any:
        raise errors.Unsupported(why)

    return route(path, refuse, methods=tuple(methods))
