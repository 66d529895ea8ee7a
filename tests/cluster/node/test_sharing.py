"""What the containers of one Pod share besides its network: IPC, /dev/shm, and volumes that are memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.testing.nodes import NodeUnderTest, pod, shell, terminated

FOUND = "readlink /proc/self/ns/ipc; stat -f -c %T /dev/shm; df -k --output=size /dev/shm | tail -1 | tr -d ' '"
MEMORY = [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}]
MOUNTS = [{"name": "v", "mountPath": "/v"}]


async def test_containers_of_a_pod_share_ipc_and_shared_memory(node: NodeUnderTest) -> None:
    first = shell(f"{FOUND}; echo hello > /dev/shm/word", name="first")
    one = shell(f"{FOUND}; echo ping > /dev/shm/ping; while ! test -e /dev/shm/pong; do sleep 0.02; done", name="one")
    two = shell(f"{FOUND}; while ! test -e /dev/shm/ping; do sleep 0.02; done; cat /dev/shm/word; touch /dev/shm/pong",
                name="two")
    found = await node.finish(pod("p", one, two, initContainers=[first]))
    assert {terminated(found, name)["exitCode"] for name in ("first", "one", "two")} == {0}, found
    said = (await node.log("p", container="one")).splitlines()
    assert said[1:] == ["tmpfs", "65536"]
    assert (await node.log("p", container="first")).splitlines() == said
    assert (await node.log("p", container="two")).splitlines() == [*said, "hello"]
    other = await node.finish(pod("q", shell(FOUND, name="one"), shell("ls /dev/shm", name="two")))
    assert terminated(other, "one")["exitCode"] == 0
    assert (await node.log("q", container="one")).splitlines()[0] != said[0]
    assert await node.log("q", container="two") == ""


async def test_a_memory_volume_is_one_tmpfs_for_all_containers(node: NodeUnderTest) -> None:
    writer = shell("echo word > /v/word; stat -f -c %T /v; df -k --output=size /v | tail -1", name="first",
                   volumeMounts=MOUNTS)
    reader = shell("stat -f -c %T /v; cat /v/word; touch /v/sub/x; dd if=/dev/zero of=/v/big bs=1M count=9 2>&1 "
                   "| grep -o 'No space left'; rm /v/big; echo rest > /s/y; cat /v/sub/y", volumeMounts=[
                       *MOUNTS, {"name": "v", "mountPath": "/s", "subPath": "sub"}])
    found = await node.finish(pod("p", reader, initContainers=[writer], volumes=MEMORY))
    assert terminated(found)["exitCode"] == 0, await node.log("p")
    assert (await node.log("p", container="first")).split() == ["tmpfs", "8192"]
    assert await node.log("p", container="main") == "tmpfs\nword\nNo space left\nrest\n"
    assert "/pods/" not in host_mounts(), "the host sees a Pod's mount"


async def test_a_memory_volume_outlives_its_container(node: NodeUnderTest) -> None:
    script = "if test -e /v/word; then cat /v/word; stat -f -c %T /v; exit 0; fi; echo kept > /v/word; exit 1"
    await node.finish(pod("p", shell(script, volumeMounts=MOUNTS), volumes=MEMORY, restartPolicy="OnFailure"))
    assert await node.log("p") == "kept\ntmpfs\n"


async def test_a_memory_volume_belongs_to_the_pods_group(node: NodeUnderTest) -> None:
    main = shell("stat -c '%a %g' /v; touch /v/x; echo $?", volumeMounts=MOUNTS)
    security: dict[str, Any] = {"fsGroup": 4242, "runAsUser": 4000}
    await node.finish(pod("p", main, volumes=MEMORY, securityContext=security))
    assert await node.log("p") == ("2777 4242\n0\n" if os.geteuid() == 0 else "777 0\n0\n")


async def test_nothing_of_what_was_shared_stays_open(node: NodeUnderTest) -> None:
    def count() -> int:
        return sum(1 for name in os.listdir("/proc/self/fd") if "ns" in _link(name))

    await node.finish(pod("warm", shell("true"), shell("true", name="two")))
    before = count()
    found = await node.finish(pod("p", shell("true"), shell("true", name="two"), volumes=MEMORY))
    assert terminated(found)["exitCode"] == 0
    await node.client.delete(PODS, Key("default", "p"), grace_seconds=0)
    await node.wait("p", lambda p: p is None)
    assert count() <= before


async def test_a_shared_process_namespace_is_refused_with_the_reason(node: NodeUnderTest) -> None:
    await node.create(pod("p", shell("true"), shell("true", name="two"), shareProcessNamespace=True))
    await node.wait("p", lambda p: "shareProcessNamespace" in str((p or {}).get("status")))
    await node.finish(pod("alone", shell("exit 0"), shareProcessNamespace=True))


def host_mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""
