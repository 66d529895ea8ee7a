# ruff: noqa: ASYNC240 - the tests look at small things on a local disk
"""Pods that mean harm: what they try fails or is bounded, and the node stays well. As root and as a normal user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.testing.nodes import NodeUnderTest, pod, running, shell, terminated


def python(script: str, **more: Any) -> Object:
    return {"name": "main", "image": "python:3", "command": ["python3", "-c", script], **more}


async def still_well(node: NodeUnderTest) -> None:
    found = await node.finish(pod("after", shell("echo well")))
    assert terminated(found)["exitCode"] == 0
    assert await node.log("after") == "well\n"


async def test_the_servers_environment_and_memory_are_out_of_reach(node: NodeUnderTest) -> None:
    os.environ["LIGHTSHIP_TEST_SECRET"] = "a key of the user"
    try:
        script = (f"for p in {os.getpid()} {os.getppid()}; do cat /proc/$p/environ /proc/$p/maps; ls /proc/$p/root/ "
                  "/proc/$p/cwd/; kill -9 $p; kill -STOP $p; done; cat /proc/*/environ | tr '\\0' '\\n'; env; echo end")
        await node.finish(pod("p", shell(script)))
        log = await node.log("p")
        assert "a key of the user" not in log
        assert log.endswith("end\n")
        assert log.count("No such file or directory") >= 8
    finally:
        del os.environ["LIGHTSHIP_TEST_SECRET"]


async def test_the_kernel_would_end_a_pod_before_the_server(node: NodeUnderTest) -> None:
    asking = shell("cat /proc/self/oom_score_adj") | {"resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}
    await node.finish(pod("modest", shell("cat /proc/self/oom_score_adj; echo 5 >/proc/self/oom_score_adj || echo no")))
    await node.finish(pod("asking", asking))
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert (await node.log("modest")).split()[0] == "1000"
    assert int(await node.log("asking")) >= own


async def test_a_neighbour_cannot_be_traced(node: NodeUnderTest) -> None:
    await node.create(pod("victim", shell("exec sleep 1100")))
    await node.wait("victim", running)
    pids = [entry.name for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and b"sleep\x001100" in _command_line(entry)]
    assert len(pids) == 1
    script = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in [{pids[0]}, {os.getpid()}]:
    print(libc.ptrace(16, pid, 0, 0), ctypes.get_errno())
    print(os.path.exists(f"/proc/{{pid}}/mem"))
    for call in (lambda: os.kill(pid, 9), lambda: os.pidfd_open(pid)):
        try:
            call(); print("reached")
        except OSError as error:
            print(error.errno)
"""
    await node.finish(pod("p", python(script)))
    assert (await node.log("p")).split() == ["-1", "3", "False", "3", "3"] * 2


async def test_the_containers_own_init_leads_nowhere(node: NodeUnderTest) -> None:
    """With SYS_PTRACE a program may write into the init of its container, which must then have nothing to gain."""
    script = """
fields = dict(line.split(":\\t", 1) for line in open("/proc/1/status").read().splitlines() if ":\\t" in line)
print(fields["CapEff"], fields["CapBnd"], fields["Seccomp"])
"""
    context = {"capabilities": {"add": ["SYS_PTRACE"]}}
    await node.finish(pod("p", python(script, securityContext=context)))
    effective, bound, filtered = (await node.log("p")).split()
    beyond = sum(1 << number for number in (2, 12, 16, 17, 21, 27))
    assert not int(effective, 16) & beyond
    assert not int(bound, 16) & beyond
    assert filtered == "2"


async def test_the_containers_own_init_cannot_be_read(node: NodeUnderTest) -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0))
for path in ("/proc/1/fd/2", "/proc/1/environ", "/proc/1/mem"):
    try:
        open(path); print("read", path)
    except OSError as error:
        print("refused")
