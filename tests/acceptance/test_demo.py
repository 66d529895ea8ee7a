"""The main job, whole: ``lightship demo`` on a fresh data directory, again from the cache, kept up, and not blessed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS = 600
ALWAYS_RUN = {"register", "deploy", "predict"}
STEPS = 11


class Demo:
    """Runs the command in a home of its own, on free ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTSHIP_")}
        self.environment = environment | {
            "HOME": str(home), "LIGHTSHIP_DATA_DIR": str(self.data), "LIGHTSHIP_PORT": "0",
            "LIGHTSHIP_KUBE_PORT": "0", "LIGHTSHIP_GATEWAY_PORT": "0"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "lightship", *words], env=self.environment, text=True,
                              capture_output=True, timeout=TIMEOUT_SECONDS, check=False)

    def demo(self, *words: str) -> dict[str, Any]:
        done = self.run("demo", "-o", "json", *words)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.server_log()}"
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def server_log(self) -> str:
        log = self.data / "logs" / "server.log"
        return log.read_text()[-4000:] if log.exists() else ""

    def processes(self) -> list[str]:
        """Command lines of processes that still know our data directory."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                environment = (place / "environ").read_bytes()
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(self.data).encode() in environment + line.encode() and line:
                found.append(line)
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("home"))
    uv_cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    made.environment["UV_CACHE_DIR"] = str(uv_cache)
    yield made
    made.run("down")


@pytest.mark.timeout(900)
def test_the_whole_job_then_the_cache_then_the_curl(demo: Demo) -> None:
    first = demo.demo()
    assert first["accuracy"] > 0.9
    assert first["servedAccuracy"] == first["accuracy"]
    assert first["servedRows"] == 114
    assert first["answer"] == [0, 1, 1]
    assert (first["modelVersion"], first["cached"], first["kept"]) == ("1", [], False)
    assert demo.run("status").returncode == 3
    assert demo.processes() == []

    second = demo.demo("--keep")
    assert len(second["cached"]) == STEPS - len(ALWAYS_RUN)
    assert not ALWAYS_RUN & set(second["cached"])
    assert (second["modelVersion"], second["accuracy"]) == ("2", first["accuracy"])
    assert second["kept"] and demo.run("status").returncode == 0

    asked = subprocess.run(["bash", "-c", second["curl"]], capture_output=True, text=True, check=True)
    assert json.loads(asked.stdout)["predictions"] == second["answer"]
    refused = subprocess.run(["bash", "-c", second["curl"].replace("Bearer $(", "Bearer x$(")], capture_output=True,
                             text=True, check=True)
    assert "predictions" not in refused.stdout
    assert demo.run("down").returncode == 0
    assert demo.processes() == []


@pytest.mark.timeout(900)
def test_a_candidate_that_is_not_good_enough_is_not_deployed_and_the_demo_fails(demo: Demo) -> None:
    done = demo.run("demo", "--minimum-accuracy", "1.1")
    assert done.returncode == 1
    assert "these steps did not run: register, deploy, predict" in done.stderr
    assert "no candidate was blessed" in done.stderr
    assert demo.run("status").returncode == 3


@pytest.mark.timeout(900)
def test_a_demo_that_is_ended_stops_the_platform_it_started(demo: Demo) -> None:
    running = subprocess.Popen([sys.executable, "-m", "lightship", "demo", "--no-cache"], env=demo.environment,
                               stdout=subprocess.PIPE, text=True)
    assert running.stdout
    for line in running.stdout:
        if "running" in line or "cache" in line:
            break
    assert "ingest" in line and "running" in line, "a step came from the cache in spite of --no-cache"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=TIMEOUT_SECONDS)
    assert running.returncode == 130
    assert demo.run("status").returncode == 3
    assert demo.processes() == []
