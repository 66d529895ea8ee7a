"""What the benchmarks share: a platform in a folder of its own, spreads, versions. The others call me."""

from __future__ import annotations

import json
import platform as machine
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightship import __version__
from lightship.daemon.process import ServerInfo
from lightship.demo.platform import Platform

START_LIMIT_SECONDS = 120
STOP_LIMIT_SECONDS = 60


@contextmanager
def up(data_dir: Path) -> Iterator[ServerInfo]:
    """``lightship up`` in the foreground on free ports, from its first word of being ready until we are done."""
    command = [sys.executable, "-m", "lightship", "up", "--data-dir", str(data_dir), "--port", "0", "--kube-port", "0",
               "--gateway-port", "0", "-o", "json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise SystemExit(f"lightship up ended with {server.wait(timeout=STOP_LIMIT_SECONDS)}; see above")
        yield ServerInfo(**json.loads(line))
    finally:
        server.terminate()
        try:
            server.wait(timeout=STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            raise SystemExit(f"lightship up did not end within {STOP_LIMIT_SECONDS} s of being asked to") from None


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lightship-bench-") as name:
        yield Path(name)


def authenticated(info: ServerInfo) -> Platform:
    """The platform, after it has answered a request with our token on both of its sides."""
    reached = Platform(info)
    reached.kube("/api/v1/namespaces/default")
    reached.rest("/apis/v2beta1/runs?page_size=1")
    return reached


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} (min {low:.{digits}f}, max {high:.{digits}f}, n={len(values)})"


def heading(title: str, *versions: str) -> None:
    cores = len(Path("/proc/cpuinfo").read_text().split("processor\t")) - 1 if Path("/proc/cpuinfo").exists() else "?"
    print(f"{title}\n  Lightship {__version__}, Python {machine.python_version()}, {machine.system()} "
          f"{machine.machine()}, {cores} cores{''.join(', ' + version for version in versions)}")
