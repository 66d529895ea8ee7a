"""What goes wrong around a Pod: a bug of the node in its midst, and volumes that cannot be made yet."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.node import supervisor, volumes
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import SECRETS
from lightship.testing.nodes import NodeUnderTest, pod, shell, terminated


async def test_a_bug_of_the_node_fails_its_pod_alone(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = volumes.make

    async def make(obj: Object, source: volumes.VolumeSource) -> dict[str, volumes.Volume]:
        if objects.name(obj) == "unlucky":
            raise RuntimeError("a bug")
        return await real(obj, source)

    monkeypatch.setattr(volumes, "make", make)
    found = await node.finish(pod("unlucky", shell("exit 0")))
    assert objects.status(found)["phase"] == "Failed"
    assert objects.status(found)["reason"] == "InternalError"
    assert "a bug" in objects.status(found)["message"]
    assert terminated(await node.finish(pod("lucky", shell("exit 4"))))["exitCode"] == 4


async def test_a_missing_secret_is_told_seldom_and_ends_the_wait_when_it_comes(
        node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    class Long:
        def delay_seconds(self, failures: int, random: Any) -> float:
            waits.append(failures)
            return 1000.0  # only the Secret can end it

    monkeypatch.setattr(supervisor, "MOUNT_BACKOFF", Long())
    shown = [{"name": "s", "secret": {"secretName": "late"}}]
    main = shell("cat /s/key", volumeMounts=[{"name": "s", "mountPath": "/s"}])
    await node.create(pod("p", main, volumes=shown))
    await node.wait("p", lambda p: "late" in str(objects.status(p or {})))
    await node.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "stringData": {"key": "here"},
                                       "data": {"key": "aGVyZQ=="},
                                       "metadata": {"name": "late", "namespace": "default"}})
    found = await node.wait("p", lambda p: objects.status(p or {}).get("phase") in ("Succeeded", "Failed"))
    assert terminated(found)["exitCode"] == 0
    assert await node.log("p") == "here"
    assert waits[0] == 1
    assert len(waits) <= 3


def test_the_wait_for_volumes_doubles_up_to_two_minutes() -> None:
    delays = [supervisor.MOUNT_BACKOFF.delay_seconds(count, lambda: 0.0) for count in (1, 2, 3, 20)]
    assert delays == [0.5, 1.0, 2.0, 122.0]
