"""How long ``lightship up`` takes until it answers with every controller synced, and what it then holds in memory.

``./dev bench startup`` runs me. The clock runs from exec of a new Python to the first authenticated answer of both APIs
after the server called itself ready, which it does once all controllers have synced. Memory is PSS, from the kernel's
``smaps_rollup`` of every process of the server's tree. First start makes a data directory; second finds one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import _bench

from lightship.daemon import process

TARGET_SECONDS = 1.5
TARGET_PSS_MB = 150
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    start: str
    seconds: float
    pss_mb: float
    processes: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench startup", description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=5, help="data directories made afresh (default 5)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    samples: list[Sample] = []
    for _ in range(options.repeats):
        with _bench.folder() as data_dir:
            samples += [measure("first", data_dir), measure("second", data_dir)]
    if options.output == "json":
        print(json.dumps([asdict(sample) for sample in samples], indent=1))
        return 0
    _bench.heading("startup: exec of `lightship up` to the first authenticated answer, all controllers synced")
    for start in ("first", "second"):
        chosen = [sample for sample in samples if sample.start == start]
        seconds, memory = [sample.seconds for sample in chosen], [sample.pss_mb for sample in chosen]
        counts = sorted({sample.processes for sample in chosen})
        print(f"  {start:<7}{_bench.spread(seconds, 's')}; {statistics.median(seconds) / TARGET_SECONDS:.2f} of the "
              f"target {TARGET_SECONDS} s")
        print(f"         {_bench.spread(memory, 'MB PSS', 0)}; {statistics.median(memory) / TARGET_PSS_MB:.2f} of the "
              f"target {TARGET_PSS_MB} MB; processes: {', '.join(map(str, counts))}")
    return 0


def measure(start: str, data_dir: Path) -> Sample:
    began = time.monotonic()
    with _bench.up(data_dir) as info:
        _bench.authenticated(info)
        seconds = time.monotonic() - began
        if not process.is_ready(info):
            raise SystemExit("the server said that it was ready, and its /healthz does not")
        time.sleep(SETTLE_SECONDS)
        family = tree(info.pid)
        return Sample(start=start, seconds=seconds, pss_mb=sum(map(pss_mb, family)), processes=len(family))


def tree(root: int) -> list[int]:
    """``root`` and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
