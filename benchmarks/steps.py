"""Seconds a step: a chain of five lightweight components, and a fan-out of a hundred, against kfp.local.

``./dev bench steps`` runs me. Both sides run the same compiled pipelines in this very run, with nothing cached: ours
through a platform of its own, from the run's creation to its end; the peer is ``kfp.local``'s subprocess
runner without venvs, inside an interpreter that has kfp imported. Our first
run builds the environment and does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import _bench
import yaml

from lightship.demo.platform import RUNS, Platform

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
KFP = "kfp==2.17.0"
STEPS = {"chain": 5, "fan-out": 100}
TARGET_SECONDS_A_STEP = 0.1
RUN_LIMIT_SECONDS = 300
POLL_SECONDS = 0.1
ENDED = ("SUCCEEDED", "FAILED", "CANCELED")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench steps", description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=5, help="runs of each pipeline on our side (default 5)")
    parser.add_argument("--peer-repeats", type=int, default=2, help="runs of each on the peer's side (default 2)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    from tests.sdks import sdk_python

    python = sdk_python(KFP, "pip")  # kfp.local asks pip at each step
    results: dict[str, dict[str, list[float]]] = {}
    with _bench.folder() as home:
        subprocess.run([python, ROOT / "benchmarks" / "_pipelines.py", "compile", home], check=True)
        with _bench.up(home / "data") as info:
            platform = _bench.authenticated(info)
            for name, count in STEPS.items():
                document = next(yaml.safe_load_all((home / f"{name}.yaml").read_text()))
                taken = [run(platform, document) / count for _ in range(options.repeats + 1)]
                results[name] = {"lightship": taken[1:]}
        for name, count in STEPS.items():
            results[name]["kfp.local"] = [peer(python, home, name) / count for _ in range(options.peer_repeats)]
    if options.output == "json":
        print(json.dumps(results, indent=1))
        return 0
    _bench.heading("steps: seconds a step, lightweight components, nothing cached", KFP)
    for name, sides in results.items():
        for side, values in sides.items():
            print(f"  {name:<8} {side:<10} {_bench.spread(values, 's a step', 3)}")
        ours, theirs = (statistics.median(values) for values in sides.values())
        print(f"  {name:<8} {theirs / ours:.1f} times as fast as kfp.local; {ours / TARGET_SECONDS_A_STEP:.2f} of the "
              f"target {TARGET_SECONDS_A_STEP} s")
    return 0


def run(platform: Platform, document: dict[str, Any]) -> float:
    """Run the pipeline once on the platform; seconds from its creation to its end, by the run's own record.

    The list is polled and not the run, whose tasks would make the question dearer than many a step.
    """
    began = time.monotonic()
    made = post(platform, RUNS, {"display_name": document["pipelineInfo"]["name"], "pipeline_spec": document})
    while (record := newest(platform))["run_id"] == made["run_id"] and record["state"] not in ENDED:
        if time.monotonic() - began > RUN_LIMIT_SECONDS:
            raise SystemExit(f"the run {made['run_id']} did not end within {RUN_LIMIT_SECONDS} s")
        time.sleep(POLL_SECONDS)
    if record["state"] != "SUCCEEDED":
        raise SystemExit(f"the run {made['run_id']} ended {record['state']}: {record.get('error')}")
    created, finished = (datetime.fromisoformat(record[key]) for key in ("created_at", "finished_at"))
    return (finished - created).total_seconds()


def newest(platform: Platform) -> Any:
    return platform.rest(f"{RUNS}?page_size=1&sort_by=created_at%20desc")["runs"][0]


def post(platform: Platform, path: str, body: Any) -> Any:
    headers = {"authorization": f"Bearer {platform.token}", "content-type": "application/json"}
    request = urllib.request.Request(platform.info.url + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def peer(python: Path, home: Path, name: str) -> float:
    """Run the pipeline once with kfp.local; seconds of the pipeline's call alone."""
    done = subprocess.run([python, ROOT / "benchmarks" / "_pipelines.py", "local", home / "peer", name],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"kfp.local failed on {name}:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
