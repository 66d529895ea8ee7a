"""Memory that runs short: the Node says so, the Pod that has most of it is evicted, and the others run on.

What the machine has left is made up; nothing here uses more than some MiB.
"""

from __future__ import annotations

from lightship.cluster.node.memory_pressure import Memory
from lightship.kube import conditions, objects
from lightship.kube.resources import NODES, PODS
from lightship.testing.nodes import NODE_NAME, NodeUnderTest, over, pod, running, shell

SHORT = Memory(size_bytes=16 << 30, available_bytes=1 << 20)
ROOM = Memory(size_bytes=16 << 30, available_bytes=8 << 30)
WAIT = "; echo ready > /tmp/ready; exec sleep 1000"
PROBE = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
MOUNTS = [{"name": "v", "mountPath": "/v"}]
UNBOUND = [{"name": "v", "emptyDir": {"medium": "Memory"}}]


async def test_the_pod_whose_files_take_the_memory_is_evicted_and_the_node_says_why(node: NodeUnderTest) -> None:
    node.node.memory.look = lambda: ROOM
    await node.create(pod("small", shell("true" + WAIT, readinessProbe=PROBE)))
    await node.create(pod("asked", shell("dd if=/dev/zero of=/v/x bs=1M count=24" + WAIT, readinessProbe=PROBE,
                                         volumeMounts=MOUNTS, resources={"requests": {"memory": "64Mi"}}),
                          volumes=UNBOUND))
    await node.create(pod("files", shell("dd if=/dev/zero of=/v/x bs=1M count=16" + WAIT, readinessProbe=PROBE,
                                         volumeMounts=MOUNTS), volumes=UNBOUND))
    for name in ("small", "asked", "files"):
        await node.wait(name, lambda p: conditions.is_true(p or {}, "Ready"))
    assert await pressure_of(node) == ("False", "NodeHasSufficientMemory", "")
    node.node.memory.look = lambda: SHORT
    await node.node.memory.pass_once()
    found = await node.wait("files", over)
    assert objects.status(found)["reason"] == "Evicted"
    message = objects.status(found)["message"]
    assert message.startswith("The node was low on resource: memory. Threshold quantity: 343597383, available: 1024Ki.")
    used = int(message.partition("was using ")[2].partition("Ki")[0])
    assert 16 << 10 <= used < 64 << 10, message
    status, reason, _ = await pressure_of(node)
    assert (status, reason) == ("True", "NodeHasInsufficientMemory")
    node.node.memory.look = lambda: ROOM
    await node.node.memory.pass_once()
    assert (await pressure_of(node))[0] == "True", "it holds for a while"
    for name in ("small", "asked"):
        assert running(await node.client.get(PODS, name, "default"))


async def test_a_memory_volume_without_a_size_has_what_its_pod_or_the_node_has(node: NodeUnderTest) -> None:
    script = "df -k --output=size /v | tail -1"
    await node.finish(pod("bare", shell(script, volumeMounts=MOUNTS), volumes=UNBOUND))
    capacity = objects.status(await node.client.get(NODES, NODE_NAME))["allocatable"]["memory"]
    assert int(await node.log("bare")) == int(capacity.removesuffix("Ki"))
    limited = shell(script, volumeMounts=MOUNTS, resources={"limits": {"memory": "64Mi"}})
    await node.finish(pod("limited", limited, volumes=UNBOUND))
    assert int(await node.log("limited")) == 64 << 10
    larger = [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "9Ei"}}]
    await node.finish(pod("larger", shell(script, volumeMounts=MOUNTS), volumes=larger))
    assert int(await node.log("larger")) == int(capacity.removesuffix("Ki"))


async def pressure_of(node: NodeUnderTest) -> tuple[str, str, str]:
    found = conditions.find(await node.client.get(NODES, NODE_NAME), "MemoryPressure")
    assert found is not None
    return found["status"], found.get("reason", ""), found.get("message", "")
