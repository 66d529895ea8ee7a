"""How soon the kernel ends a container where memory runs out: by upstream's policy, before the server. Pure.

``runner`` asks me; ``inside/identity.py`` writes the answer to ``oom_score_adj``. Who asked for less is ended first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.cluster.node.pod_status import qos_class
from lightship.kube import quantities

BEST_EFFORT, GUARANTEED = 1000, 0
"""Upstream gives a Guaranteed Pod -997, which only root may; 0 is what the server has."""
_LEAST, _MOST = 3, 999


def score(spec: Mapping[str, Any], container: Mapping[str, Any], node_bytes: int) -> int:
    """The adjustment, 0 to 1000, of a container of the Pod ``spec`` on a node with so much memory."""
    quality = qos_class(spec)
    if quality != "Burstable":
        return BEST_EFFORT if quality == "BestEffort" else GUARANTEED
    resources = container.get("resources") or {}
    requested = (resources.get("requests") or {}).get("memory") or (resources.get("limits") or {}).get("memory")
    asked = quantities.whole(requested) if requested else 0
    return min(_MOST, max(_LEAST, 1000 - 1000 * asked // max(1, node_bytes)))
