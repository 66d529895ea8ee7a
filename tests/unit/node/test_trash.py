"""What ended Pods leave: deleted when the node is quiet, at once where much has gathered, and after a kill."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lightship.cluster.node import trash
from lightship.cluster.node.trash import Trash
from lightship.lib import tasks
from lightship.testing.clock import FakeClock


def _made(folder: Path, name: str) -> Path:
    (folder / name / "deep").mkdir(parents=True)
    (folder / name / "deep" / "file").write_text("x")
    return folder / name


@asynccontextmanager
async def _running(folder: Path, clock: FakeClock) -> AsyncIterator[Trash]:
    bin_ = Trash(folder / "trash", clock)
    bin_.start()
    running = asyncio.create_task(bin_.run())
    try:
        yield bin_
    finally:
        await tasks.cancel(running)


async def _left(folder: Path, clock: FakeClock, seconds: float, expected: int) -> int:
    await clock.advance(seconds)
    async with asyncio.timeout(10):
        while (left := len(list((folder / "trash").iterdir()))) != expected:
            await asyncio.to_thread(os.sched_yield)  # the deletion is in a thread, too
    return left


async def test_it_waits_for_a_quiet_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "LEAST_FREE_FRACTION", 0.0)
    clock = FakeClock()
    async with _running(tmp_path, clock) as bin_:
        bin_.put(_made(tmp_path, "a"))
        bin_.put(tmp_path / "none")
        assert not (tmp_path / "a").exists()
        await clock.advance(trash.QUIET_SECONDS - 1)
        bin_.put(_made(tmp_path, "b"))
        assert await _left(tmp_path, clock, 1.5, 2) == 2, "the second began the wait anew"
        assert await _left(tmp_path, clock, trash.QUIET_SECONDS, 0) == 0


async def test_it_does_not_wait_when_much_has_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "LEAST_FREE_FRACTION", 0.0)
    monkeypatch.setattr(trash, "LIMIT_HELD_DIRECTORIES", 2)
    clock = FakeClock()
    async with _running(tmp_path, clock) as bin_:
        for name in "abc":
            bin_.put(_made(tmp_path, name))
        assert await _left(tmp_path, clock, 0, 2) == 2


async def test_it_does_not_wait_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "LEAST_FREE_FRACTION", 2.0)
    clock = FakeClock()
    async with _running(tmp_path, clock) as bin_:
        bin_.put(_made(tmp_path, "a"))
        assert await _left(tmp_path, clock, 0, 0) == 0


async def test_the_next_life_deletes_what_a_killed_node_left(tmp_path: Path) -> None:
    _made(tmp_path / "trash", "left")
    clock = FakeClock()
    async with _running(tmp_path, clock):
        assert await _left(tmp_path, clock, trash.QUIET_SECONDS, 0) == 0
