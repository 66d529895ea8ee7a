"""An InferenceGraph's spec. Pure; ``admission`` validates with these types, ``decide`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

ROOT = "root"
SPLITTER, SWITCH, ENSEMBLE, SEQUENCE = "Splitter", "Switch", "Ensemble", "Sequence"


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step of a node: exactly one of a node, a service and a URL is asked."""

    name: str = ""
    node_name: str = ""
    service_name: str = ""
    service_url: str = ""
    data: str = ""
    weight: int | None = None
    condition: str = ""
    dependency: Literal["", "Soft", "Hard"] = ""
    map_predictions_to_instances: bool = False


class Node(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    router_type: Literal["Sequence", "Splitter", "Ensemble", "Switch"]
    steps: list[Step] = []


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    nodes: dict[str, Node]
    min_replicas: int | None = None
    max_replicas: int | None = None
    timeout: int | None = None


def parse(obj: Mapping[str, Any]) -> Spec:
    """Raises ``msgspec.ValidationError``."""
    return msgspec.convert(obj.get("spec") or {}, Spec)
