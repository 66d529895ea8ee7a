"""The endpoints that predict, over HTTP: V1's verbs and V2's infer.

``service`` finds the model and hands me the request; I decode, have ``models`` predict, encode and answer. It goes by
callbacks, without a task for each request, but for large bodies and models that take their requests whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from lightship import errors as trunk
from lightship.lib.clock import SYSTEM, Clock
from lightship.lib.ids import IdSource, RandomIds
from lightship.modelserver import cloudevents, formats, inference, v1, v2
from lightship.modelserver.failures import Failures
from lightship.modelserver.http1 import ClientGone, Request, Stream
from lightship.modelserver.models import Metrics, ServedModel
from lightship.modelserver.options import Options
from lightship.modelserver.replies import JSON, Response

Encode = Callable[[Any], Response]
Decode = Callable[[formats.Model, Request], tuple[formats.Prepared, Encode]]

_BINARY = b"application/octet-stream"
_JSON_TYPES = frozenset((JSON, b"application/cloudevents+json", b"application/ld+json",
                         b"application/x-www-form-urlencoded"))
"""The last is what curl says of any body that it is not told about."""
_INLINE_VALUES = 4096
"""How many values an answer may have to be encoded on the loop."""


class Predicting:
    """Predicts and explains for requests, and owns the tasks that some of them need."""

    def __init__(self, metrics: Metrics, options: Options, failures: Failures) -> None:
        self._metrics = metrics
        self._limits = options.limits
        self._events = options.events
        self._failures = failures
        self._ids: IdSource = RandomIds()
        self._clock: Clock = SYSTEM
        self._tasks: set[asyncio.Task[None]] = set()

    def v1(self, request: Request, served: ServedModel) -> None:
        """``:predict``."""
        self._read_event(request, served)
        whole = served.whole
        if whole is not None:
            self.spawn(request, self._whole_v1, request, served, whole, "predict")
        else:
            self._predict(request, served, _decode_v1)

    def v1_explain(self, request: Request, served: ServedModel) -> None:
        """``:explain``."""
        self._read_event(request, served)
        whole = served.whole
        if whole is not None:
            self.spawn(request, self._whole_v1, request, served, whole, "explain")
            return
        served.having(formats.Explaining, "has no explainer")
        self._predict(request, served, _decode_explain, explain=True)

    def v2(self, request: Request, served: ServedModel) -> None:
        """``infer``."""
        whole = served.whole
        if whole is not None:
            self.spawn(request, self._whole_v2, request, served, whole)
        else:
            self._predict(request, served, partial(_decode_v2, served))

    def spawn(self, request: Request, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Answer a request in a task, which is cancelled when the client leaves."""
        task = asyncio.get_running_loop().create_task(self._guarded(request, work, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            task.cancel()

        request.on_gone(cancel)

    def _read_event(self, request: Request, served: ServedModel) -> None:
        """Where the request is a CloudEvent, take its data for the body, and have the answer made one."""
        event = cloudevents.read(request.headers, request.body)
        if event is None:
            return
        fresh = {"id": self._ids.uid(), "time": self._clock.now().isoformat()}
        if event.structured:
            request.headers[b"content-type"] = JSON
        request.body = event.data
        request.wrap = partial(cloudevents.answer, event, self._events, model=served.name, fresh=fresh)

    async def _guarded(self, request: Request, work: Callable[..., Awaitable[None]],
                       arguments: tuple[Any, ...]) -> None:
        try:
            await work(*arguments)
        except Exception as problem:
            self._failures.answer(request, problem)

    # ---- models of arrays

    def _predict(self, request: Request, served: ServedModel, decode: Decode, *, explain: bool = False) -> None:
        model = served.arrays
        if len(request.body) > self._limits.inline_bytes:
            self.spawn(request, self._predict_large, request, served, decode, explain)
            return
        start = perf_counter()
        prepared, encode = decode(model, request)
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)
        self._submit(request, served, prepared, encode, explain)

    async def _predict_large(self, request: Request, served: ServedModel, decode: Decode, explain: bool) -> None:
        start = perf_counter()
        prepared, encode = await asyncio.to_thread(decode, served.arrays, request)
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)
        self._submit(request, served, prepared, encode, explain)

    def _submit(self, request: Request, served: ServedModel, prepared: formats.Prepared, encode: Encode,
                explain: bool) -> None:
        def tell(result: Any, problem: Exception | None) -> None:
            if problem is not None:
                self._failures.answer(request, problem)
            elif _values(result) > _INLINE_VALUES:
                self.spawn(request, self._encode_large, request, served, encode, result)
            else:
                self._encode(request, served, encode, result)

        item = (served.explain if explain else served.predict)(prepared, tell)
        request.on_gone(item.cancel)

    def _encode(self, request: Request, served: ServedModel, encode: Encode, result: Any) -> None:
        start = perf_counter()
        try:
            response = encode(result)
        except Exception as broken:
            self._failures.answer(request, broken)
            return
        self._metrics.postprocess.observe(served.labels, perf_counter() - start)
        request.respond(response)

    async def _encode_large(self, request: Request, served: ServedModel, encode: Encode, result: Any) -> None:
        start = perf_counter()
        response = await asyncio.to_thread(encode, result)
        self._metrics.postprocess.observe(served.labels, perf_counter() - start)
        request.respond(response)

    # ---- models that take requests whole

    async def _whole_v1(self, request: Request, served: ServedModel, whole: formats.Whole, verb: str) -> None:
        start = perf_counter()
        body: Any = request.body
        if request.headers.get(b"content-type", JSON).partition(b";")[0].strip().lower() in _JSON_TYPES:
            body = await self._off_loop(len(request.body), v1.decode_whole, request.body)
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)
        start = perf_counter()
        answer = await whole.answer(formats.WholeRequest(verb=verb, protocol="v1", headers=headers(request), body=body))
        histogram = self._metrics.explain if verb == "explain" else self._metrics.predict
        histogram.observe(served.labels, perf_counter() - start)
        if isinstance(answer.body, AsyncIterator):
            await _stream(request, answer.body, _extra(answer.headers, JSON)[0])
            return
        given = answer.body.encode() if isinstance(answer.body, str) else answer.body
        encoded = given if isinstance(given, bytes) else v1.encode_whole(given)
        request.respond(Response(200, encoded, *_extra(answer.headers, JSON)))

    async def _whole_v2(self, request: Request, served: ServedModel, whole: formats.Whole) -> None:
        start = perf_counter()
        asked = await self._off_loop(len(request.body), v2.decode, request.body, request.headers.get(v2.HEADER_LENGTH))
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)
        start = perf_counter()
        answer = await whole.answer(inference.whole_request(asked, protocol="v2", headers=headers(request)))
        self._metrics.predict.observe(served.labels, perf_counter() - start)
        size = sum(np.size(tensor.array) for tensor in answer.tensors) * 8
        encoded, head = await self._off_loop(size, v2.encode, (served.name, served.versions[0]), asked, answer.tensors,
                                             answer.parameters)
        content_type, extra = _extra(answer.headers, JSON if head is None else _BINARY)
        if head is not None:
            extra = (*extra, (v2.HEADER_LENGTH, b"%d" % head))
        request.respond(Response(200, encoded, content_type, extra))

    async def _off_loop(self, size_bytes: int, work: Callable[..., Any], *arguments: Any) -> Any:
        if size_bytes > self._limits.inline_bytes:
            return await asyncio.to_thread(work, *arguments)
        return work(*arguments)


