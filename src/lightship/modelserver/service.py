"""The model server's endpoints: which path means what, and an answer for each request.

``http1`` hands me whole requests; I call ``models`` and answer through ``Request.respond``. The hot path (V1 predict
and V2 infer) goes by callbacks, without a task for each request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import msgspec

import lightship
from lightship import errors as trunk
from lightship.lib import prometheus
from lightship.modelserver import errors, v1, v2
from lightship.modelserver.formats import Model, Prepared
from lightship.modelserver.http1 import Request, Response, error
from lightship.modelserver.models import Call, Metrics, ServedModel
from lightship.modelserver.options import Limits

logger = logging.getLogger(__name__)

Encode = Callable[[Any], Response]
Decode = Callable[[Model, bytes], tuple[Prepared, Encode]]


class Service:
    """The endpoints over a table of models."""

    def __init__(self, models: dict[str, ServedModel], metrics: Metrics, limits: Limits) -> None:
        self._models = models
        self._metrics = metrics
        self._limits = limits
        self._decoding: set[asyncio.Task[None]] = set()
        self.draining = False

    def handle(self, request: Request) -> None:
        """Answer one request, now or later. Every failure has the contract's shape."""
        try:
            self._route(request)
        except Exception as problem:
            self._fail(request, problem)

    def _route(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        if "%" in path:
            path = unquote(path)
        if path.startswith("/v1/models/") and ":" in path:
            self._v1_verb(request, path)
        elif path.startswith("/v2/models/"):
            self._v2_model(request, path.removeprefix("/v2/models/"))
        else:
            self._plain(request, path)

    # ---- V1

    def _v1_verb(self, request: Request, path: str) -> None:
        name, _, verb = path.removeprefix("/v1/models/").rpartition(":")
        served = self._model(name)
        _want(request, "POST")
        if verb == "explain":
            raise trunk.Unsupported(f'model "{name}" has no explainer')
        if verb != "predict":
            raise errors.ModelMissing(f'there is no verb "{verb}"; V1 has :predict and :explain')
        self._predict(request, served, _decode_v1)

    # ---- V2

    def _v2_model(self, request: Request, rest: str) -> None:
        name, _, tail = rest.strip("/").partition("/")
        served = self._model(name)
        version = served.versions[0]
        if tail.startswith("versions/"):
            version, _, tail = tail.removeprefix("versions/").partition("/")
            if version not in served.versions:
                raise errors.ModelMissing(f'model "{name}" has no version "{version}"; '
                                          f"it has {', '.join(served.versions)}")
        if tail == "infer":
            _want(request, "POST")
            header_length = request.headers.get(v2.HEADER_LENGTH)
            self._predict(request, served, _V2Decode(name, version, header_length))
        elif tail == "ready":
            _want(request, "GET")
            status = 200 if served.ready and not self.draining else 503
            request.respond(_json({"name": name, "ready": status == 200}, status))
        elif not tail:
            _want(request, "GET")
            request.respond(_json(v2.metadata(name, served.versions, served.model)))
        else:
            raise errors.ModelMissing(f'there is no endpoint "{request.path}"')

    # ---- predict

    def _predict(self, request: Request, served: ServedModel, decode: Decode) -> None:
        model = served.model
        if len(request.body) > self._limits.decode_inline_bytes:
            task = asyncio.get_running_loop().create_task(self._predict_large(request, served, decode))
            self._decoding.add(task)
            task.add_done_callback(self._decoding.discard)
            return
        start = perf_counter()
        prepared, encode = decode(model, request.body)
        self._metrics.preprocess.observe((served.name,), perf_counter() - start)
        self._submit(request, served, prepared, encode)

    async def _predict_large(self, request: Request, served: ServedModel, decode: Decode) -> None:
        try:
            start = perf_counter()
            prepared, encode = await asyncio.to_thread(decode, served.model, request.body)
            self._metrics.preprocess.observe((served.name,), perf_counter() - start)
            self._submit(request, served, prepared, encode)
        except Exception as problem:
            self._fail(request, problem)

    def _submit(self, request: Request, served: ServedModel, prepared: Prepared, encode: Encode) -> None:
        def done(result: Any, problem: Exception | None) -> None:
            if request.gone:
                return
            if problem is not None:
                self._fail(request, problem)
                return
            start = perf_counter()
            try:
                response = encode(result)
            except Exception as broken:
                self._fail(request, broken)
                return
            self._metrics.postprocess.observe((served.name,), perf_counter() - start)
            request.respond(response)

        served.predict(Call(prepared, lambda: request.gone, done))

    # ---- the rest

    def _plain(self, request: Request, path: str) -> None:
        if path.startswith("/v2/repository/"):
            raise trunk.Unsupported("this server serves one model and cannot load or unload",
                                    remedy="Change the InferenceService instead")
        if path.startswith("/openai/"):
            raise trunk.Unsupported("this model's format has no OpenAI endpoints")
        response = self._get(path if path == "/" else path.rstrip("/"))
        if response is None:
            raise errors.ModelMissing(f'there is no endpoint "{path}"')
        _want(request, "GET")
        request.respond(response)

    def _get(self, path: str) -> Response | None:
        ready = not self.draining and all(served.ready for served in self._models.values())
        match path:
            case "/":
                return _json({"status": "alive"})
            case "/metrics":
                return Response(200, self._metrics.render(), prometheus.CONTENT_TYPE.encode())
            case "/v1/models":
                return _json({"models": list(self._models)})
            case "/v2":
                return _json({"name": "lightship-modelserver", "version": lightship.__version__,
                              "extensions": ["binary_tensor_data"]})
            case "/v2/health/live":
                return _json({"live": True})
            case "/v2/health/ready":
                return _json({"ready": ready}, 200 if ready else 503)
            case "/v2/models":
                return _json({"models": list(self._models)})
        if path.startswith("/v1/models/"):
            served = self._model(path.removeprefix("/v1/models/"))
            if not served.ready or self.draining:
                raise errors.ModelNotReady(f'model "{served.name}" is not ready')
            return _json({"name": served.name, "ready": True})
        return None

    def _model(self, name: str) -> ServedModel:
        served = self._models.get(name)
        if served is None:
            raise errors.ModelMissing(f'there is no model "{name}" here; there is {", ".join(self._models)}')
        return served

    def _fail(self, request: Request, problem: Exception) -> None:
        if request.gone:
            return
        status = 405 if isinstance(problem, _WrongMethod) else errors.http_status(problem)
        if status == 500:
            logger.error("request failed", exc_info=problem, extra={"path": request.path})
        self._metrics.refused.add((str(status),))
        message = str(problem) if isinstance(problem, trunk.LightshipError) else f"{type(problem).__name__}: {problem}"
        request.respond(error(status, message))


class _WrongMethod(trunk.InvalidInput):
    """The path is there, with another method."""


def _want(request: Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise _WrongMethod(f'"{request.path}" wants {method}, not {request.method}')


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value))


def _decode_v1(model: Model, body: bytes) -> tuple[Prepared, Encode]:
    return model.prepare_instances(v1.decode(body)), _encode_v1


def _encode_v1(result: Any) -> Response:
    return Response(200, v1.encode(result))


class _V2Decode:
    """Decodes an infer request of one model version."""

    def __init__(self, name: str, version: str, header_length: bytes | None) -> None:
        self._name = name
        self._version = version
        self._header_length = header_length

    def __call__(self, model: Model, body: bytes) -> tuple[Prepared, Encode]:
        inference = v2.decode(body, self._header_length)
        v2.check_outputs(inference, model.outputs)

        def encode(result: Any) -> Response:
            encoded, head = v2.encode(self._name, self._version, inference, result)
            if head is None:
                return Response(200, encoded)
            return Response(200, encoded, b"application/octet-stream", ((v2.HEADER_LENGTH, b"%d" % head),))

        return model.prepare_tensors(inference.tensors), encode
