"""The events of a Pod's life, as ``kubectl describe pod`` shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lightship.cluster.node.entrypoints import EntrypointContext
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, PODS
from lightship.runtime.informer import Informer
from lightship.testing.nodes import NodeUnderTest, node_under_test, pod, running, shell


async def told(node: NodeUnderTest, name: str, *wanted: str) -> list[tuple[str, str, str]]:
    """Type, reason and message of the Pod's events once every wanted reason is among them, in the order of writing."""
    found: list[Object] = []
    all_there = asyncio.Event()

    def look(old: Object | None, new: Object | None) -> None:
        if old is None and new is not None and new["involvedObject"]["name"] == name:
            found.append(new)
            if set(wanted) <= {event["reason"] for event in found}:
                all_there.set()

    events = Informer(node.client, EVENTS)
    events.subscribe(look)
    await events.start()
    try:
        async with asyncio.timeout(30):
            await all_there.wait()
    finally:
        await events.stop()
    return [(event["type"], event["reason"], event["message"]) for event in found]


async def test_a_container_is_pulled_created_and_started(node: NodeUnderTest) -> None:
    await node.finish(pod("p", shell("true")))
    said = await told(node, "p", "Started")
    assert [(type_, reason) for type_, reason, _ in said] == [
        ("Normal", "Pulled"), ("Normal", "Created"), ("Normal", "Started")]
    assert said[0][2].startswith('Container image "busybox" is here as ')
    assert [message for _, _, message in said[1:]] == ["Created container: main", "Started container main"]


async def test_of_entrypoints_there_are_no_events(tmp_path: Path) -> None:
    async def enter(context: EntrypointContext) -> int:
        return 0

    async with node_under_test(tmp_path / "node", entrypoints={"enter": enter}) as node:
        first = {"name": "first", "image": "lightship.dev/enter"}
        await node.finish(pod("p", shell("true"), initContainers=[first]))
        assert all("first" not in message for _, _, message in await told(node, "p", "Started"))


async def test_a_deleted_pods_containers_are_stopped(node: NodeUnderTest) -> None:
    await node.create(pod("p", shell("trap 'exit 0' TERM; while :; do sleep 0.02; done")))
    found = await node.wait("p", running)
    await node.client.delete(PODS, objects.key(found), grace_seconds=5)
    assert ("Normal", "Killing", "Stopping container main") in await told(node, "p", "Killing")


async def test_a_failed_liveness_probe_is_a_normal_killing(node: NodeUnderTest) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await node.create(pod("p", shell("exec sleep 1000", livenessProbe=probe), restartPolicy="Always"))
    said = await told(node, "p", "Killing", "Unhealthy")
    assert ("Normal", "Killing", "Container main failed liveness probe, will be restarted") in said
    assert [type_ for type_, reason, _ in said if reason == "Unhealthy"] == ["Warning"]
    await node.client.delete(PODS, Key("default", "p"), grace_seconds=0)
    await node.wait("p", lambda p: p is None)
