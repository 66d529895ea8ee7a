"""Pods of images that the catalogue does not map, run by podman from an image made of one static binary."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightship.client.sessions import STDOUT, Wanted
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, NODES, PODS
from lightship.testing import nodes
from lightship.testing.nodes import NodeUnderTest, node_under_test
from tests import boxes
from tests.boxes import IMAGE

pytestmark = pytest.mark.slow
if boxes.missing():
    pytest.skip(boxes.missing(), allow_module_level=True)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of images of our own, with one image in it."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            with boxes.storage(tmp_path_factory.mktemp("podman")) as configuration:
                patch.setenv(boxes.VARIABLE, str(configuration))
                yield
        except boxes.NoImage as error:
            pytest.skip(str(error))


@pytest.fixture
async def node(storage: None, tmp_path: Path) -> AsyncIterator[NodeUnderTest]:
    async with node_under_test(tmp_path / "node", containers="podman") as running:
        condition = await _engine(running)
        if condition["status"] != "True":
            pytest.skip(f"podman runs nothing here: {condition['message']}")
        yield running
    assert _left() == ""


async def _engine(running: NodeUnderTest) -> dict[str, Any]:
    """The Node's condition on the engine, once it has been tried."""
    async with asyncio.timeout(60):
        while True:
            told = objects.status(await running.client.get(NODES, nodes.NODE_NAME))["conditions"]
            found = next(entry for entry in told if entry["type"] == "ContainerEngine")
            if found["status"] != "Unknown":
                return dict(found)
            await asyncio.sleep(0.1)


def _left() -> str:
    return subprocess.run(["podman", "ps", "--all", "--quiet"], capture_output=True, text=True).stdout.strip()


def box(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **more}


def _waiting(found: Object | None) -> dict[str, Any]:
    statuses = objects.status(found).get("containerStatuses") or [{}] if found else [{}]
    return dict((statuses[0].get("state") or {}).get("waiting") or {})


async def test_a_pod_runs_with_its_output_its_code_and_its_message(node: NodeUnderTest) -> None:
    ended = await node.finish(nodes.pod("p", box(
        "echo out; echo err >&2; echo $FROM_IMAGE $GIVEN; hostname; echo why > /dev/termination-log; exit 7",
        env=[{"name": "GIVEN", "value": "two\nlines"}])))

    end = nodes.terminated(ended)
    assert (end["exitCode"], end["reason"], end["message"]) == (7, "Error", "why\n")
    assert sorted((await node.log("p")).split()) == sorted(["out", "err", "yes", "two", "lines", "p"])


async def test_the_images_own_command_runs_and_much_output_is_not_lost(node: NodeUnderTest) -> None:
    await node.finish(nodes.pod("own", {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}))
    await node.finish(nodes.pod("much", box("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")))

    assert await node.log("own") == "of the image\n"
    assert (await node.log("much")).splitlines() == [f"line {n}" for n in range(20000)]


async def test_volumes_are_mounted_and_a_link_leads_out_of_none(node: NodeUnderTest) -> None:
    await node.client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "c", "namespace": "default"}, "data": {"key": "value"}})
    mounts = [{"name": "c", "mountPath": "/c"}, {"name": "e", "mountPath": "/e", "subPath": "sub"},
              {"name": "c", "mountPath": "/one", "subPath": "key"}]
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "e", "emptyDir": {}}]

    await node.finish(nodes.pod("p", box(
        "cat /c/key; echo; cat /one; echo; echo x > /e/f && cat /e/f; echo no > /c/key", volumeMounts=mounts),
        volumes=volumes))
    out = await node.log("p")
    assert out.split()[:3] == ["value", "value", "x"] and "Read-only" in out

    link = box("ln -s /etc /v/l", name="link", volumeMounts=[{"name": "e", "mountPath": "/v"}])
    link["command"] = ["busybox", "ln", "-s", "/etc", "/v/l"]
    await node.create(nodes.pod("out", box("ls /e", volumeMounts=[{"name": "e", "mountPath": "/e", "subPath": "l"}]),
                                initContainers=[link], volumes=volumes[1:]))
    found = await node.wait("out", lambda pod: _waiting(pod).get("reason") == "CreateContainerConfigError")
    assert "leads out of its volume" in _waiting(found)["message"]


