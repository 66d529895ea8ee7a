"""When memory is short, on a machine and in a control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightship.cluster.node import memory_pressure, pressure
from lightship.cluster.node.memory_pressure import Memory, MemoryPressure
from lightship.cluster.node.metrics import Root
from lightship.testing.clock import FakeClock

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(("size", "least"), [
    (1 * GIB, 100 * MIB), (4 * GIB, 100 * MIB), (16 * GIB, 16 * GIB // 50), (1024 * GIB, GIB)])
def test_pressure_begins_at_kubelets_threshold_or_a_share_of_a_larger_machine(size: int, least: int) -> None:
    enough, short = Memory(size_bytes=size, available_bytes=least), Memory(size_bytes=size, available_bytes=least - 1)
    assert not memory_pressure.shortage(enough)
    assert memory_pressure.shortage(short) == (
        f"The node was low on resource: memory. Threshold quantity: {least}, available: {(least - 1) >> 10}Ki. ")
    assert enough.near
    assert not Memory(size_bytes=size, available_bytes=4 * least).near
    assert not memory_pressure.shortage(None), "nobody tells"


def machine(root: Path, *, available_mib: int = 8000, own: str = "") -> tuple[Path, Path]:
    """A ``/proc`` and a place for control groups."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "groups").mkdir()
    (root / "proc" / "meminfo").write_text(
        f"MemTotal:       {16000 << 10} kB\nMemFree: 1 kB\nMemAvailable: {available_mib << 10} kB\nHugePages_Free: 0\n")
    (root / "proc" / "self" / "cgroup").write_text(own)
    return root / "proc", root / "groups"


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text + "\n")


def test_the_machine_counts_where_no_group_is_limited(tmp_path: Path) -> None:
    found = memory_pressure.look_at(*machine(tmp_path))
    assert found == Memory(size_bytes=16000 * MIB, available_bytes=8000 * MIB)
    assert memory_pressure.look_at(tmp_path / "nothing", tmp_path) is None


def test_the_tightest_group_around_this_process_counts_in_version_2(tmp_path: Path) -> None:
    proc, groups = machine(tmp_path, own="0::/outer/inner/lightship-server\n")
    write(groups, cgroup__controllers="memory")
    write(groups / "outer", memory__max=str(3000 * MIB), memory__current=str(2900 * MIB),
          memory__stat=f"active_file {5 * MIB}\ninactive_file {200 * MIB}")
    write(groups / "outer/inner", memory__max=str(2000 * MIB), memory__current=str(10 * MIB),
          memory__stat="inactive_file 0")
    write(groups / "outer/inner/lightship-server", memory__max="max", memory__current="1", memory__stat="")
    assert memory_pressure.look_at(proc, groups) == Memory(size_bytes=2000 * MIB, available_bytes=300 * MIB)


def test_a_group_counts_in_version_1(tmp_path: Path) -> None:
    proc, groups = machine(tmp_path, own="5:pids:/\n4:memory:/service\n0::/\n")
    write(groups / "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="1", memory__stat="")
    write(groups / "memory/service", memory__limit_in_bytes=str(500 * MIB), memory__usage_in_bytes=str(600 * MIB),
          memory__stat=f"inactive_file 1\ntotal_inactive_file {50 * MIB}")
    assert memory_pressure.look_at(proc, groups) == Memory(size_bytes=500 * MIB, available_bytes=0)


async def test_it_looks_every_second_only_while_memory_is_nearly_short() -> None:
    watch = MemoryPressure(_nothing_runs, list, _nothing, FakeClock())
    for available, seconds in ((8 * GIB, pressure.LOOK_SECONDS), (GIB, 1.0), (8 * GIB, pressure.LOOK_SECONDS)):
        watch.look = lambda available=available: Memory(  # type: ignore[misc]
            size_bytes=16 * GIB, available_bytes=available)
        await watch.pass_once()
        assert watch.look_seconds == seconds


async def _nothing_runs() -> list[Root]:
    return []


async def _nothing() -> None:
    """Nobody is told."""