print(sorted(os.listdir("/proc/self/fd")))
"""
    await node.finish(pod("p", python(script)))
    *refused, descriptors = (await node.log("p")).splitlines()
    assert refused == ["-1", *["refused"] * 3]
    assert descriptors == "['0', '1', '2', '3']"  # the last is that of the look


async def test_proc_sys_devices_and_mounts_are_closed(node: NodeUnderTest) -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, call):
    try:
        call(); print("DONE", name)
    except OSError as error:
        print("refused", name, error.errno)
def write(path):
    descriptor = os.open(path, os.O_WRONLY); os.write(descriptor, b"1")
def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0: raise OSError(ctypes.get_errno(), "")
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches",
             "/sys/devices/system/cpu/cpu0/online", "/proc/kcore", "/dev/mem"):
    tried(path, lambda: write(path))
tried("mknod", lambda: os.mknod("/tmp/disk", 0o060666, os.makedev(254, 0)))
tried("chroot out", lambda: os.open("/..", os.O_PATH) and os.open("/../../../work", os.O_PATH))
tried("open_by_handle_at", lambda: syscall(304, -100, b"x" * 64, 0))
tried("keyctl", lambda: syscall(250, 0, -3, 1))
tried("bpf", lambda: syscall(321, 0, 0, 0))
tried("perf", lambda: syscall(298, 0, 0, 0, 0, 0))
tried("swapon", lambda: syscall(167, b"/tmp/x", 0))
tried("reboot", lambda: syscall(169, 0xfee1dead, 672274793, 0x1234567))
"""
    await node.finish(pod("p", python(script)))
    log = await node.log("p")
    assert "DONE" not in log, log
    assert log.count("refused") == 14, log


async def test_a_fork_bomb_is_bounded(node: NodeUnderTest) -> None:
    script = """
import os, signal, time
count = 0
try:
    while count < 20000:
        if os.fork() == 0:
            signal.pause()
        count += 1
except OSError as error:
    print("stopped", error.errno, count < 5000)
"""
    found = node.api.all("/api/v1/nodes")[0]["status"]["conditions"]
    words = next(c for c in found if c["type"] == "ProcessLimitsAvailable")
    if words["status"] != "True" and "user namespace" not in words["message"]:
        pytest.skip(words["message"])
    await node.finish(pod("p", python(script)))
    assert await node.log("p") == "stopped 11 True\n"
    await still_well(node)


async def test_a_flood_of_output_is_bounded_and_others_run(node: NodeUnderTest) -> None:
    await node.create(pod("flood", shell("exec yes flooding the log of this container")))
    found = await node.wait("flood", running)
    for _ in range(3):
        await node.finish(pod("quick", shell("echo quick")))
        await node.client.delete(PODS, Key("default", "quick"), grace_seconds=0)
        await node.wait("quick", lambda p: p is None)
    logs = node.directory / "pods" / objects.uid(found) / "logs"
    assert sum(file.stat().st_size for file in logs.rglob("*.log*")) < 25 << 20
    await still_well(node)


async def test_a_small_root_cannot_fill_the_host(node: NodeUnderTest) -> None:
    await node.finish(pod("p", shell("dd if=/dev/zero of=/big bs=1M count=2000 2>&1 | tail -1; ls /big")))
    assert "No space left on device" in await node.log("p") or "MB" in await node.log("p")
    assert not Path("/big").exists()


async def test_closed_pipes_and_signals_at_the_init(node: NodeUnderTest) -> None:
    script = ("exec >&- 2>&- <&-; for s in 1 2 3 10 12 15 17 9 19; do kill -$s 1; done; "
              "i=0; while [ $i -lt 50 ]; do (setsid sleep 1101 &) ; i=$((i+1)); done; exit 9")
    found = await node.finish(pod("p", shell("trap '' HUP INT QUIT USR1 USR2 TERM; " + script)))
    assert terminated(found)["exitCode"] == 9
    assert not [entry for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and b"sleep\x001101" in _command_line(entry)]
    await still_well(node)


async def test_links_in_place_of_what_the_node_reads(node: NodeUnderTest, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("the key")
    script = (f"rm -f /dev/termination-log; ln -sf {secret} /dev/termination-log; ln -s {secret} /tmp/x; "
              f"ln -s {tmp_path} /root/y; cat /tmp/x /root/y/key; mv /dev/stdout /dev/gone; exit 1")
    found = await node.finish(pod("p", shell(script, terminationMessagePolicy="FallbackToLogsOnError")))
    assert "the key" not in str(found)
    assert "the key" not in await node.log("p")
    assert secret.read_text() == "the key"




def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
