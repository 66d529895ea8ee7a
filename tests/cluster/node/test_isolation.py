# ruff: noqa: ASYNC240, ASYNC110 - the tests look at small things on a local disk
"""What a Pod must not reach: the data directory, other Pods, the host; and that nothing outlives its owner."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from lightship.kube import objects
from lightship.testing.nodes import NodeUnderTest, node_under_test, over, pod, running, shell, terminated


async def test_the_data_directory_is_not_there(node: NodeUnderTest, tmp_path: Path) -> None:
    secret = tmp_path / "data" / "token"
    secret.write_text("the administrator's token")
    secret.chmod(0o600)
    await node.finish(pod("p", shell(f"cat {secret}; ls {tmp_path}/data {tmp_path}; find / -name token -not -path "
                                     "'/proc/*' -not -path '/usr/*' 2>/dev/null; echo done")))
    log = await node.log("p")
    assert "administrator" not in log
    assert log.count("No such file or directory") == 3, log
    assert log.endswith("done\n")


async def test_the_users_home_and_the_hosts_etc_are_not_there(node: NodeUnderTest) -> None:
    home = os.path.expanduser("~")
    await node.finish(pod("p", shell(f"ls -A {home} | grep -v -E '^(.pyenv|.local)$'; cat /etc/shadow; "
                                     "ls /home /work /var/lib /opt; cat /etc/passwd | wc -l")))
    log = await node.log("p")
    assert log.count("No such file or directory") >= 5, log
    assert log.splitlines()[-1] == "2"


async def test_other_pods_files_and_processes_are_not_there(node: NodeUnderTest, tmp_path: Path) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    secretive = shell("echo mine > /v/mine; echo up; exec sleep 1000", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await node.create(pod("victim", secretive, volumes=volumes))
    victim = await node.wait("victim", running)
    pids = _processes("sleep", "1000")
    assert pids
    script = (f"ls /proc | grep -c '^[0-9]'; for p in {' '.join(map(str, pids))}; do kill -9 $p; done; "
              f"cat {tmp_path}/data/node/pods/{objects.uid(victim)}/volumes/v/mine; echo done")
    await node.finish(pod("attacker", shell("trap '' TERM; " + script)))
    log = await node.log("attacker")
    assert log.count("No such process") == len(pids), log
    assert "mine\n" not in log
    assert _processes("sleep", "1000") == pids


async def test_root_in_a_container_cannot_mount_nor_reach_devices(node: NodeUnderTest) -> None:
    script = ("mkdir -p /x; mount -t tmpfs none /x; mount -o remount,rw,bind /usr; umount /usr; mknod /x/d b 254 0; "
              "touch /usr/written; echo 1 > /proc/sys/kernel/panic; hostname changed; ls /dev | sort | tr '\\n' ' '")
    await node.finish(pod("p", shell(script)))
    log = await node.log("p")
    assert not Path("/usr/written").exists()
    assert log.splitlines()[-1].split() == sorted([
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "termination-log", "tty",
        "urandom", "zero"])
    assert log.count("\n") >= 7, log  # each of the seven attempts complained
    assert not os.path.exists("/x")


async def test_nothing_is_made_on_the_host_for_a_mount_point(node: NodeUnderTest) -> None:
    mounts = [{"name": "v", "mountPath": path}
              for path in ("/lightship-test-a/b", "/usr/lightship-test", "/etc/lightship-test")]
    found = await node.finish(pod("p", shell("echo x > /usr/lightship-test/y && cat /lightship-test-a/b/y",
                                             volumeMounts=mounts), volumes=[{"name": "v", "emptyDir": {}}]))
    assert terminated(found)["exitCode"] == 0
    for mount in mounts:
        assert not os.path.exists(mount["mountPath"])
    assert not os.path.exists("/lightship-test-a")


async def test_a_daemon_dies_with_its_container(node: NodeUnderTest) -> None:
    await node.finish(pod("p", shell("setsid sh -c 'trap \"\" HUP TERM; sleep 1001' & sleep 0.2; exit 0")))
    assert _processes("sleep", "1001") == []


async def test_a_daemon_dies_with_a_container_without_namespaces(tmp_path: Path) -> None:
    async with node_under_test(tmp_path / "node", isolate=False) as node:
        assert "switched off" in node.node.isolation.reason
        found = await node.finish(pod("p", shell("setsid sh -c 'trap \"\" HUP TERM; sleep 1002' & sleep 0.2; exit 7")))
        assert terminated(found)["exitCode"] == 7
        assert _processes("sleep", "1002") == []
        await node.create(pod("q", shell("true", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                              volumes=[{"name": "v", "emptyDir": {}}]))
        found = await node.wait("q", lambda p: "this node cannot" in json.dumps(p))
        condition = next(c for c in node.api.all("/api/v1/nodes")[0]["status"]["conditions"]
                         if c["type"] == "IsolationAvailable")
        assert condition["status"] == "False"


async def test_stopping_the_node_ends_everything(tmp_path: Path) -> None:
    async with node_under_test(tmp_path / "node") as node:
        for name in ("a", "b"):
            await node.create(pod(name, shell("trap '' TERM; sleep 1003 & wait; sleep 1003")))
            await node.wait(name, running)
        async with asyncio.timeout(10):
            while len(_processes("sleep", "1003")) < 2:  # a shell that runs has not made its child yet
                await asyncio.sleep(0.02)
    assert _processes("sleep", "1003") == []
    assert _mounts(tmp_path) == []


_CHILD = """
import asyncio, sys
from pathlib import Path
from lightship.testing.nodes import node_under_test, pod, running, shell

async def main():
    async with node_under_test(Path(sys.argv[1]), isolate=sys.argv[2] == "yes") as node:
        await node.create(pod("p", shell("setsid sleep 1004 & exec sleep 1004")))
        await node.wait("p", running)
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_kill_of_the_nodes_process_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, str(tmp_path / "node"), "yes",
                                                   stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    before = _descendants(process.pid)
    assert len(before) >= 3
    assert _processes("sleep", "1004")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await _all_gone(before)
    assert _processes("sleep", "1004") == []
    assert _mounts(tmp_path) == []


async def test_what_ran_in_a_former_life_is_failed_and_swept(tmp_path: Path) -> None:
    async with node_under_test(tmp_path / "node") as node:
        await node.create(pod("p", shell("exec sleep 1005")))
        await node.wait("p", running)
        api = node.api
    stray = tmp_path / "node" / "pods" / "a-pod-that-nobody-knows"
    stray.mkdir()
    async with node_under_test(tmp_path / "node", api=api) as node:
        found = await node.wait("p", over)
        assert objects.status(found)["reason"] == "NodeRestarted"
        assert objects.status(found)["phase"] == "Failed"
        assert not stray.exists()


def _processes(*argv: str) -> list[int]:
    return [pid for pid, words in _command_lines() if words == list(argv)]


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z":
                yield int(entry.name), words


def _descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found: list[int] = []
    layer = [pid]
    while layer:
        layer = [child for child, parent in parents.items() if parent in layer]
        found += layer
    return found


async def _all_gone(pids: list[int]) -> None:
    """Waits for the end of processes that are not ours: by their pidfd where they still are."""
    loop = asyncio.get_running_loop()
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = loop.create_future()
        loop.add_reader(descriptor, ended.set_result, None)
        async with asyncio.timeout(10):
            await ended
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _mounts(directory: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
