# ruff: noqa: ASYNC240 - the tests look at small things on a local disk
"""kill -9 of the node while Pods start, run and end, again and again: nothing is left, and the next life is clean.

``LIGHTSHIP_KILLS`` says how often in the long test.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import select
import signal
import sys
from pathlib import Path

import pytest

from lightship.testing.nodes import node_under_test, pod, shell, terminated

KILLS = 4
LONG = int(os.environ.get("LIGHTSHIP_KILLS", "100"))
GENERATIONS = 3
MARK = "2718281"

_CHILD = f"""
import asyncio, itertools, sys
from pathlib import Path
from lightship.testing.nodes import node_under_test, over, pod, shell

async def main():
    async with node_under_test(Path(sys.argv[1]), isolate=sys.argv[2] == "yes") as node:
        await node.create(pod("long", shell("setsid sleep {MARK} & (sleep {MARK} &) ; trap '' TERM; sleep {MARK}"),
                              shell("exec sleep {MARK}", name="other", resources={{"limits": {{"memory": "32Mi"}}}})))
        print("up", flush=True)
        for number in itertools.count():
            await node.finish(pod(f"short{{number}}", shell("sleep {MARK} & true")))

asyncio.run(main())
"""


async def kill_in_a_loop(directory: Path, isolate: bool, count: int, seed: int) -> None:
    moments = random.Random(seed)
    before, left = _namespaces(), set(_groups(directory))  # a run that was aborted may have left some elsewhere
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CHILD, str(directory), "yes" if isolate else "no", stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        await asyncio.sleep(moments.random() * 0.5)  # any moment: that is the point
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.to_thread(_until_quiet)
        assert not [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
        assert _namespaces() <= before
    await asyncio.to_thread(_until_quiet)
    async with node_under_test(directory, isolate=isolate) as node:
        assert terminated(await node.finish(pod("clean", shell("exit 3"))))["exitCode"] == 3
        assert [entry.name for entry in (directory / "pods").iterdir()] != []
    assert set(_groups(directory)) <= left


@pytest.mark.parametrize("isolate", [True, False])
async def test_nothing_outlives_a_killed_node(tmp_path: Path, isolate: bool) -> None:
    await kill_in_a_loop(tmp_path / "node", isolate, KILLS, seed=11)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("isolate", [True, False])
async def test_nothing_outlives_a_node_killed_very_often(tmp_path: Path, isolate: bool) -> None:
    await kill_in_a_loop(tmp_path / "node", isolate, LONG, seed=12)


def _marked() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if MARK.encode() in (entry / "cmdline").read_bytes().split(b"\0")[1:2]:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _until_quiet() -> None:
    """Waits for the end of each process that the node left behind, and of what such made last; it comes by itself."""
    for _ in range(GENERATIONS):
        left = _marked()
        if not left:
            return
        for pid in left:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            ready, _, _ = select.select([descriptor], [], [], 10)
            os.close(descriptor)
            assert ready, f"process {pid} outlives its node"
    raise AssertionError(f"processes outlive their node: {_marked()}")


def _namespaces() -> set[str]:
    """PID namespaces but our own in which something of ours runs; other tests of the machine have theirs."""
    found = set()
    for pid in _marked():
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/pid"))
        except OSError:
            continue
    return found - {os.readlink("/proc/self/ns/pid")}


def _groups(directory: Path) -> list[Path]:
    name = "lightship-" + hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    return [path for path in Path("/sys/fs/cgroup").glob(f"*/**/{name}") if path.is_dir()]
