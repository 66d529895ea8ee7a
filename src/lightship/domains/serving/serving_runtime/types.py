"""A runtime's spec, of either scope. Pure; ``admission`` validates with these types, ``select`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lightship.kube.objects import Object


class SupportedFormat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One model format that a runtime serves; a higher priority wins where several would do."""

    name: str
    version: str | None = None
    auto_select: bool = False
    priority: int | None = None


class RuntimeSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields that we act on; Pod-shaped ones stay as they came."""

    containers: list[dict[str, Any]]
    supported_model_formats: list[SupportedFormat] = []
    protocol_versions: list[str] = []
    disabled: bool | None = None
    multi_model: bool | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    worker_spec: dict[str, Any] | None = None


POD_FIELDS = ("affinity", "imagePullSecrets", "nodeSelector", "tolerations", "volumes", "hostIPC", "schedulerName")
"""Fields of a runtime that go to the Pod's spec as they are."""


def parse(obj: Mapping[str, Any]) -> RuntimeSpec:
    """The spec of a runtime that passed admission. Raises ``msgspec.ValidationError`` for others."""
    return msgspec.convert(obj.get("spec") or {}, RuntimeSpec)


def pod_fields(obj: Object) -> dict[str, Any]:
    """What a runtime says about the Pod beside its containers."""
    spec = obj.get("spec") or {}
    return {name: spec[name] for name in POD_FIELDS if spec.get(name)}
