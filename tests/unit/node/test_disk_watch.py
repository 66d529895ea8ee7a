"""When a disk is too full, and which Pod goes first."""

from __future__ import annotations

from typing import Any

from lightship.cluster.node import disk_watch
from lightship.cluster.node.disk_watch import Candidate, Disk

GIB = 1 << 30
MIB = 1 << 20


def disk(size_gib: int, free_bytes: int, inodes: int = 1_000_000, free_inodes: int = 1_000_000) -> Disk:
    return Disk(size_bytes=size_gib * GIB, free_bytes=free_bytes, inodes=inodes, free_inodes=free_inodes)


def candidate(name: str, used_mib: int, *, request: str = "", priority: int = 0) -> Candidate:
    resources: dict[str, Any] = {"requests": {"ephemeral-storage": request}} if request else {}
    return Candidate(used_bytes=used_mib * MIB, pod={
        "metadata": {"name": name, "uid": name},
        "spec": {"priority": priority, "containers": [{"name": "main", "resources": resources}]}})


def chosen(*candidates: Candidate) -> str:
    found = disk_watch.choose(candidates)
    return found.pod["metadata"]["name"] if found is not None else ""


def test_a_large_disk_is_full_below_one_gib_and_a_small_one_below_a_tenth() -> None:
    assert not disk_watch.shortage(disk(1000, 2 * GIB))
    assert "low on resource: ephemeral-storage. Threshold quantity: 1073741824, available: 1048575Ki. " in \
        disk_watch.shortage(disk(1000, GIB - 1))
    assert not disk_watch.shortage(disk(5, 600 * MIB))
    assert disk_watch.shortage(disk(5, 500 * MIB))


def test_inodes_run_out_too_where_they_are_counted() -> None:
    assert "low on resource: inodes" in disk_watch.shortage(disk(1000, 900 * GIB, free_inodes=19_999))
    assert not disk_watch.shortage(disk(1000, 900 * GIB, inodes=0, free_inodes=0))


def test_pods_beyond_their_request_go_first_then_the_least_important_then_the_largest() -> None:
    assert chosen(candidate("within", 900, request="1Gi", priority=-5), candidate("beyond", 20, priority=5)) == "beyond"
    assert chosen(candidate("important", 900, priority=5), candidate("other", 20)) == "other"
    assert chosen(candidate("large", 900, request="890Mi"), candidate("over", 20)) == "over"
    assert chosen(candidate("critical", 900, priority=2_000_000_000), candidate("tiny", 0)) == ""
