"""What Pods and nodes use, as those who measure tell those who ask. Types only.

The node measures (``cluster.node.metrics``), the API server shows it as ``metrics.k8s.io`` (``apiserver.metrics``); the
app brings the two together, as they do not know each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lightship.kube.objects import Key


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Cores in billionths, on average over the window; memory at its end."""

    nanocores: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One Pod (``parts`` are its containers) or node (one part, ""), at ``at`` over ``window_seconds`` before it."""

    key: Key
    labels: Mapping[str, str]
    at: datetime
    window_seconds: float
    parts: Mapping[str, Usage]


class MetricsSource(Protocol):
    """Measures when it is asked, if its last sample is old."""

    async def nodes(self) -> Sequence[Measured]: ...

    async def pods(self) -> Sequence[Measured]: ...
