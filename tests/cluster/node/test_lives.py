"""Restarts, probes, deadlines, deletion, entrypoints, and logs while they are written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.cluster.node.entrypoints import ContainerExit, EntrypointContext
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.testing.nodes import NodeUnderTest, node_under_test, over, pod, ready, running, shell, terminated

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path != "/ready" or os.path.exists("/v/ready")
        self.send_response(200 if good else 503); self.end_headers()
http.server.HTTPServer((os.environ["POD_IP"], 18080), Handler).serve_forever()
"""


def server(**more: Any) -> Object:
    return {"name": "main", "image": "python:3", "command": ["python3", "-c", SERVER],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "ports": [{"name": "http", "containerPort": 18080}], **more}


VOLUMES = [{"name": "v", "emptyDir": {}}]


async def test_on_failure_restarts_until_it_succeeds(node: NodeUnderTest) -> None:
    script = "echo life; test -e /v/again && exit 0; touch /v/again; exit 5"
    found = await node.finish(pod("p", shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                                  volumes=VOLUMES, restartPolicy="OnFailure"))
    status = objects.status(found)["containerStatuses"][0]
    assert objects.status(found)["phase"] == "Succeeded"
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 5
    assert await node.log("p", previous="true") == "life\n"


async def test_a_crash_loop_backs_off_and_stays_running(node: NodeUnderTest) -> None:
    await node.create(pod("p", shell("exit 1"), restartPolicy="Always"))
    found = await node.wait("p", lambda p: _state(p).get("waiting", {}).get("reason") == "CrashLoopBackOff")
    assert objects.status(found)["phase"] == "Running"
    assert "back-off 10s" in _state(found)["waiting"]["message"]


