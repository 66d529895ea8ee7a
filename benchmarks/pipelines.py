"""Pipelines beside ``kfp.local``: a step warm, cached and cold; a thousand at once; what that costs the server.

``./dev bench pipelines`` runs me. Both sides run the same compiled pipelines in this very run: ours through a platform
of its own, from a run's creation to its end by the run's own record; the peer is ``kfp.local``'s subprocess runner
without venvs, inside an interpreter that has kfp imported. Our first run builds the environment and does not count.
While a thousand steps run, a client asks both APIs twenty times a second, and memory and CPU time are sampled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _bench
import yaml
from _runs import CALM_SECONDS, Runs, memory_bytes, percentile, processor_seconds

from lightship.daemon.process import ServerInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
KFP = "kfp==2.17.0"
CHAIN_STEPS, FAN_OUT_STEPS = 5, 20
WIDE_STEPS = 1000
SCALES = (100, 1000, 5000)
TARGETS = {"warm": 40.0, "cached": 5.0, "cold": 300.0, "list": 50.0, "open": 50.0}
"""Milliseconds."""
TARGET_TASKS_A_SECOND = 30.0
TARGET_MEMORY_MIB = 200.0
SAMPLE_SECONDS = 0.5
ASK_SECONDS = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench pipelines", description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=5, help="runs of each small pipeline (default 5)")
    parser.add_argument("--peer-repeats", type=int, default=2, help="runs of each on the peer's side (default 2)")
    parser.add_argument("--wide", type=int, default=WIDE_STEPS, help=f"steps at once (default {WIDE_STEPS})")
    parser.add_argument("--scales", type=int, nargs="*", default=SCALES, help="cached steps of one run")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    from tests.sdks import sdk_python

    python = sdk_python(KFP, "pip")  # kfp.local asks pip at each step
    with _bench.folder() as home:
        subprocess.run([python, ROOT / "benchmarks" / "_pipelines.py", "compile", home], check=True)
        documents = {file.stem: next(yaml.safe_load_all(file.read_text())) for file in home.glob("*.yaml")}
        results = measure(home / "data", documents, options)
        for name, steps in (("chain", CHAIN_STEPS), ("fan-out", FAN_OUT_STEPS)):
            taken = [peer(python, home, name) for _ in range(options.peer_repeats)]
            results[f"kfp.local {name}"] = [seconds * 1000 / steps for seconds in taken]
    if options.output == "json":
        print(json.dumps(results, indent=1))
    else:
        show(results, options.wide)
    return 0


def measure(data: Path, documents: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Our side, on one data directory: first all that is warm, then a new server for what is cold."""
    results: dict[str, Any] = {}
    with _bench.up(data) as info:
        runs = Runs(info)
        for name, steps, title in (("chain", CHAIN_STEPS, "warm"), ("cached-chain", CHAIN_STEPS, "cached"),
                                   ("fan-out", FAN_OUT_STEPS, "fan-out")):
            results[title] = [runs.seconds(documents[name]) * 1000 / steps for _ in range(options.repeats + 1)][1:]
        if options.wide:
            results |= wide(runs, info, documents["wide"], options.wide)
        if options.scales:
            results["scale"] = scale(runs, info, documents["cached-wide"], options.scales)
    results["cold"] = []
    for _ in range(options.repeats):
        with _bench.up(data) as info:
            time.sleep(CALM_SECONDS)  # the start itself is another benchmark's
            results["cold"].append(Runs(info).seconds(documents["one"]) * 1000)
    return results


def wide(runs: Runs, info: ServerInfo, document: dict[str, Any], steps: int) -> dict[str, Any]:
    """One run of so many steps, watched: tasks a second, how long the APIs take meanwhile, memory."""
    asked = Asker(info)
    memory = Sampler(lambda: memory_bytes(info.pid), SAMPLE_SECONDS)
    before = processor_seconds(info.pid)
    run_id, seconds = runs.finish(document, {"items": items(steps)})
    spent = processor_seconds(info.pid)
    return {
        "tasks_a_second": steps / seconds,
        "server_cpu_ms_a_task": (spent - before) * 1000 / steps,
        "api_ms": asked.stop(),
        "memory_mib": [taken / 2**20 for taken in memory.stop()],
        "list": [runs.timed("?page_size=20") for _ in range(10)],
        "open": [runs.timed(f"/{run_id}") for _ in range(10)],
    }


