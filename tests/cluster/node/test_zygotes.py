"""How long a fork server lives: no longer than it is of use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lightship.cluster.node.processes import ZYGOTE_IDLE_SECONDS, Process, Request, Zygote, ZygoteKey, Zygotes
from lightship.testing.clock import FakeClock, settle, until
from lightship.testing.nodes import NodeUnderTest, pod, shell

KEY = ZygoteKey(python=sys.executable)


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def zygotes(clock: FakeClock) -> AsyncIterator[Zygotes]:
    made = Zygotes(clock)
    yield made
    await made.stop()


async def test_an_idle_node_keeps_no_process_from_its_look_at_the_machine(node: NodeUnderTest) -> None:
    assert node.node.zygote_pids() == []
    await node.finish(pod("one", shell("true")))
    assert len(node.node.zygote_pids()) == 1


async def test_the_first_pods_fork_server_starts_while_its_network_does(
        node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = node.node.network.attach

    async def late(*given: Any, **more: Any) -> Any:
        await until(lambda: len(node.node.zygote_pids()) == 1)
        return await attach(*given, **more)

    monkeypatch.setattr(node.node.network, "attach", late)
    await node.finish(pod("one", shell("true")))
    assert len(node.node.zygote_pids()) == 1, "and no other was started"


async def test_one_that_is_idle_for_long_ends_and_the_next_use_starts_another(
        zygotes: Zygotes, clock: FakeClock) -> None:
    first = await zygotes.get(KEY)
    await clock.advance(ZYGOTE_IDLE_SECONDS - 1)
    assert await zygotes.get(KEY) is first
    await clock.advance(ZYGOTE_IDLE_SECONDS - 1)
    assert zygotes.pids() == [first.pid]
    await clock.advance(2)
    assert zygotes.pids() == []
    second = await zygotes.get(KEY)
    assert second is not first
    assert not second.dead


async def test_one_that_was_killed_is_started_again(zygotes: Zygotes) -> None:
    first = await zygotes.get(KEY)
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: not zygotes.pids())
    second, third = await asyncio.gather(zygotes.get(KEY), zygotes.get(KEY))
    assert second is third
    assert zygotes.pids() == [second.pid]
    await first.stop()


async def test_one_whose_container_runs_is_left_alone_and_nothing_wakes_for_it(
        zygotes: Zygotes, clock: FakeClock) -> None:
    zygote = await zygotes.get(KEY)
    process = _sleep(zygote)
    assert await process.started
    await clock.advance(3 * ZYGOTE_IDLE_SECONDS)
    assert not zygote.dead
    assert clock.sleepers == 0
    process.kill()
    await process.wait()
    await settle()
    assert not zygote.dead  # its time begins when it has become idle
    await clock.advance(ZYGOTE_IDLE_SECONDS + 1)
    await until(lambda: zygote.dead)


def _sleep(zygote: Zygote) -> Process:
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        return zygote.spawn("sleeper", Request(sandbox=None, env={}, workdir="/", argv=("/bin/sleep", "60")), null)
    finally:
        os.close(null)


async def test_a_fork_server_keeps_nothing_of_a_pods_secrets(node: NodeUnderTest) -> None:
    needle = "needle-" + "7f3a" * 4
    await node.finish(pod("p", shell("echo $SECRET", env=[{"name": "SECRET", "value": needle}])))
    assert await node.log("p") == needle + "\n"
    for pid in node.node.zygote_pids():
        assert needle.encode() not in memory_of(pid), "a later child would begin with it"


def memory_of(pid: int) -> bytes:
    """What a process can write to, all of it."""
    found = b""
    with open(f"/proc/{pid}/maps") as lines, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in lines:
            place, flags, *_ = line.split()
            if flags.startswith("rw"):
                start, end = (int(part, 16) for part in place.split("-"))
                memory.seek(start)
                found += memory.read(end - start) or b""
    return found
