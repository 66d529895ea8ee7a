"""The shapes of Pod-shaped parts as far as this room reads them. Pure; both kinds' admission and ``rollout`` call me.

The rest of a Pod is kept as it comes, and judged by the API server where it becomes one.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Named(msgspec.Struct):
    name: str


class _Variable(msgspec.Struct, rename="camel"):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class _Port(msgspec.Struct, rename="camel"):
    container_port: int
    name: str | None = None
    protocol: str | None = None


class _Mount(msgspec.Struct, rename="camel"):
    mount_path: str
    name: str | None = None


class _Keyed(msgspec.Struct, rename="camel"):
    """Items of lists that merge by one of these."""

    ip: str | None = None
    topology_key: str | None = None


class Container(msgspec.Struct, rename="camel"):
    """A container, or what a model says about one."""

    name: str | None = None
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None
    ports: list[_Port] | None = None
    volume_mounts: list[_Mount] | None = None
    resources: dict[str, Any] | None = None
    readiness_probe: dict[str, Any] | None = None


class _Explainer(Container, rename="camel"):
    type: str | None = None
    config: dict[str, str] | None = None
    runtime_version: str | None = None
    storage_uri: str | None = None


class _NamedContainer(Container, rename="camel", kw_only=True):
    name: str


class _Target(msgspec.Struct, rename="camel"):
    type: str | None = None
    average_utilization: int | None = None
    average_value: str | int | float | None = None
    value: str | int | float | None = None


class _Asked(msgspec.Struct, rename="camel"):
    backend: str | None = None
    query: str | None = None
    server_address: str | None = None
    namespace: str | None = None
    operation_over_time: str | None = None


class _Reference(msgspec.Struct):
    name: str | None = None


class _Credentials(msgspec.Struct, rename="camel"):
    auth_modes: str | None = None
    authentication_ref: _Reference | None = None


class _Source(msgspec.Struct, rename="camel"):
    name: str | None = None
    target: _Target | None = None
    metric: _Asked | None = None
    authentication_ref: _Credentials | None = None


class _Metric(msgspec.Struct):
    type: str
    resource: _Source | None = None
    external: _Source | None = None
    podmetric: _Source | None = None


class _AutoScaling(msgspec.Struct):
    metrics: list[_Metric] | None = None
    behavior: dict[str, Any] | None = None


class _Strategy(msgspec.Struct, rename="camel"):
    type: str | None = None
    rolling_update: dict[str, Any] | None = None


class _Workers(msgspec.Struct, rename="camel"):
    containers: list[dict[str, Any]] | None = None
    pipeline_parallel_size: int | None = None
    tensor_parallel_size: int | None = None


class Pod(msgspec.Struct, rename="camel"):
    """A component of a service, or a runtime."""

    containers: list[Container] | None = None
    init_containers: list[_NamedContainer] | None = None
    volumes: list[_Named] | None = None
    image_pull_secrets: list[_Named] | None = None
    resource_claims: list[_Named] | None = None
    scheduling_gates: list[_Named] | None = None
    host_aliases: list[_Keyed] | None = None
    topology_spread_constraints: list[_Keyed] | None = None
    tolerations: list[dict[str, Any]] | None = None
    affinity: dict[str, Any] | None = None
    node_selector: dict[str, str] | None = None
    model: Container | None = None
    art: _Explainer | None = None
    auto_scaling: _AutoScaling | None = None
    deployment_strategy: _Strategy | None = None
    worker_spec: _Workers | None = None


class Canary(msgspec.Struct):
    predictor: Pod


class Service(msgspec.Struct):
    """The spec of an InferenceService."""

    predictor: Pod
    transformer: Pod | None = None
    explainer: Pod | None = None
    canary: list[Canary] | None = None


def check_service(spec: Any) -> None:
    """Raises ``msgspec.ValidationError`` with the place."""
    msgspec.convert(spec, Service)


def check_pod(spec: Any) -> None:
    """Raises ``msgspec.ValidationError`` with the place."""
    msgspec.convert(spec, Pod)
