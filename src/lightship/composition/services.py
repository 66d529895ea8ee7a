"""The REST side behind Kubernetes' own door: ``/api/v1/namespaces/NS/services/NAME/proxy/`` answers what it answers.

``kfp.Client()`` without arguments comes this way, by the kubeconfig alone. Where that holds a token, the kubernetes
client under it resets the address at each request, and KFP's paths arrive at the Kubernetes API's root: ``MOUNTS``.
The API server has judged who asks before I am called, and the REST gate judges the same token again, so nobody gains
anything by the detour.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from lightship import errors
from lightship.client.transport import Request, Response
from lightship.cluster.apiserver.subresources import ProxyHandler
from lightship.kube.objects import Key

PIPELINES = Key("kubeflow", "ml-pipeline")
REGISTRY = Key("kubeflow", "model-registry-service")
MOUNTS = ("/apis/v2beta1/", "/apis/v1beta1/", "/apis/v1alpha1/")
"""KFP's own prefixes, which are no API groups of Kubernetes."""
LIMIT_CHUNKS_WAITING = 16
_ONE_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


def handler(app: ASGIApp) -> ProxyHandler:
    """A Service whose answers are ``app``'s."""

    async def handle(request: Request) -> Response:
        exchange = _Exchange(request)
        task = asyncio.create_task(exchange.run(app))
        try:
            return await exchange.response(task)
        except BaseException:
            task.cancel()  # the client is gone, or the application failed
            raise

    return handle


class _Exchange:
    """One request through an ASGI application, streamed: at most so many chunks wait for the reader."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(LIMIT_CHUNKS_WAITING)
        self._asked = False
        self._gone = asyncio.Event()

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope(), self._receive, self._messages.put)
        finally:
            await self._messages.put(None)

    async def response(self, task: asyncio.Task[None]) -> Response:
        """The answer: whole where it comes in one piece, else a stream that ends the task when it is closed."""
        start = await self._messages.get()
        first = await self._messages.get()
        if start is None or first is None:
            await task  # raises what the application raised
            raise errors.InternalError(f"the service gave no answer to {self._request.path}")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]
                   if name.decode("latin-1").lower() not in _ONE_HOP}
        if not first.get("more_body"):
            await task
            return Response(status=start["status"], headers=headers, body=first.get("body", b""))
        return Response(status=start["status"], headers=headers, body=self._rest(first.get("body", b""), task))

    async def _rest(self, first: bytes, task: asyncio.Task[None]) -> AsyncIterator[bytes]:
        try:
            yield first
            while (message := await self._messages.get()) is not None:
                yield message.get("body", b"")
            await task
        finally:
            self._gone.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _scope(self) -> dict[str, Any]:
        request = self._request
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "scheme": "https", "path": unquote(request.path), "raw_path": request.path.encode(), "root_path": "",
            "query_string": request.query.encode("latin-1"), "server": None, "client": None,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1"))
                        for name, value in request.headers.items()],
        }

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}
