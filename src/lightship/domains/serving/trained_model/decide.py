"""From the models of one service to the list that its agents read, and each model's status. Pure.

``reconciler`` observes and applies. Models are taken in the order of their creation as long as the server's memory
holds them; one that no longer fits is told so and not loaded, as with upstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from lightship.domains.serving import names
from lightship.domains.serving.trained_model import pods
from lightship.kube import conditions, objects, quantities
from lightship.kube.objects import Object

SERVICE_READY, MEMORY, SEVERAL = "InferenceServiceReady", "MemoryResourceAvailable", "IsMMSPredictor"
LOADED = "ModelLoaded"
"""Ours: upstream calls a model ready though no server has it yet."""
DEFAULT_MEMORY = "2Gi"
"""What our runtimes' containers may have where the service does not say."""
_PREDICT = {"v1": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer"}


@dataclass(frozen=True, kw_only=True)
class Observed:
    """``service`` is None where there is none; ``loaded`` tells of each model what its servers say, empty for ready."""

    service: Object | None
    models: Sequence[Object]
    loaded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``config`` is the ConfigMap, where the service is a server of several models."""

    config: Object | None
    statuses: Mapping[str, dict[str, Any]]


def in_order(models: Sequence[Object]) -> list[Object]:
    return sorted(models, key=lambda model: (str(objects.meta(model).get("creationTimestamp", "")),
                                             objects.name(model)))


def decide(observed: Observed, now: datetime) -> Plan:
    service = observed.service
    several = service is not None and pods.several_models(objects.spec(service).get("predictor") or {})
    room = _memory(service) if service is not None else Decimal(0)
    chosen: list[Object] = []
    statuses: dict[str, dict[str, Any]] = {}
    for model in in_order(observed.models):
        wanted = quantities.parse(objects.spec(model)["model"].get("memory") or 0)
        fits = wanted <= room
        if fits:
            room -= wanted
            chosen.append(model)
        statuses[objects.name(model)] = _status(model, service, now, _Facts(
            several=several, fits=fits, why=observed.loaded.get(objects.name(model), "its server was not asked yet")))
    return Plan(config=_config(service, chosen) if service is not None and several else None, statuses=statuses)


def _memory(service: Object) -> Decimal:
    model = (objects.spec(service).get("predictor") or {}).get("model") or {}
    return quantities.parse(((model.get("resources") or {}).get("limits") or {}).get("memory") or DEFAULT_MEMORY)


def _config(service: Object, models: Sequence[Object]) -> Object:
    listed = [{"modelName": objects.name(model), "modelSpec": objects.spec(model)["model"]} for model in models]
    name = objects.name(service)
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": pods.config_name(name), "namespace": objects.namespace(service),
                     "labels": {names.INFERENCE_SERVICE_LABEL: name},
                     "ownerReferences": [objects.owner_reference(service)]},
        "data": {pods.CONFIG_FILE: msgspec.json.encode(listed, order="deterministic").decode()},
    }


@dataclass(frozen=True, kw_only=True)
class _Facts:
    several: bool
    fits: bool
    why: str


def _status(model: Object, service: Object | None, now: datetime, facts: _Facts) -> dict[str, Any]:
    parent = str(objects.spec(model)["inferenceService"])
    service_ready = service is not None and conditions.is_true(service, names.READY)
    made = [
        _condition(SERVICE_READY, service_ready, "InferenceServiceNotReady",
                   f'the InferenceService "{parent}" is not ' + ("ready" if service is not None else "there")),
        _condition(SEVERAL, facts.several, "IsNotMMSPredictor",
                   f'the predictor of "{parent}" is no server of several models: it says where its own model lies'),
        _condition(MEMORY, facts.fits, "MemoryResourceNotAvailable",
                   f'the server of "{parent}" has not the memory for one more model; give it more, or delete another'),
        _condition(LOADED, not facts.why, "ModelNotLoaded", facts.why)]
    wrong = next((one for one in made if one["status"] != "True"), None)
    made.append(conditions.make(names.READY, "True") if wrong is None else wrong | {"type": names.READY})
    merged = list(objects.status(model).get("conditions") or ())
    for condition in made:
        merged = conditions.merge(merged, condition, now)
    status: dict[str, Any] = {"observedGeneration": objects.generation(model), "conditions": merged}
    if service is not None:
        found = objects.status(service)
        version = ((objects.spec(service).get("predictor") or {}).get("model") or {}).get("protocolVersion")
        path = _PREDICT["v2" if version in ("v2", "grpc-v2") else "v1"].format(objects.name(model))
        if found.get("url"):
            status["url"] = f"{found['url']}{path}"
        if (found.get("address") or {}).get("url"):
            status["address"] = {"url": f"{found['address']['url']}{path}"}
    return status


def _condition(kind: str, good: bool, reason: str, message: str) -> dict[str, Any]:
    return conditions.make(kind, "True") if good else conditions.make(kind, "False", reason, message)
