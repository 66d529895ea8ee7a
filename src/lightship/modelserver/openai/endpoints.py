"""OpenAI's endpoints over HTTP: completions, chat, embeddings, rerank, models; streamed as server-sent events.

``service`` hands me what lies under ``/openai``; the model behind it has what ``language`` says. A stream goes no
faster than its client reads, and stops computing when the client leaves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from lightship.lib.ids import IdSource, RandomIds
from lightship.modelserver import errors, language
from lightship.modelserver.failures import Failures, WrongMethod
from lightship.modelserver.http1 import ClientGone, Request, Stream
from lightship.modelserver.models import Metrics
from lightship.modelserver.openai import generation, requests, shapes
from lightship.modelserver.options import Limits
from lightship.modelserver.predicting import Predicting
from lightship.modelserver.replies import Response
from lightship.modelserver.repository import Repository

EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Endpoints:
    """The endpoints under ``/openai``."""

    def __init__(self, repository: Repository, predicting: Predicting, failures: Failures, metrics: Metrics,
                 limits: Limits) -> None:
        self._repository = repository
        self._predicting = predicting
        self._failures = failures
        self._metrics = metrics
        self._limits = limits
        self._ids: IdSource = RandomIds()
        self._now: Callable[[], float] = time.time
        self._created = int(self._now())

    def handle(self, request: Request, path: str) -> None:
        """Answer what lies under the prefix."""
        try:
            self._route(request, path.rstrip("/"))
        except Exception as problem:
            self._fail(request, problem)

    def _route(self, request: Request, path: str) -> None:
        work = {"/v1/completions": self._completions, "/v1/chat/completions": self._chat,
                "/v1/embeddings": self._embeddings, "/v1/rerank": self._rerank}.get(path)
        if work is not None:
            if request.method != "POST":
                raise WrongMethod(request.path, request.method, "POST")
            self._predicting.spawn(request, self._guarded, request, work)
            return
        if path != "/v1/models" and not path.startswith("/v1/models/"):
            raise errors.ModelMissing(f'there is no endpoint "{request.path}"')
        if request.method not in ("GET", "HEAD"):
            raise WrongMethod(request.path, request.method, "GET")
        if path == "/v1/models":
            request.respond(Response(200, shapes.models(list(self._repository.models), self._created)))
        else:
            served = self._repository.get(path.removeprefix("/v1/models/"))
            request.respond(Response(200, shapes.model(served.name, self._created) if served.loaded else b""))

    async def _guarded(self, request: Request, work: Callable[[Request], Awaitable[None]]) -> None:
        try:
            await work(request)
        except Exception as problem:
            self._fail(request, problem)

    def _fail(self, request: Request, problem: Exception) -> None:
        if request.gone:
            return
        status, message = self._failures.told(request, problem)
        headers = ((b"allow", problem.allowed.encode()),) if isinstance(problem, WrongMethod) else ()
        request.respond(Response(status, shapes.error(status, message), headers=headers))

    # ---- text

    async def _completions(self, request: Request) -> None:
        await self._generate(request, requests.completion(request.body, self._limits.choices))

    async def _chat(self, request: Request) -> None:
        await self._generate(request, requests.chat(request.body, self._limits.choices))

    async def _generate(self, request: Request, asked: requests.Generation) -> None:
        served = self._repository.get(asked.model)
        model: language.Generating = served.having(language.Generating, "does not generate text")
        usage = shapes.Usage()
        envelope = shapes.Envelope(id=("chatcmpl-" if asked.chat else "cmpl-") + self._ids.uid(),
                                   created=int(self._now()), model=asked.model, chat=asked.chat,
                                   usage_at_end=asked.usage_at_end)
        start = time.perf_counter()
        try:
            async with aclosing(generation.deltas(model, asked, usage)) as deltas:
                if asked.stream:
                    await self._stream(request, deltas, envelope, usage)
                else:
                    choices = [shapes.Choice() for _ in asked.choices]
                    async for delta in deltas:
                        choices[delta.index].add(delta)
                    request.respond(Response(200, envelope.whole(choices, usage)))
        finally:
            self._metrics.predict.observe(served.labels, time.perf_counter() - start)
            self._metrics.tokens.add(served.labels, usage.completion)

    async def _stream(self, request: Request, deltas: generation.Deltas, envelope: shapes.Envelope,
                      usage: shapes.Usage) -> None:
        stream: Stream | None = None
        held = b""
        try:
            async for delta in deltas:
                held += envelope.chunk(delta)
                if stream is None and not delta.generated:
                    continue  # the status is not told before the model has begun: it may refuse the request
                stream = stream or request.stream(200, EVENT_STREAM)
                await stream.write(held)
                held = b""
            stream = stream or request.stream(200, EVENT_STREAM)
            await stream.write(held + envelope.last(usage))
            stream.end()
        except ClientGone:
            return
        except Exception as problem:
            if stream is None:
                raise
            status, message = self._failures.told(request, problem)
            await self._end_broken(stream, shapes.error_event(status, message))

    async def _end_broken(self, stream: Stream, event: bytes) -> None:
        try:
            await stream.write(event)
        except ClientGone:
            return
        stream.end()

    # ---- vectors and scores

    async def _embeddings(self, request: Request) -> None:
        asked = requests.embedding(request.body, self._limits.texts)
        served = self._repository.get(asked.model)
        model: language.Embedding = served.having(language.Embedding, "makes no embeddings")
        made = await served.compute(lambda: model.embed(asked.texts))
        request.respond(Response(200, await asyncio.to_thread(shapes.embeddings, asked, made)))

    async def _rerank(self, request: Request) -> None:
        asked = requests.rerank(request.body, self._limits.texts)
        served = self._repository.get(asked.model)
        model: language.Reranking = served.having(language.Reranking, "does not rerank")
        made = await served.compute(lambda: model.rerank(asked.query, asked.documents))
        request.respond(Response(200, shapes.rerank("rerank-" + self._ids.uid(), asked, made)))