def scale(runs: Runs, info: ServerInfo, document: dict[str, Any], scales: Sequence[int]) -> dict[str, list[float]]:
    """What a cached task costs in runs of so many: milliseconds from creation to end, and of the server's CPU."""
    runs.finish(document, {"items": items(1)})
    found = {}
    for steps in scales:
        before = processor_seconds(info.pid)
        _, seconds = runs.finish(document, {"items": ["0"] * steps})
        found[str(steps)] = [seconds * 1000 / steps, (processor_seconds(info.pid) - before) * 1000 / steps]
    return found


def items(count: int) -> list[str]:
    return [str(number) for number in range(count)]


class Sampler:
    """Calls ``take`` again and again in a thread of its own, until it is stopped."""

    def __init__(self, take: Callable[[], float], pause_seconds: float) -> None:
        self._take = take
        self._pause = pause_seconds
        self._taken: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[float]:
        self._stop.set()
        self._thread.join()
        return self._taken

    def _run(self) -> None:
        while True:
            self._taken.append(self._take())
            if self._stop.wait(self._pause):
                return


class Asker:
    """Asks both APIs for little, twenty times a second each; keeps the milliseconds they took."""

    def __init__(self, info: ServerInfo) -> None:
        runs = Runs(info)
        self._samplers = {
            "REST": Sampler(lambda: runs.timed("?page_size=1"), ASK_SECONDS),
            "Kubernetes": Sampler(lambda: runs.timed_kube("/api/v1/namespaces/default"), ASK_SECONDS)}

    def stop(self) -> dict[str, list[float]]:
        return {name: sampler.stop() for name, sampler in self._samplers.items()}


def peer(python: Path, home: Path, name: str) -> float:
    """Run the pipeline once with kfp.local; seconds of the pipeline's call alone."""
    done = subprocess.run([python, ROOT / "benchmarks" / "_pipelines.py", "local", home / "peer", name],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"kfp.local failed on {name}:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def show(results: dict[str, Any], steps: int) -> None:
    _bench.heading("pipelines: milliseconds a step, lightweight components", KFP)
    titles = {"warm": "a chain, warm", "cached": "a chain, cached", "cold": "a run of one step, cold, all of it",
              "fan-out": "twenty at once"}
    for name, title in titles.items():
        print(f"  {title:<36}{_bench.spread(results[name], 'ms', 1)}{against(name, results[name])}")
    for ours, theirs in (("warm", "kfp.local chain"), ("fan-out", "kfp.local fan-out")):
        if results[theirs]:
            ratio = statistics.median(results[theirs]) / statistics.median(results[ours])
            print(f"  {theirs:<36}{_bench.spread(results[theirs], 'ms', 1)}: we are {ratio:.1f} times as fast")
    if "tasks_a_second" in results:
        rate = results["tasks_a_second"]
        print(f"  {steps} at once: {rate:.1f} tasks a second; {rate / TARGET_TASKS_A_SECOND:.2f} of the target "
              f"{TARGET_TASKS_A_SECOND:.0f}; {results['server_cpu_ms_a_task']:.1f} ms of the server's CPU a task")
        for name, taken in results["api_ms"].items():
            print(f"    {name} API meanwhile: p50 {percentile(taken, 50):.1f} ms, p99 {percentile(taken, 99):.1f} ms "
                  f"(n={len(taken)})")
        print(f"    server's memory (PSS): at most {max(results['memory_mib']):.0f} MiB; "
              f"target {TARGET_MEMORY_MIB:.0f}")
        for name in ("list", "open"):
            print(f"    {name} it afterwards: {_bench.spread(results[name], 'ms', 1)}{against(name, results[name])}")
    for size, (wall, processor) in results.get("scale", {}).items():
        print(f"  {size:>5} cached steps in one run: {wall:.2f} ms a task, {processor:.2f} ms of the server's CPU")


def against(name: str, values: Sequence[float]) -> str:
    if name not in TARGETS:
        return ""
    return f"; {statistics.median(values) / TARGETS[name]:.2f} of the target {TARGETS[name]:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
