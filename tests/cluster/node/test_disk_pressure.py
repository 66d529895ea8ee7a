"""A disk that fills up: the Node says so, the Pod that fills it is evicted, and the others run on."""

from __future__ import annotations

from pathlib import Path

from lightship.cluster.node import pressure
from lightship.cluster.node.disk_watch import Disk, DiskWatch
from lightship.kube import conditions, objects
from lightship.kube.resources import NODES, PODS
from lightship.testing.clock import FakeClock
from lightship.testing.nodes import NODE_NAME, NodeUnderTest, over, pod, running, shell

FULL = Disk(size_bytes=1 << 40, free_bytes=1 << 20, inodes=0, free_inodes=0)
ROOM = Disk(size_bytes=1 << 40, free_bytes=1 << 39, inodes=0, free_inodes=0)


async def test_the_pod_that_fills_the_disk_is_evicted_and_the_node_says_why(node: NodeUnderTest) -> None:
    wait = "; echo ready > /tmp/ready; exec sleep 1000"
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    await node.create(pod("small", shell("true" + wait, readinessProbe=probe)))
    await node.create(pod("big", shell("dd if=/dev/zero of=/tmp/x bs=1M count=4" + wait, readinessProbe=probe)))
    for name in ("small", "big"):
        await node.wait(name, lambda p: conditions.is_true(p or {}, "Ready"))
    node.node.disk.look = lambda directory: FULL
    await node.node.disk.pass_once()
    found = await node.wait("big", over)
    assert objects.status(found)["reason"] == "Evicted"
    assert objects.status(found)["message"].startswith("The node was low on resource: ephemeral-storage.")
    told = conditions.find(await node.client.get(NODES, NODE_NAME), "DiskPressure")
    assert told is not None
    assert (told["status"], told["reason"]) == ("True", "NodeHasDiskPressure")
    await node.node.disk.pass_once()
    assert running(await node.client.get(PODS, "small", "default"))


async def test_the_pressure_ends_when_there_has_been_room_for_a_while(tmp_path: Path) -> None:
    clock = FakeClock()
    told: list[str] = []
    watch = DiskWatch(tmp_path, list, lambda: _say(told, watch), clock)
    watch.look = lambda directory: FULL
    await watch.pass_once()
    watch.look = lambda directory: ROOM
    await watch.pass_once()
    await clock.advance(pressure.HOLD_SECONDS - 1)
    await watch.pass_once()
    assert told == ["True"]
    await clock.advance(1)
    await watch.pass_once()
    assert told == ["True", "False"]


async def _say(told: list[str], watch: DiskWatch) -> None:
    told.append(watch.condition()["status"])
