"""An InferenceService's spec as we act on it. Pure; ``admission`` validates with these types, ``decide`` reads them.

The Struct types check the shapes that upstream's CRD declares; Pod-shaped parts stay dicts, since a container of the
user's may carry any field of core/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from lightship.domains.serving import names
from lightship.kube import objects
from lightship.kube.objects import Object

LEGACY_PROTOCOLS: dict[str, str] = {
    "sklearn": "v1", "xgboost": "v1", "lightgbm": "v1", "pmml": "v1", "paddle": "v1", "tensorflow": "v1",
    "pytorch": "v1", "onnx": "v2", "triton": "v2", "huggingface": "v2",
}
"""Legacy framework keys of a predictor, and the protocol that each means where none is given."""


class ModelFormat(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str | None = None


class Storage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    key: str | None = None
    path: str | None = None
    schema_path: str | None = None
    parameters: dict[str, str] | None = None


class StorageLocation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    uri: str
    mount_path: str | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``predictor.model`` without its container's fields."""

    model_format: ModelFormat
    runtime: str | None = None
    runtime_version: str | None = None
    protocol_version: str | None = None
    storage_uri: str | None = None
    storage: Storage | None = None


class Batcher(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    max_batch_size: int | None = None
    max_latency: int | None = None
    timeout: int | None = None


class Logger(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    mode: Literal["all", "request", "response"] | None = None
    url: str | None = None


class Extension(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every component may say beside its Pod and its implementation."""

    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_target: int | None = None
    scale_metric: Literal["cpu", "memory", "concurrency", "rps"] | None = None
    scale_metric_type: Literal["Utilization", "Value", "AverageValue"] | None = None
    container_concurrency: int | None = None
    timeout: int | None = None
    canary_traffic_percent: int | None = None
    batcher: Batcher | None = None
    logger: Logger | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    storage_uris: list[StorageLocation] | None = None
    model: Model | None = None
    containers: list[dict[str, Any]] | None = None
    init_containers: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    predictor: Extension
    transformer: dict[str, Any] | None = None
    explainer: dict[str, Any] | None = None
    canary: list[dict[str, Any]] | None = None


# Fields of a component that are not the Pod's.
EXTENSION_FIELDS = frozenset({
    "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling",
    "containerConcurrency", "timeout", "canaryTrafficPercent", "batcher", "logger", "labels", "annotations",
    "deploymentStrategy", "storageUris", "name", "workerSpec", "model", *LEGACY_PROTOCOLS,
})
_MODEL_FIELDS = frozenset({
    "modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage", "confidential",
})


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A predictor that passed admission. ``model`` None means a container of the user's own, in ``pod``."""

    model: Model | None
    container: Mapping[str, Any]
    """What the model says about its container; laid over the runtime's."""
    pod: Mapping[str, Any]
    """The Pod's fields that the predictor carries inline."""
    extension: Extension

    @property
    def replicas(self) -> int:
        """Pods to run. Scaling to zero and by load come with issue 6: here at least one."""
        return max(self.extension.min_replicas or 1, 1)

    @property
    def timeout_seconds(self) -> int:
        return self.extension.timeout or names.DEFAULT_TIMEOUT_SECONDS

    @property
    def protocol(self) -> str:
        if self.model is None:
            return "v1"
        return self.model.protocol_version or LEGACY_PROTOCOLS.get(self.model.model_format.name, "v1")


def parse_spec(obj: Mapping[str, Any]) -> Spec:
    """The checked spec. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(obj.get("spec") or {}, Spec)


def predictor(obj: Object) -> Predictor:
    """The predictor of an InferenceService that passed admission (its legacy key has become ``model``)."""
    spec = parse_spec(obj)
    raw = objects.spec(obj)["predictor"]
    model = raw.get("model") or {}
    return Predictor(
        model=spec.predictor.model,
        container={name: value for name, value in model.items() if name not in _MODEL_FIELDS},
        pod={name: value for name, value in raw.items() if name not in EXTENSION_FIELDS},
        extension=spec.predictor,
    )


def stopped(obj: Object) -> bool:
    """Whether the user has stopped the service by annotation."""
    annotations = objects.meta(obj).get("annotations") or {}
    return str(annotations.get(names.STOP_ANNOTATION, "")).lower() == "true"
