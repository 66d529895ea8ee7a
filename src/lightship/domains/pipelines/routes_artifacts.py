"""REST of artifacts: what one is, and its content. Upstream's next model has ``/artifacts``; the download is ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from lightship.artifacts import location
from lightship.domains.pipelines import rest, shapes
from lightship.domains.pipelines.rest import Deps
from lightship.records import run_history
from lightship.records.pipeline_rows import ArtifactRow
from lightship.web.endpoints import route

FILES_LIMIT = 1000


def routes(deps: Deps) -> list[BaseRoute]:
    here = Artifacts(deps)
    base = f"{rest.PREFIX}/artifacts/{{id}}"
    return [
        route(f"{base}:download", here.download),
        route(f"{base}:files", here.files),
        route(base, here.get),
    ]


class Artifacts:
    """The handlers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def get(self, request: Request) -> Any:
        """What the artifact is, and which run and task made it."""
        namespace, row = await self._allowed(request)
        made = await self._deps.database.read(lambda c: run_history.producers(c, [row.artifact_id]))
        run_id, task_id = made.get(row.artifact_id, ("", ""))
        return shapes.artifact(row, namespace) | {"run_id": run_id, "task_id": task_id}

    async def files(self, request: Request) -> Any:
        """The files of an artifact that is a directory, at most 1,000 of them."""
        _, row = await self._allowed(request)
        found = await self._deps.artifacts.list(row.uri, limit=FILES_LIMIT)
        return {"files": [{"path": entry.uri.removeprefix(row.uri).strip("/"), "size_bytes": entry.size_bytes}
                          for entry in found]}

    async def download(self, request: Request) -> Response:
        """The artifact's bytes, or with ``?path=`` those of one file in it.

        Whatever it holds came from a step: the browser must save it, never show it as a page of ours.
        """
        _, row = await self._allowed(request)
        within = request.query_params.get("path", "")
        uri = f"{row.uri.rstrip('/')}/{within}" if within else row.uri
        name = location.parse(uri).name
        size, chunks = await self._deps.artifacts.stream(uri)
        return StreamingResponse(chunks, media_type="application/octet-stream", headers={
            "content-length": str(size), "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "content-security-policy": "sandbox; default-src 'none'"})

    async def _allowed(self, request: Request) -> tuple[str, ArtifactRow]:
        namespace, row = await self._deps.database.read(
            lambda c: run_history.artifact(c, request.path_params["id"]))
        await rest.allow(request, "readArtifact", "runs", namespace)
        return namespace, row