async def _stream(request: Request, pieces: AsyncIterator[Any], content_type: bytes) -> None:
    """Send what a model yields as it comes; an error in the middle cuts the answer off, which the client sees."""
    stream: Stream | None = None
    try:
        async for piece in pieces:
            stream = stream or request.stream(200, content_type)
            await stream.write(piece.encode() if isinstance(piece, str) else bytes(piece))
        stream = stream or request.stream(200, content_type)
        stream.end()
    except ClientGone:
        return
    except Exception:
        if stream is not None:
            stream.abort()
        raise
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def headers(request: Request) -> dict[str, str]:
    """A request's headers as text."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}


def _values(result: Any) -> int:
    if isinstance(result, dict):
        return sum(np.size(array) for array in result.values() if isinstance(array, np.ndarray))
    return result.size if isinstance(result, np.ndarray) else 0


_OURS = frozenset((b"content-length", b"transfer-encoding", b"connection", b"content-encoding", v2.HEADER_LENGTH))


def _extra(given: Mapping[str, str], content_type: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The content type and further headers of a model's own answer. Raises ``InternalError`` for what would break the
    wire."""
    extra: list[tuple[bytes, bytes]] = []
    for name, value in given.items():
        wire = (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        if any(mark in part for part in wire for mark in (b"\r", b"\n", b"\0")) or b":" in wire[0]:
            raise trunk.InternalError(f"the model answered a header that cannot be sent: {name!r}")
        if wire[0] == b"content-type":
            content_type = wire[1]
        elif wire[0] not in _OURS:
            extra.append(wire)
    return content_type, tuple(extra)


def _decode_v1(model: formats.Model, request: Request) -> tuple[formats.Prepared, Encode]:
    return model.prepare_instances(v1.decode(request.body)), _encode_v1


def _encode_v1(result: Any) -> Response:
    return Response(200, v1.encode(result))


def _decode_explain(model: formats.Model, request: Request) -> tuple[formats.Prepared, Encode]:
    return model.prepare_instances(v1.decode(request.body)), _encode_explain


def _encode_explain(result: Any) -> Response:
    return Response(200, v1.encode_whole(result if isinstance(result, dict) else {"explanations": result}))


def _decode_v2(served: ServedModel, model: formats.Model, request: Request) -> tuple[formats.Prepared, Encode]:
    asked = v2.decode(request.body, request.headers.get(v2.HEADER_LENGTH))
    inference.check_outputs(asked, model.outputs)

    def encode(result: Any) -> Response:
        outputs = inference.outputs(result, model.outputs, asked.wanted)
        encoded, head = v2.encode((served.name, served.versions[0]), asked, outputs)
        if head is None:
            return Response(200, encoded)
        return Response(200, encoded, _BINARY, ((v2.HEADER_LENGTH, b"%d" % head),))

    return model.prepare_tensors(asked.arrays()), encode