async def test_commands_run_inside_and_are_hung_up_on(node: NodeUnderTest) -> None:
    await node.create(nodes.pod("p", box("exec sleep 1000"), terminationGracePeriodSeconds=0))
    await node.wait("p", nodes.running)
    target = node.node.streams.target(Key("default", "p"), "main")

    session = await target.execute(("sh", "-c", "read line; echo got $line; exit 3"), Wanted(stdin=True))
    await session.write(b"this\n")
    assert await session.read(STDOUT) == b"got this\n"
    assert (await session.wait()).code == 3
    await session.close()

    abandoned = await target.execute(("sleep", "77"), Wanted())
    async with asyncio.timeout(30):
        while not _runs("sleep\x0077"):  # noqa: ASYNC110 - another program's process tells nobody
            await asyncio.sleep(0.05)
        await abandoned.close()
        while _runs("sleep\x0077"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_terminal_is_one(node: NodeUnderTest) -> None:
    await node.create(nodes.pod("p", box("[ -t 0 ] && [ -t 1 ] && echo a terminal; read x; echo got $x", tty=True,
                                         stdin=True)))
    await node.wait("p", nodes.running)
    session = await node.node.streams.target(Key("default", "p"), "main").attach(Wanted(stdin=True))
    await session.write(b"words\n")
    await node.wait("p", nodes.over)
    await session.close()

    log = await node.log("p")
    assert "a terminal" in log and "got words" in log


async def test_a_pod_that_is_deleted_gets_sigterm_and_then_ends(node: NodeUnderTest) -> None:
    obj = nodes.pod("p", box("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"))
    obj["metadata"]["finalizers"] = ["test/hold"]
    await node.create(obj)
    await node.wait("p", nodes.running)
    stream = await node.node.logs(Key("default", "p"), {"follow": "true"})
    text = b""
    async for block in stream:
        if not text:
            await node.client.delete(PODS, Key("default", "p"), grace_seconds=20)
        text += block

    assert text == b"up\nbye\n"
    assert nodes.terminated(await node.wait("p", nodes.over))["exitCode"] == 0


async def test_a_container_over_its_memory_is_oom_killed(node: NodeUnderTest) -> None:
    condition = await _engine(node)
    if "limits of memory" not in condition["message"]:
        pytest.skip(condition["message"])
    ended = await node.finish(nodes.pod("p", box("exec tail /dev/zero", resources={
        "limits": {"memory": "32Mi"}})))

    assert nodes.terminated(ended)["reason"] == "OOMKilled"


async def test_an_image_that_is_not_there_is_told_in_the_engines_words(node: NodeUnderTest) -> None:
    await node.create(nodes.pod("never", box("true", image="localhost/none:1", imagePullPolicy="Never")))
    await node.create(nodes.pod("pull", box("true", image="localhost/none:1")))

    found = await node.wait("never", lambda pod: _waiting(pod).get("reason") == "ErrImageNeverPull")
    assert "not present with pull policy of Never" in _waiting(found)["message"]
    found = await node.wait("pull", lambda pod: _waiting(pod).get("reason") in ("ErrImagePull", "ImagePullBackOff"))
    assert 'failed to pull image "localhost/none:1"' in _waiting(found)["message"]


async def test_a_program_that_is_not_there_ends_the_container_with_128(node: NodeUnderTest) -> None:
    ended = await node.finish(nodes.pod("p", box("", command=["nothing-here"])))

    end = nodes.terminated(ended)
    assert end["exitCode"] == 128 and "nothing-here" in end["message"]


async def test_a_killed_node_leaves_no_container_after_the_next_start(storage: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _CHILD, str(tmp_path / "node"), IMAGE], stdout=subprocess.PIPE,
                             text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "running\n"
    finally:
        child.kill()
        child.communicate()
    assert _left() and _runs("sleep\x0088")

    async with node_under_test(tmp_path / "node") as running:  # without the engine: it is swept all the same
        async with asyncio.timeout(60):
            while _left() or _runs("sleep\x0088"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert running.node.isolation is not None


async def test_without_the_engine_pods_wait_and_the_node_says_why(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with node_under_test(tmp_path / "node", containers="podman") as running:
        assert (await _engine(running))["status"] == "False"
        await running.create(nodes.pod("p", box("true")))
        found = await running.wait("p", lambda pod: _waiting(pod).get("reason") == "CreateContainerError")
        assert "there is no podman" in _waiting(found)["message"]
        assert nodes.terminated(await running.finish(nodes.pod("q", nodes.shell("exit 0"))))["exitCode"] == 0


def _runs(command: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().rstrip(b"\0") == command.encode():
                return True
        except OSError:  # it has just ended
            continue
    return False


_CHILD = """
import asyncio, sys
from pathlib import Path
from lightship.testing import nodes

async def main():
    async with nodes.node_under_test(Path(sys.argv[1]), containers="podman") as node:
        await node.create(nodes.pod("p", {"name": "main", "image": sys.argv[2], "command": ["sleep", "88"]}))
        await node.wait("p", nodes.running)
        print("running", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
