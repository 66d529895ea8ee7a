"""``inference.GRPCInferenceService``, and the health check that Kubernetes' probes call.

``server`` listens with me, on a port of its own and, by the connection's first bytes, on the HTTP port. I decode, have
``models`` predict, and answer by callbacks, as ``predicting`` does over HTTP.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import lightship
from lightship.lib import grpc
from lightship.lib.http2_wire import Limits as WireLimits
from lightship.modelserver import formats, grpc_codec, inference, v2
from lightship.modelserver.inference import Inference
from lightship.modelserver.models import Metrics, ServedModel
from lightship.modelserver.options import Limits
from lightship.modelserver.repository import Repository
from lightship.modelserver.service import SERVER_NAME, Service

PREFIX = "/inference.GRPCInferenceService/"
_SERVICE = PREFIX.strip("/")
_ANSWERS_AT_ONCE = 256


class GrpcService:
    """The methods over the repository of models; ``service`` knows whether the server is ready."""

    def __init__(self, repository: Repository, service: Service, metrics: Metrics, limits: Limits) -> None:
        self._repository = repository
        self._service = service
        self._metrics = metrics
        self._limits = limits
        self._infer_large = grpc.unary(self._large)

    def server(self) -> grpc.Server:
        """A server of the methods, for a listener."""
        methods: dict[str, grpc.Method] = {
            "ServerLive": lambda call: call.respond(grpc_codec.truth(True)),
            "ServerReady": lambda call: call.respond(grpc_codec.truth(self._service.ready)),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda call: call.respond(
                grpc_codec.server_metadata(SERVER_NAME, lightship.__version__, v2.EXTENSIONS)),
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "RepositoryIndex": lambda call: call.respond(
                grpc_codec.index(self._repository.index(ready=grpc_codec.flag(call.message, 2)))),
            "RepositoryModelLoad": grpc.unary(self._load),
            "RepositoryModelUnload": grpc.unary(self._unload),
        }
        limits = self._limits
        return grpc.Server(
            {PREFIX + name: method for name, method in methods.items()} | {
                grpc.HEALTH_CHECK: grpc.health(self._serving)},
            WireLimits(body_bytes=limits.body_bytes, connection_bytes=2 * limits.body_bytes,
                       head_bytes=limits.head_bytes, streams=_ANSWERS_AT_ONCE, read_seconds=limits.read_seconds,
                       idle_seconds=limits.idle_seconds, drain_seconds=limits.drain_seconds))

    def _serving(self, name: str) -> bool | None:
        return self._service.ready if name in ("", _SERVICE) else None

    # ---- models

    def _find(self, message: bytes) -> ServedModel:
        name, version = grpc_codec.names(message)
        return self._get(name, version)

    def _get(self, name: str, version: str) -> ServedModel:
        served = self._repository.get(name)
        if version:
            self._repository.version(served, version)
        return served

    def _model_ready(self, call: grpc.Call) -> None:
        ready = self._find(call.message).ready and not self._service.draining
        call.respond(grpc_codec.truth(ready))

    def _model_metadata(self, call: grpc.Call) -> None:
        served = self._find(call.message)
        call.respond(grpc_codec.model_metadata(served.name, served.versions, served.loaded))

    async def _load(self, call: grpc.Call) -> bytes:
        call.on_gone(_stay)
        name = grpc_codec.repository_name(call.message)
        await self._repository.load(name)
        return grpc_codec.changed(name)

    async def _unload(self, call: grpc.Call) -> bytes:
        call.on_gone(_stay)
        name = grpc_codec.repository_name(call.message)
        await self._repository.unload(name)
        return grpc_codec.changed(name)

    # ---- ModelInfer

    def _infer(self, call: grpc.Call) -> None:
        if len(call.message) > self._limits.inline_bytes:
            self._infer_large(call)
            return
        start = perf_counter()
        name, version, asked, raw = grpc_codec.infer_request(call.message)
        served = self._get(name, version)
        if served.whole is not None:
            self._infer_large(call)
            return
        prepared = self._prepare(served, asked)
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)

        def tell(result: Any, problem: Exception | None) -> None:
            try:
                if problem is not None:
                    raise problem
                call.respond(self._answer(served, asked, result, raw))
            except Exception as broken:
                grpc.fail(call, broken)

        call.on_gone(served.predict(prepared, tell).cancel)

    async def _large(self, call: grpc.Call) -> bytes:
        """The same in a task, which decodes and encodes in a thread; and what models that take requests whole get."""
        start = perf_counter()
        name, version, asked, raw = await asyncio.to_thread(grpc_codec.infer_request, call.message)
        served = self._get(name, version)
        whole = served.whole
        if whole is not None:
            return await self._whole(call, served, whole, asked, raw)
        prepared = await asyncio.to_thread(self._prepare, served, asked)
        self._metrics.preprocess.observe(served.labels, perf_counter() - start)
        result = await _predicted(served, prepared)
        return await asyncio.to_thread(self._answer, served, asked, result, raw)

    async def _whole(self, call: grpc.Call, served: ServedModel, whole: formats.Whole, asked: Inference,
                     raw: bool) -> bytes:
        start = perf_counter()
        metadata = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.metadata.items()
                    if not name.startswith(b":")}
        answer = await whole.answer(inference.whole_request(asked, protocol="grpc-v2", headers=metadata))
        self._metrics.predict.observe(served.labels, perf_counter() - start)
        return grpc_codec.infer_response((served.name, served.versions[0]), asked, answer.tensors, raw=raw,
                                         parameters=answer.parameters)

    def _prepare(self, served: ServedModel, asked: Inference) -> formats.Prepared:
        model = served.arrays
        inference.check_outputs(asked, model.outputs)
        return model.prepare_tensors(asked.arrays())

    def _answer(self, served: ServedModel, asked: Inference, result: Any, raw: bool) -> bytes:
        start = perf_counter()
        outputs = inference.outputs(result, served.arrays.outputs, asked.wanted)
        message = grpc_codec.infer_response((served.name, served.versions[0]), asked, outputs, raw=raw, parameters={})
        self._metrics.postprocess.observe(served.labels, perf_counter() - start)
        return message


async def _predicted(served: ServedModel, prepared: formats.Prepared) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def tell(result: Any, problem: Exception | None) -> None:
        if future.done():
            return
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)

    item = served.predict(prepared, tell)
    try:
        return await future
    finally:
        item.cancel()


def _stay() -> None:
    """What was begun is finished, whether or not somebody waits for it."""
