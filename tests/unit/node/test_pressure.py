"""Which Pod goes first when something runs short, and how often is looked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lightship.cluster.node import pressure
from lightship.cluster.node.pressure import Candidate, Evictable, Kind, Watch
from lightship.lib import tasks
from lightship.testing.clock import FakeClock

MIB = 1 << 20


def candidate(name: str, used_mib: int, *, request: str = "", resource: str = "memory", **spec: Any) -> Candidate:
    resources: dict[str, Any] = {"requests": {resource: request}} if request else {}
    return Candidate(used_bytes=used_mib * MIB, resource=resource, pod={
        "metadata": {"name": name, "uid": name, **({"deletionTimestamp": "now"} if name == "going" else {})},
        "spec": {"containers": [{"name": "main", "resources": resources}], **spec}})


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage"])
@pytest.mark.parametrize(("first", "second", "wanted"), [
    ({"name": "within", "used_mib": 900, "request": "1Gi", "priority": -5},
     {"name": "beyond", "used_mib": 20, "priority": 5}, "beyond"),
    ({"name": "important", "used_mib": 900, "priority": 5}, {"name": "other", "used_mib": 20}, "other"),
    ({"name": "large", "used_mib": 900, "request": "890Mi"}, {"name": "over", "used_mib": 20}, "over"),
    ({"name": "small", "used_mib": 20, "request": "1Gi"}, {"name": "nearer", "used_mib": 20, "request": "30Mi"},
     "nearer"),
    ({"name": "critical", "used_mib": 900, "priority": 2_000_000_000}, {"name": "tiny", "used_mib": 0}, ""),
    ({"name": "going", "used_mib": 900}, {"name": "stays", "used_mib": 2}, "stays"),
])
def test_the_order_of_eviction(resource: str, first: Any, second: Any, wanted: str) -> None:
    for order in ((first, second), (second, first)):
        found = pressure.choose([candidate(resource=resource, **one) for one in order])
        assert (found.pod["metadata"]["name"] if found is not None else "") == wanted


def test_the_message_is_kubelets() -> None:
    assert pressure.told("It was low. ", candidate("p", 3, request="1Mi")) == \
        "It was low. Pod p was using 3072Ki, request is 1048576, has larger consumption of memory. "


class Pod:
    """A Pod that is evicted at once and goes when the test says so."""

    def __init__(self, name: str) -> None:
        self.pod: dict[str, Any] = {"metadata": {"name": name, "uid": name}, "spec": {"containers": []}}
        self.evicted = False
        self.message = ""

    def evict(self, message: str) -> None:
        self.evicted, self.message = True, message

    def memory_files_bytes(self) -> int:
        return 0


class Scripted(Watch):
    """Is short of what the test says."""

    kind = Kind(condition="Pressure", short_reason="Short", enough_reason="Enough", resource="memory")
    short = ""
    looks = 0
    seconds = pressure.LOOK_SECONDS

    @property
    def look_seconds(self) -> float:
        return self.seconds

    def shortage(self) -> str:
        self.looks += 1
        return self.short

    async def used_bytes(self, running: Sequence[Evictable]) -> Mapping[str, int]:
        return {str(one.pod["metadata"]["uid"]): 5 * MIB for one in running}


async def nothing() -> None:
    """Nobody is told."""


async def test_one_pod_at_a_time_goes_and_what_it_gives_back_is_looked_at_before_the_next() -> None:
    there = [Pod("a"), Pod("b")]
    watch = Scripted(lambda: there, nothing, FakeClock())
    watch.short = "It was low. "
    await watch.pass_once()
    assert [one.evicted for one in there] == [True, False]
    assert there[0].message.startswith("It was low. Pod a was using 5120Ki")
    await watch.pass_once()
    assert not there[1].evicted, "the first has not gone yet"
    del there[0]
    await watch.pass_once()
    assert not there[0].evicted, "the first has only just gone"
    await watch.pass_once()
    assert there[0].evicted


async def test_watches_wake_together_and_only_who_is_near_its_end_looks_oftener() -> None:
    clock = FakeClock()
    calm, other = Scripted(list, nothing, clock), Scripted(list, nothing, clock)
    task = asyncio.create_task(pressure.run([calm, other], clock))
    try:
        await clock.advance(30.5)
        assert (calm.looks, other.looks) == (4, 4)
        other.seconds = 1.0
        await clock.advance(20.0)
        assert calm.looks == 6
        assert 10 < other.looks - 4 <= 13
    finally:
        await tasks.cancel(task)
