"""How often a node tells what its Pods are at: soon when it is calm, seldom in between when many come and go."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from lightship.client.client import Client
from lightship.cluster.node import status_writer
from lightship.cluster.node.status_writer import Pace, StatusWriter
from lightship.lib import tasks
from lightship.testing.clock import FakeClock

POD = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}}


class Api:
    """Takes patches."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    async def patch(self, resource: Any, key: Any, patch: Any, *, subresource: str) -> None:
        self.phases.append(patch["status"]["phase"])


async def test_what_is_urgent_is_told_at_once_and_the_rest_by_the_pace_of_the_node() -> None:
    clock, api, pace, now = FakeClock(), Api(), Pace(), {"phase": "Pending"}
    writer = StatusWriter(cast(Client, api), clock, POD, lambda: dict(now), pace)
    running = asyncio.create_task(writer.run())
    try:
        writer.mark()
        await clock.advance(status_writer.HOLD_SECONDS)
        assert api.phases == ["Pending"], "a calm node tells soon"
        for _ in range(20):
            pace.wrote(clock.monotonic())
        now["phase"] = "Running"
        writer.mark()
        await clock.advance(4 * status_writer.HOLD_SECONDS)
        assert api.phases == ["Pending"], "a busy one holds it back"
        now["phase"] = "Succeeded"
        writer.mark(urgent=True)
        await writer.flush()
        assert api.phases == ["Pending", "Succeeded"], "the end is told at once, and what was between not at all"
    finally:
        await tasks.cancel(running)


def test_the_pace_follows_the_last_second_and_is_bounded() -> None:
    pace = Pace()
    for _ in range(10_000):
        pace.wrote(0.5)
    assert pace.hold_seconds(0.6) == status_writer.LIMIT_HOLD_SECONDS
    assert pace.hold_seconds(1.6) == status_writer.HOLD_SECONDS
