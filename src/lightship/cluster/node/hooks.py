"""A container's lifecycle hooks, ``postStart`` and ``preStop``. ``container_life`` runs me and bounds me by its grace.

They are handled as probes are, and by ``sleep`` besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.cluster.node import probes
from lightship.lib.clock import Clock


def of(container: Mapping[str, Any], when: str) -> Mapping[str, Any] | None:
    """The handler of ``postStart`` or ``preStop``, or None."""
    handler: Mapping[str, Any] | None = (container.get("lifecycle") or {}).get(when)
    return handler or None


async def run(handler: Mapping[str, Any], target: probes.Target, clock: Clock) -> str:
    """Why it failed, or nothing."""
    if handler.get("sleep") is not None:
        await clock.sleep(float(handler["sleep"].get("seconds") or 0))
        return ""
    try:
        return await probes.handle(handler, target)
    except TimeoutError:
        return "no answer"
