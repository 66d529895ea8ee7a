"""What containers use, out of a /proc that is made up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightship.cluster.node import metrics
from lightship.kube.objects import Key
from lightship.testing.clock import FakeClock

TICKS = os.sysconf("SC_CLK_TCK")


class Proc:
    """A /proc with what the measurements read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine(uptime=1000.0, busy=100.0)

    def machine(self, uptime: float, busy: float) -> None:
        (self.root / "uptime").write_text(f"{uptime} 1.0\n")
        (self.root / "stat").write_text(f"cpu  {int(busy * TICKS)} 0 0 5 5 0 0 0 0 0\ncpu0 ...\n")
        (self.root / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")

    def process(self, pid: int, parent: int, seconds: float, pss_kib: int = 100) -> None:
        path = self.root / str(pid)
        path.mkdir(exist_ok=True)
        zeros = " ".join(["0"] * 9)
        (path / "stat").write_text(f"{pid} (a ) b) S {parent} {zeros} {int(seconds * TICKS)} 0 0 0 20 0 1 0 "
                                   f"{900 * TICKS} 4096 25 0\n")
        (path / "smaps_rollup").write_text(f"x\nRss: 9999 kB\nPss: {pss_kib} kB\n")


def measured(proc: Proc, clock: FakeClock, *pids: int) -> metrics.NodeMetrics:
    async def roots() -> Sequence[metrics.Root]:
        return [metrics.Root(pod=Key("default", "p"), labels={}, container=f"c{pid}", pid=pid) for pid in pids]

    return metrics.NodeMetrics("laptop", roots, clock, proc.root)


async def test_a_container_is_all_that_descends_from_its_first_process(tmp_path: Path) -> None:
    proc, clock = Proc(tmp_path), FakeClock()
    proc.process(10, 1, 5.0)
    proc.process(11, 10, 3.0)
    proc.process(12, 11, 2.0)
    proc.process(99, 1, 50.0)
    pod, = await measured(proc, clock, 10).pods()
    assert pod.parts["c10"].nanocores == 10 * metrics.NANOSECONDS // 100, "10 s of CPU in the 100 s that it lives"
    assert pod.parts["c10"].memory_bytes == 300 * 1024


async def test_the_next_sample_tells_of_the_time_since_the_last(tmp_path: Path) -> None:
    proc, clock = Proc(tmp_path), FakeClock()
    proc.process(10, 1, 5.0)
    source = measured(proc, clock, 10, 77)
    await source.pods()
    proc.process(10, 1, 15.0)
    proc.machine(uptime=1020.0, busy=130.0)
    same, = await source.pods()
    assert same.parts["c10"].nanocores == metrics.NANOSECONDS // 20, "the sample is fresh enough to be given again"
    await clock.advance(metrics.FRESH_SECONDS)
    pod, = await source.pods()
    assert (pod.parts["c10"].nanocores, pod.window_seconds) == (metrics.NANOSECONDS // 2, 20.0)
    assert list(pod.parts) == ["c10"], "77 is no process"
    node, = await source.nodes()
    assert node.parts[""].nanocores == 30 * metrics.NANOSECONDS // 20
    assert node.parts[""].memory_bytes == 600 * 1024