async def test_readiness_follows_the_probe_and_two_pods_share_a_port(node: NodeUnderTest) -> None:
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    for name in ("one", "two"):
        await node.create(pod(name, server(readinessProbe=probe), shell("while ! test -e /v/go; do sleep 0.05; done; "
            "touch /v/ready; exec sleep 1000", name="side", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            volumes=VOLUMES))
    for name in ("one", "two"):
        found = await node.wait(name, running)
        assert not ready(found)
        volume = _volume(node, found)
        (volume / "go").touch()
        assert ready(await node.wait(name, ready))


async def test_a_liveness_failure_restarts_the_container(node: NodeUnderTest) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /v/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    await node.create(pod("p", shell("exec sleep 1000", livenessProbe=probe,
                                     volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                          volumes=VOLUMES, restartPolicy="Always"))
    found = await node.wait("p", lambda p: _status(p).get("restartCount", 0) >= 1)
    assert _status(found)["lastState"]["terminated"]["exitCode"] == 143


async def test_deletion_gives_grace_and_then_confirms(node: NodeUnderTest) -> None:
    obj = pod("p", shell("trap 'echo asked; exit 9' TERM; echo up; while :; do sleep 0.05; done"))
    obj["metadata"]["finalizers"] = ["test/hold"]
    await node.create(obj)
    await node.wait("p", running)
    await node.client.delete(PODS, Key("default", "p"))
    found = await node.wait("p", over)
    assert terminated(found)["exitCode"] == 9
    assert await node.log("p") == "up\nasked\n"
    await node.client.patch(PODS, Key("default", "p"), {"metadata": {"finalizers": None}})
    await node.wait("p", lambda p: p is None)


async def test_a_deaf_container_is_killed_after_its_grace(node: NodeUnderTest) -> None:
    obj = pod("p", shell("trap '' TERM; while :; do sleep 0.05; done"), terminationGracePeriodSeconds=1)
    obj["metadata"]["finalizers"] = ["test/hold"]
    await node.create(obj)
    await node.wait("p", running)
    await node.client.delete(PODS, Key("default", "p"))
    assert terminated(await node.wait("p", over))["exitCode"] == 137


async def test_a_pod_that_vanishes_is_ended_and_its_directory_goes(node: NodeUnderTest) -> None:
    created = await node.create(pod("p", shell("exec sleep 1000"), terminationGracePeriodSeconds=0))
    await node.wait("p", running)
    directory = _directory(node, created)
    assert directory.exists()
    await node.client.delete(PODS, Key("default", "p"))
    await asyncio.to_thread(_until_gone, directory)


async def test_a_deadline_fails_the_pod(node: NodeUnderTest) -> None:
    found = await node.finish(pod("p", shell("exec sleep 1000"), activeDeadlineSeconds=1,
                                  terminationGracePeriodSeconds=1))
    assert objects.status(found)["reason"] == "DeadlineExceeded"
    assert objects.status(found)["phase"] == "Failed"


async def test_a_sidecar_starts_first_and_ends_last(node: NodeUnderTest) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    sidecar = shell("touch /v/side; trap 'exit 0' TERM; while :; do sleep 0.05; done", name="side",
                    restartPolicy="Always", startupProbe={"exec": {"command": ["test", "-e", "/v/side"]},
                                                          "periodSeconds": 1}, **mount)
    found = await node.finish(pod("p", shell("test -e /v/side", **mount), initContainers=[sidecar], volumes=VOLUMES,
                                  terminationGracePeriodSeconds=5))
    assert terminated(found)["exitCode"] == 0
    assert objects.status(found)["phase"] == "Succeeded"


async def test_logs_follow_what_is_written(node: NodeUnderTest) -> None:
    script = "echo one; while ! test -e /v/go; do sleep 0.05; done; echo two"
    await node.create(pod("p", shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=VOLUMES))
    found = await node.wait("p", running)
    lines = await node.node.logs(Key("default", "p"), {"follow": "true"})
    assert await anext(lines) == b"one\n"
    (_volume(node, found) / "go").touch()
    assert [line async for line in lines] == [b"two\n"]


async def test_log_queries(node: NodeUnderTest) -> None:
    await node.finish(pod("p", shell("for i in 1 2 3 4; do echo $i; done; printf end")))
    assert await node.log("p") == "1\n2\n3\n4\nend"
    assert await node.log("p", tailLines="2") == "3\n4\nend" or await node.log("p", tailLines="2") == "4\nend"
    assert await node.log("p", limitBytes="3") == "1\n2"
    assert (await node.log("p", timestamps="true")).splitlines()[0].endswith("Z 1")
    assert await node.log("p", sinceTime="2100-01-01T00:00:00Z") == ""
    with pytest.raises(errors.BadRequest, match="previous terminated container"):
        await node.log("p", previous="true")
    with pytest.raises(errors.BadRequest, match="container x is not valid"):
        await node.log("p", container="x")
    with pytest.raises(errors.NotFound):
        await node.log("q")


async def test_entrypoints_see_the_pod_as_a_container_would(tmp_path: Path) -> None:
    seen: list[ContainerExit] = []

    async def stage_in(context: EntrypointContext) -> int:
        context.path("/data/input").write_text(" ".join(context.arguments) + context.env["WORD"])
        context.log("staged")
        return 0

    async def stage_out(context: EntrypointContext) -> int:
        seen.append(await context.wait_for("main"))
        return 0 if context.path("/data/output").read_text() == "in!\n" else 1

    mount = {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    async with node_under_test(tmp_path / "node", entrypoints={"in": stage_in, "out": stage_out}) as node:
        found = await node.finish(pod(
            "p", shell("cat /data/input > /data/output; echo >> /data/output", **mount),
            {"name": "out", "image": "lightship.dev/out:1", **mount},
            initContainers=[{"name": "in", "image": "lightship.dev/in:1", "args": ["in"],
                             "env": [{"name": "WORD", "value": "!"}], **mount}], volumes=VOLUMES))
        assert objects.status(found)["phase"] == "Succeeded"
        assert seen == [ContainerExit(exit_code=0, signal=0, reason="Completed")]
        assert await node.log("p", container="in") == "staged\n"


async def test_an_entrypoint_that_raises_fails_its_container_and_says_why(tmp_path: Path) -> None:
    async def broken(context: EntrypointContext) -> int:
        context.path("/not/mounted")
        return 0

    async with node_under_test(tmp_path / "node", entrypoints={"broken": broken}) as node:
        found = await node.finish(pod("p", {"name": "main", "image": "lightship.dev/broken:1"}))
        assert terminated(found)["exitCode"] == 1
        assert 'no volume is mounted at "/not/mounted"' in await node.log("p")


async def test_a_memory_limit_kills_with_its_reason(node: NodeUnderTest) -> None:
    script = "import time\nx = b'x' * (200 << 20)\ntime.sleep(100)"
    hog = {"name": "main", "image": "python:3", "command": ["python3", "-c", script],
           "resources": {"limits": {"memory": "64Mi"}}}
    end = terminated(await node.finish(pod("p", hog)))
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


async def test_many_pods_at_once(node: NodeUnderTest) -> None:
    found = await asyncio.gather(*(node.finish(pod(f"p{i}", shell("true"))) for i in range(40)))
    assert [objects.status(f)["phase"] for f in found] == ["Succeeded"] * 40


def _status(found: Object | None) -> dict[str, Any]:
    return dict((objects.status(found or {}).get("containerStatuses") or [{}])[0])


def _state(found: Object | None) -> dict[str, Any]:
    return dict(_status(found).get("state") or {})


def _directory(node: NodeUnderTest, found: Object) -> Path:
    return node.directory / "pods" / objects.uid(found)


def _volume(node: NodeUnderTest, found: Object) -> Path:
    return _directory(node, found) / "volumes" / "v"


def _until_gone(path: Path) -> None:
    import time

    deadline = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.01)
