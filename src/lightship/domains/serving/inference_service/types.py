"""An InferenceService's spec as we act on it. Pure; ``admission`` validates with these types, ``decide`` reads them.

The Struct types check the shapes that upstream's CRD declares; Pod-shaped parts stay dicts, since a container of the
user's may carry any field of core/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from lightship.domains.serving import names
from lightship.kube import objects, patches
from lightship.kube.objects import Object

LEGACY_PROTOCOLS: dict[str, str] = {
    "sklearn": "v1", "xgboost": "v1", "lightgbm": "v1", "pmml": "v1", "paddle": "v1", "tensorflow": "v1",
    "pytorch": "v1", "onnx": "v2", "triton": "v2", "huggingface": "v2",
}
"""Legacy framework keys of a predictor, and the protocol that each means where none is given."""

ALWAYS_V2 = frozenset({"triton", "vllm"})
"""Formats that mean V2 also where ``model`` names them."""


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
    mount_path: str = names.MODEL_DIRECTORY


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
    metadata_headers: list[str] | None = None
    metadata_annotations: list[str] | None = None
    storage: dict[str, Any] | None = None


class Extension(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every component may say beside its Pod and its implementation."""

    name: str | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_target: int | None = None
    scale_metric: Literal["cpu", "memory", "concurrency", "rps"] | None = None
    scale_metric_type: Literal["Utilization", "Value", "AverageValue"] | None = None
    auto_scaling: dict[str, Any] | None = None
    container_concurrency: int | None = None
    timeout: int | None = None
    canary_traffic_percent: int | None = None
    batcher: Batcher | None = None
    logger: Logger | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deployment_strategy: dict[str, Any] | None = None
    storage_uris: list[StorageLocation] | None = None
    worker_spec: dict[str, Any] | None = None
    model: Model | None = None
    art: dict[str, Any] | None = None
    containers: list[dict[str, Any]] | None = None
    init_containers: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None


class Canary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of ``canary[]``: its predictor is laid over the stable one."""

    predictor: Extension
    traffic_percent: int


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    predictor: Extension
    transformer: Extension | None = None
    explainer: Extension | None = None
    canary: list[Canary] | None = None


# Fields of a component that are not the Pod's.
EXTENSION_FIELDS = frozenset({
    "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling",
    "containerConcurrency", "timeout", "canaryTrafficPercent", "batcher", "logger", "labels", "annotations",
    "deploymentStrategy", "storageUris", "storageContainerName", "name", "workerSpec", "model", "art",
    *LEGACY_PROTOCOLS,
})
_MODEL_FIELDS = frozenset({
    "modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage", "confidential",
})


@dataclass(frozen=True, kw_only=True)
class Component:
    """A predictor, transformer or explainer that passed admission. ``model`` None means containers of the user's."""

    kind: str
    track: str = ""
    """Upstream's ``predictor.name``: part of the names of its Deployment and Service."""
    model: Model | None
    container: Mapping[str, Any]
    """What the model says about its container; laid over the runtime's."""
    pod: Mapping[str, Any]
    """The Pod's fields that the component carries inline."""
    extension: Extension

    @property
    def min_replicas(self) -> int:
        """As upstream: one where nothing is said."""
        return 1 if self.extension.min_replicas is None else self.extension.min_replicas

    @property
    def max_replicas(self) -> int:
        """0: no limit but the autoscaler's own."""
        return self.extension.max_replicas or 0

    @property
    def timeout_seconds(self) -> int:
        return self.extension.timeout or names.DEFAULT_TIMEOUT_SECONDS

    @property
    def protocol(self) -> str:
        if self.model is None:
            return _environment(self.pod.get("containers") or (), "PROTOCOL") or "v1"
        return self.model.protocol_version or ("v2" if self.model.model_format.name in ALWAYS_V2 else "v1")

    @property
    def storage(self) -> tuple[StorageLocation, ...]:
        """What lies where in the component's main container before it starts."""
        if self.extension.storage_uris:
            return tuple(self.extension.storage_uris)
        if self.model is not None:
            uri = self.model.storage_uri
            if uri is None and self.model.storage is not None:
                uri = f"{STORAGE_KEY_SCHEME}{self.model.storage.path or ''}"
        else:
            uri = _environment(self.pod.get("containers") or (), "STORAGE_URI")
        return (StorageLocation(uri=uri),) if uri else ()

    def deployment(self, service: str) -> str:
        return names.component(service, self.kind, self.track)


