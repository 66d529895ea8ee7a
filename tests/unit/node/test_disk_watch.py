"""When a disk is too full."""

from __future__ import annotations

from lightship.cluster.node import disk_watch
from lightship.cluster.node.disk_watch import Disk

GIB = 1 << 30
MIB = 1 << 20


def disk(size_gib: int, free_bytes: int, inodes: int = 1_000_000, free_inodes: int = 1_000_000) -> Disk:
    return Disk(size_bytes=size_gib * GIB, free_bytes=free_bytes, inodes=inodes, free_inodes=free_inodes)


def test_a_large_disk_is_full_below_one_gib_and_a_small_one_below_a_tenth() -> None:
    assert not disk_watch.shortage(disk(1000, 2 * GIB))
    assert "low on resource: ephemeral-storage. Threshold quantity: 1073741824, available: 1048575Ki. " in \
        disk_watch.shortage(disk(1000, GIB - 1))
    assert not disk_watch.shortage(disk(5, 600 * MIB))
    assert disk_watch.shortage(disk(5, 500 * MIB))


def test_inodes_run_out_too_where_they_are_counted() -> None:
    assert "low on resource: inodes" in disk_watch.shortage(disk(1000, 900 * GIB, free_inodes=19_999))
    assert not disk_watch.shortage(disk(1000, 900 * GIB, inodes=0, free_inodes=0))
