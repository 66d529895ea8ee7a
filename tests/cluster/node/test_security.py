"""securityContext, as a program in a container sees it. Runs as root and, through test_unprivileged, as a user."""

from __future__ import annotations

import os
from typing import Any

from lightship.testing.nodes import NodeUnderTest, pod, shell, terminated

CAPABILITIES = "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | awk '{print $2}' | tr '\\n' ' '"


async def said(node: NodeUnderTest, script: str, context: dict[str, Any] | None = None, **spec: Any) -> str:
    found = await node.finish(pod("p", shell(script, securityContext=context or {}), **spec))
    assert terminated(found)["exitCode"] == 0, await node.log("p")
    return await node.log("p")


async def test_capabilities_are_dropped_and_added(node: NodeUnderTest) -> None:
    context = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_PTRACE"]}}
    wanted = f"{1 << 10 | 1 << 19:016x}"
    assert (await said(node, CAPABILITIES, context)).split() == [wanted] * 3


async def test_a_user_is_who_it_says_and_has_no_capability(node: NodeUnderTest) -> None:
    script = f"id -u; id -g; {CAPABILITIES}; echo; touch /root/x && stat -c %u /root/x; id -un"
    lines = (await said(node, script, {"runAsUser": 1234, "runAsGroup": 5678})).splitlines()
    assert lines[:2] == ["1234", "5678"]
    assert lines[2].split()[:2] == ["0" * 16] * 2
    assert lines[3:] == ["1234", "user"]


async def test_a_read_only_root(node: NodeUnderTest) -> None:
    script = ("for f in /x /tmp/x /root/x /etc/x /usr/x /run/x; do touch $f 2>/dev/null && echo $f; done; "
              "echo y > /v/y && echo z > /dev/null && echo s > /dev/shm/s && echo said > /dev/termination-log; pwd; "
              "touch /usr/lightship-v/z && ls /usr/lightship-v")
    mounts = [{"name": "v", "mountPath": path} for path in ("/v", "/usr/lightship-v")]
    found = await node.finish(pod("p", shell(script, securityContext={"readOnlyRootFilesystem": True},
                                             volumeMounts=mounts, workingDir="/made/for/me"),
                                  volumes=[{"name": "v", "emptyDir": {}}]))
    assert await node.log("p") == "/made/for/me\ny\nz\n"
    assert terminated(found)["message"] == "said\n"


async def test_calls_that_no_container_needs_are_refused(node: NodeUnderTest) -> None:
    script = "unshare -U true; unshare -m true; mount -t tmpfs x /tmp; grep Seccomp: /proc/self/status; true"
    log = await said(node, script)
    assert "Seccomp:\t2" in log
    assert log.lower().count("operation not permitted") + log.lower().count("permission denied") >= 3, log


async def test_no_new_privileges_and_limits(node: NodeUnderTest) -> None:
    log = await said(node, "grep NoNewPrivs /proc/self/status; ulimit -c; umask", {"allowPrivilegeEscalation": False})
    assert log.split() == ["NoNewPrivs:", "1", "0", "0022"]


async def test_no_group_of_the_servers_comes_along(node: NodeUnderTest) -> None:
    if os.geteuid():
        return  # one user and one group are mapped: the kernel shows the others as nobody's
    assert (await said(node, "id -G")).split() == ["0"]


async def test_a_privileged_container_waits_with_the_reason(node: NodeUnderTest) -> None:
    await node.create(pod("p", shell("true", securityContext={"privileged": True})))
    found = await node.wait("p", lambda p: "is privileged" in str(p))
    waiting = found["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
