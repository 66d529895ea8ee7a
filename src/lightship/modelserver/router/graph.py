"""An InferenceGraph as its router reads it: upstream's ``--graph-json``. Pure; ``routing`` walks it."""

from __future__ import annotations

from typing import Any

import msgspec

from lightship import errors

SEQUENCE, SPLITTER, ENSEMBLE, SWITCH = "Sequence", "Splitter", "Ensemble", "Switch"
ROOT = "root"


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step: whom to ask, with what, and whether the rest goes on without it."""

    name: str = ""
    node_name: str = ""
    service_name: str = ""
    service_url: str = ""
    data: str = ""
    weight: int | None = None
    condition: str = ""
    dependency: str = ""
    map_predictions_to_instances: bool = False


class Node(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    router_type: str
    steps: list[Step] = []


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """In seconds. ``service_client`` is what one step may take; upstream sets none."""

    server_read: int = 60
    server_write: int = 60
    server_idle: int = 180
    service_client: int | None = None


class Graph(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    nodes: dict[str, Node]
    router_timeouts: Timeouts | None = None


def parse(data: bytes | str | dict[str, Any]) -> Graph:
    """Raises ``errors.InvalidInput``."""
    try:
        raw = data if isinstance(data, dict) else msgspec.json.decode(data)
        return msgspec.convert(raw, Graph)
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise errors.InvalidInput(f"the graph cannot be read: {problem}") from problem
