"""Control groups on a fake tree: which files hold which limits, in both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightship.cluster.node.cgroups import Groups, Limits

LIMITS = Limits(memory_bytes=64 << 20, processes=100, cpu_millis=1500, cpu_request_millis=500)


def test_version_two_moves_the_server_into_a_leaf(tmp_path: Path) -> None:
    (tmp_path / "mount" / "user").mkdir(parents=True)
    parent = tmp_path / "mount" / "user"
    (tmp_path / "mount" / "cgroup.controllers").write_text("cpu memory pids")
    (parent / "cgroup.controllers").write_text("cpu memory pids\n")
    (parent / "cgroup.procs").write_text("12\n")
    (parent / "cgroup.subtree_control").write_text("")
    (tmp_path / "own").write_text("0::/user\n")
    groups = Groups("x", tmp_path / "mount", tmp_path / "own")
    assert (parent / "lightship-x-server" / "cgroup.procs").read_text() == "12"
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    (parent / "cgroup.subtree_control").write_text("cpu memory pids")  # as the kernel reads it back
    assert groups.controllers == {"memory", "pids", "cpu"}
    group = groups.make("pod-main-0", LIMITS)
    assert group is not None
    files = {path.name: path.read_text() for path in (parent / "lightship-x" / "pod-main-0").iterdir()}
    assert files == {"memory.max": str(64 << 20), "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "100",
                     "cpu.max": "150000 100000", "cpu.weight": "50"}
    assert not group.oom_killed()
    (group.paths[0] / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.oom_killed()


async def test_a_tree_that_is_not_ours_gives_no_limits(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "own").write_text("0::/gone\n")
    groups = Groups("x", tmp_path, tmp_path / "own")
    assert groups.controllers == frozenset()
    assert groups.make("a", LIMITS) is None
    await groups.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="version 1 is for root")
def test_version_one_has_a_directory_a_controller(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "here").mkdir(parents=True)
    (tmp_path / "own").write_text("4:memory:/here\n8:pids:/here\n1:cpu,cpuacct:/\n")
    groups = Groups("x", tmp_path, tmp_path / "own")
    assert groups.controllers == {"memory", "pids"}
    group = groups.make("a", LIMITS)
    assert group is not None
    assert sorted(str(path.relative_to(tmp_path)) for path in group.paths) == [
        "memory/here/lightship-x/a", "pids/here/lightship-x/a"]
    assert (tmp_path / "memory/here/lightship-x/a/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert groups.make("b", Limits()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="version 1 is for root")
def test_a_container_that_asks_for_no_cpu_has_the_least_share_of_it(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "own").write_text("1:cpu:/\n")
    groups = Groups("x", tmp_path, tmp_path / "own")
    for limits, shares in ((Limits(), "2"), (Limits(cpu_request_millis=500), "512")):
        group = groups.make(shares, limits)
        assert group is not None
        assert (group.paths[0] / "cpu.shares").read_text() == shares


@pytest.mark.skipif(os.geteuid() != 0, reason="version 1 is for root")
async def test_what_a_dead_node_left_is_removed_and_a_live_ones_is_not(tmp_path: Path) -> None:
    (tmp_path / "pids" / "lightship-dead" / "pod-main-0").mkdir(parents=True)
    (tmp_path / "pids" / "somebody-elses").mkdir()
    (tmp_path / "own").write_text("1:pids:/\n")
    live = Groups("live", tmp_path, tmp_path / "own")
    made = live.make("a", Limits(processes=5))
    assert made is not None
    (made.paths[0] / "pids.max").unlink()  # the kernel's own files do not keep a group
    made.remove()  # between two containers the live one's is as empty as the dead one's
    Groups("next", tmp_path, tmp_path / "own").sweep_strangers()
    assert sorted(path.name for path in (tmp_path / "pids").iterdir()) == ["lightship-live", "somebody-elses"]
    await live.close()
    assert not (tmp_path / "pids" / "lightship-live").exists()
