"""The cache as its users see it: which results are kept, and how to be rid of them. Routes of our own beside KFP's."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from lightship import errors
from lightship.domains.pipelines import rest
from lightship.domains.pipelines.rest import Deps
from lightship.kube.objects import Object
from lightship.lib.clock import timestamp
from lightship.records import cache
from lightship.web import paging
from lightship.web.endpoints import route

_RESOURCE = "cacheentries"


def routes(deps: Deps) -> list[BaseRoute]:
    here = Entries(deps)
    base = f"{rest.PREFIX}/cache_entries"
    return [
        route(base, here.list),
        route(base, here.clear, methods=("DELETE",)),
        route(f"{base}/{{key}}", here.delete, methods=("DELETE",)),
    ]


class Entries:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def list(self, request: Request) -> Any:
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "list", _RESOURCE, namespace)
        asked = rest.asked(request, namespace)
        found, page = await self._deps.database.read(lambda c: cache.page(c, namespace, paging.query(asked)))
        return rest.listed("cache_entries", [_shape(each) for each in found], page, asked)

    async def clear(self, request: Request) -> Any:
        """Every entry that the filter selects; without a filter all of the namespace."""
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "deletecollection", _RESOURCE, namespace)
        asked = rest.asked(request, namespace)
        return {"deleted": await self._deps.database.run(lambda c: cache.clear(c, namespace, asked.predicates))}

    async def delete(self, request: Request) -> Any:
        namespace, key = rest.namespace(request, self._deps), request.path_params["key"]
        await rest.allow(request, "delete", _RESOURCE, namespace, key)
        if not await self._deps.database.run(lambda c: cache.remove(c, namespace, key)):
            raise errors.NotFound(f'no cache entry "{key}" in namespace "{namespace}"',
                                  remedy="List them with GET /apis/v2beta1/cache_entries")
        return {}


def _shape(listed: cache.Listed) -> Object:
    entry = listed.entry
    artifacts = [artifact for each in entry.outputs.artifacts.values() for artifact in each]
    return {
        "key": entry.key, "namespace": entry.namespace, "task_name": listed.task, "task_id": entry.task_id,
        "run_id": entry.run_id, "created_at": timestamp(entry.created_at),
        "parameters": dict(entry.outputs.parameters), "artifact_count": len(artifacts),
        "size_bytes": sum(artifact.size_bytes for artifact in artifacts),
    }
