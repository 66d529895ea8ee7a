"""REST of artifacts: what one is, and its content. Upstream's next model has ``/artifacts``; the download is ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from lightship.artifacts import location
from lightship.artifacts.store import ObjectStore
from lightship.domains.pipelines import rest, shapes
from lightship.domains.pipelines.rest import Deps
from lightship.records import artifacts
from lightship.records.artifacts import StoredArtifact
from lightship.web import paging
from lightship.web.endpoints import route

FILES_LIMIT = 1000


def routes(deps: Deps) -> list[BaseRoute]:
    here = Artifacts(deps)
    base = f"{rest.PREFIX}/artifacts/{{id}}"
    return [
        route(f"{rest.PREFIX}/artifacts", here.list),
        route(f"{base}:download", here.download),
        route(f"{base}:files", here.files),
        route(base, here.get),
    ]


class Artifacts:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def list(self, request: Request) -> Any:
        """The namespace's artifacts."""
        namespace = rest.namespace(request, self._deps)
        await rest.allow(request, "list", "runs", namespace)
        asked = rest.asked(request, namespace)
        found, page = await self._deps.database.read(lambda c: artifacts.page(c, namespace, paging.query(asked)))
        return rest.listed("artifacts", [shapes.stored_artifact(one) for one in found], page, asked)

    async def get(self, request: Request) -> Any:
        """What the artifact is, and which run and task made it."""
        found = await self._allowed(request)
        artifact_id = found.row.artifact_id
        made = await self._deps.database.read(lambda c: artifacts.producers(c, [artifact_id]))
        run_id, task_id = made.get(artifact_id, ("", ""))
        return shapes.stored_artifact(found) | {"run_id": run_id, "task_id": task_id}

    async def files(self, request: Request) -> Any:
        """The files of an artifact that is a directory, at most 1,000 of them."""
        artifact = await self._allowed(request)
        row = artifact.row
        found = await self._store(artifact).list(row.uri, limit=FILES_LIMIT)
        return {"files": [{"path": entry.uri.removeprefix(row.uri).strip("/"), "size_bytes": entry.size_bytes}
                          for entry in found]}

    async def download(self, request: Request) -> Response:
        """The artifact's bytes, or with ``?path=`` those of one file in it.

        Whatever it holds came from a step: the browser must save it, never show it as a page of ours.
        """
        artifact = await self._allowed(request)
        row = artifact.row
        within = request.query_params.get("path", "")
        uri = f"{row.uri.rstrip('/')}/{within}" if within else row.uri
        name = location.parse(uri).name
        size, chunks = await self._store(artifact).stream(uri)
        return StreamingResponse(chunks, media_type="application/octet-stream", headers={
            "content-length": str(size), "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "content-security-policy": "sandbox; default-src 'none'"})

    def _store(self, artifact: StoredArtifact) -> ObjectStore:
        """What the artifact's namespace may read: a step may have named any URI as its output."""
        return self._deps.artifacts.within(artifact.namespace)

    async def _allowed(self, request: Request) -> StoredArtifact:
        found = await self._deps.database.read(lambda c: artifacts.get(c, request.path_params["id"]))
        await rest.allow(request, "readArtifact", "runs", found.namespace)
        return found
