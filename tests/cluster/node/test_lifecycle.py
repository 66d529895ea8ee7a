"""Hooks, sidecars, grace, readiness gates, gRPC probes: a Pod's life around its program."""

from __future__ import annotations

from typing import Any

from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.testing.nodes import NodeUnderTest, pod, ready, running, shell, terminated

V = [{"name": "v", "mountPath": "/v"}]
VOLUMES = [{"name": "v", "emptyDir": {}}]


def condition(found: Object | None, type_: str) -> dict[str, Any]:
    return next((c for c in objects.status(found or {}).get("conditions") or () if c["type"] == type_), {})


async def test_post_start_runs_and_its_failure_ends_the_container(node: NodeUnderTest) -> None:
    good = shell("while ! test -e /v/hooked; do sleep 0.02; done; echo hooked", volumeMounts=V,
                 lifecycle={"postStart": {"exec": {"command": ["touch", "/v/hooked"]}}})
    await node.finish(pod("good", good, volumes=VOLUMES))
    assert await node.log("good") == "hooked\n"
    bad = shell("exec sleep 1000", lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo no; exit 3"]}}})
    found = await node.finish(pod("bad", bad))
    assert terminated(found)["exitCode"] == 143


async def test_pre_stop_runs_before_sigterm_within_the_grace(node: NodeUnderTest) -> None:
    script = "trap 'cat /v/order; echo term; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo prestop > /v/order"]}}}
    spec = pod("p", shell(script, volumeMounts=V, lifecycle=hook), volumes=VOLUMES)
    spec["metadata"]["finalizers"] = ["lightship.dev/test"]
    await node.create(spec)
    found = await node.wait("p", running)
    await node.client.delete(PODS, objects.key(found), grace_seconds=30)
    await node.wait("p", lambda p: p is not None and objects.status(p).get("phase") == "Succeeded")
    assert await node.log("p") == "up\nprestop\nterm\n"


async def test_a_hook_that_hangs_is_cut_off_by_the_grace(node: NodeUnderTest) -> None:
    hook = {"preStop": {"exec": {"command": ["sleep", "1000"]}}}
    await node.create(pod("p", shell("trap 'exit 0' TERM; while :; do sleep 0.02; done", lifecycle=hook)))
    found = await node.wait("p", running)
    await node.client.delete(PODS, objects.key(found), grace_seconds=1)
    await node.wait("p", lambda p: p is None)


async def test_sidecars_start_first_end_last_and_in_reverse(node: NodeUnderTest) -> None:
    def sidecar(name: str) -> dict[str, Any]:
        script = f"trap 'echo end {name} >> /v/order; exit 0' TERM; touch /v/{name}; while :; do sleep 0.02; done"
        return shell(script, name=name, volumeMounts=V, restartPolicy="Always", startupProbe={
            "exec": {"command": ["test", "-e", f"/v/{name}"]}, "periodSeconds": 1})

    main = shell("ls /v; echo end main >> /v/order", volumeMounts=V)
    found = await node.finish(pod("p", main, volumes=VOLUMES, initContainers=[sidecar("one"), sidecar("two")]))
    assert objects.status(found)["phase"] == "Succeeded"
    assert await node.log("p", container="main") == "one\ntwo\n"
    ends = [terminated(found, name)["exitCode"] for name in ("one", "two")]
    assert ends == [0, 0]


async def test_a_restart_rule_outlives_the_policy_never(node: NodeUnderTest) -> None:
    main = shell("test -e /v/again && exit 0; touch /v/again; exit 42", volumeMounts=V, restartPolicyRules=[
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], restartPolicy="Never")
    found = await node.finish(pod("p", main, volumes=VOLUMES))
    assert objects.status(found)["phase"] == "Succeeded"
    assert objects.status(found)["containerStatuses"][0]["restartCount"] == 1


async def test_readiness_gates_hold_ready_back_and_others_conditions_stay(node: NodeUnderTest) -> None:
    await node.create(pod("p", shell("exec sleep 1000"), readinessGates=[{"conditionType": "example.com/up"}]))
    found = await node.wait("p", lambda p: condition(p, "Ready").get("reason") == "ReadinessGatesNotReady")
    assert condition(found, "ContainersReady")["status"] == "True"
    told = [*objects.status(found)["conditions"], {"type": "example.com/up", "status": "True"}]
    await node.client.patch(PODS, Key("default", "p"), {"status": {"conditions": told}}, subresource="status")
    found = await node.wait("p", ready)
    assert condition(found, "example.com/up")["status"] == "True"


GRPC = r"""
import os, socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 18090)); s.listen()
def frame(kind, flags, stream, payload): return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
while True:
    c, _ = s.accept(); data = b""
    while b"/grpc.health.v1.Health/Check" not in data: data += c.recv(4096)
    status = 1 if os.path.exists("/v/serving") else 2
    c.sendall(frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0\0\0\0\2\x08" + bytes((status,))))
    c.close()
"""  # noqa: E501


async def test_a_grpc_probe_asks_for_the_health(node: NodeUnderTest) -> None:
    main = {"name": "main", "image": "python:3", "command": ["python3", "-c", GRPC], "volumeMounts": V,
            "readinessProbe": {"grpc": {"port": 18090}, "periodSeconds": 1}, "ports": [{"containerPort": 18090}]}
    side = shell("while ! test -e /v/go; do sleep 0.02; done; touch /v/serving; exec sleep 1000", name="side",
                 volumeMounts=V)
    await node.create(pod("p", main, side, volumes=VOLUMES))
    found = await node.wait("p", running)
    assert not ready(found)
    (node.directory / "pods" / objects.uid(found) / "volumes" / "v" / "go").touch()
    await node.wait("p", ready)