STORAGE_KEY_SCHEME = "<scheme-placeholder>://"
"""Upstream's way to say that the scheme and the bucket come from the key of ``storage``."""


def parse_spec(obj: Mapping[str, Any]) -> Spec:
    """The checked spec. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(obj.get("spec") or {}, Spec)


def predictor(obj: Object) -> Component:
    """The predictor of an InferenceService that passed admission (its legacy key has become ``model``)."""
    return _component(names.PREDICTOR, objects.spec(obj)["predictor"])


def components(obj: Object) -> dict[str, Component]:
    """The components by name, the predictor first."""
    spec = objects.spec(obj)
    return {kind: _component(kind, spec[kind]) for kind in (names.PREDICTOR, names.TRANSFORMER, names.EXPLAINER)
            if spec.get(kind) is not None}


def canaries(obj: Object) -> list[tuple[Component, int]]:
    """The predictors of ``canary[]`` as upstream makes them of the stable one, with their shares in per cent."""
    spec = objects.spec(obj)
    stable = spec["predictor"]
    found = []
    for entry in spec.get("canary") or ():
        over = dict(entry["predictor"])
        if over.get("containers"):
            # A canary of another kind than the stable predictor stands by itself.
            stable_rest = {key: value for key, value in stable.items() if key not in ("model", *LEGACY_PROTOCOLS)}
            merged = stable_rest | over
        else:
            merged = patches.merge(stable, over)
        component = _component(names.PREDICTOR, merged)
        extension = msgspec.structs.replace(
            component.extension, max_replicas=None, scale_target=None, scale_metric=None, auto_scaling=None,
            min_replicas=_canary_replicas(stable, over, int(entry["trafficPercent"])))
        found.append((replace(component, extension=extension), int(entry["trafficPercent"])))
    return found


def _canary_replicas(stable: Mapping[str, Any], over: Mapping[str, Any], percent: int) -> int:
    if over.get("minReplicas") is not None:
        return int(over["minReplicas"])
    whole = 1 if stable.get("minReplicas") is None else int(stable["minReplicas"])
    return -(-whole * percent // 100)


def _component(kind: str, raw: Mapping[str, Any]) -> Component:
    extension = msgspec.convert(raw, Extension)
    model = raw.get("model") or {}
    return Component(
        kind=kind, track=(extension.name or "") if kind == names.PREDICTOR else "",
        model=extension.model,
        container={name: value for name, value in model.items() if name not in _MODEL_FIELDS},
        pod={name: value for name, value in raw.items() if name not in EXTENSION_FIELDS},
        extension=extension)


def _environment(containers: Any, name: str) -> str:
    """A variable of the main container, which tells the controller something: upstream's ``STORAGE_URI``."""
    main = next((each for each in containers if each.get("name") == names.CONTAINER), containers[0] if containers
                else {})
    return next((str(variable.get("value") or "") for variable in main.get("env") or ()
                 if variable.get("name") == name), "")


def mode(obj: Object) -> str:
    """Standard or Knative: what the status recorded, then the annotation."""
    recorded = objects.status(obj).get("deploymentMode")
    asked = objects.annotations(obj).get(names.DEPLOYMENT_MODE_ANNOTATION)
    return names.MODES.get(str(recorded or asked or ""), names.STANDARD_MODE)


def stopped(obj: Object) -> bool:
    """Whether the user has stopped the service by annotation."""
    return str(objects.annotations(obj).get(names.STOP_ANNOTATION, "")).lower() == "true"
