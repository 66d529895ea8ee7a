"""A training's start: two torch ranks from create to their first all-reduce, against plain pythons by hand.

``./dev bench training`` runs me, against a platform of its own. Both sides run one script with one interpreter, that of
the environment which the node has built for the shipped runtime's image: ours as a TrainJob of two nodes, the peer as
two child processes with RANK, WORLD_SIZE and MASTER_ADDR set. Pairs are interleaved, and who goes first alternates.
Warm is the usual case; for cold pairs the environment's files are dropped from the page cache before each side. The
time is that of the later rank, by the machine's clock.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _bench
import pods

TARGET_RATIO = 1.2
WAIT_LIMIT_SECONDS = 600
"""The first job builds an environment with torch in it."""
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainjobs"
SCRIPT = """
import time
began = time.time()
import os
import torch
import torch.distributed as dist
imported = time.time()
for name, other in (("RANK", "PET_NODE_RANK"), ("WORLD_SIZE", "PET_NNODES"), ("MASTER_ADDR", "PET_MASTER_ADDR"),
                    ("MASTER_PORT", "PET_MASTER_PORT")):
    os.environ.setdefault(name, os.environ.get(other, ""))
dist.init_process_group(backend="gloo")
value = torch.ones(1)
dist.all_reduce(value)
reduced = time.time()
assert value.item() == 2
print("times", began, imported, reduced, torch.__version__, flush=True)
dist.barrier()
dist.destroy_process_group()
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench training", description=__doc__)
    parser.add_argument("-n", "--pairs", type=int, default=20, help="warm pairs (default 20)")
    parser.add_argument("--cold", type=int, default=20, help="cold pairs (default 20)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with _bench.folder() as data_dir, _bench.up(data_dir) as info:
        api = pods.Api(info)
        began = time.perf_counter()
        first = job(api, "first")
        build_seconds = time.perf_counter() - began
        environment = environment_of(data_dir)
        python = environment / "bin" / "python3"
        by_hand(python)
        results: dict[str, Any] = {
            "isolation": pods.isolation(api), "load": os.getloadavg()[0], "torch": first["torch"],
            "build_s": build_seconds, "warm": pairs(api, python, options.pairs, "warm"),
            "cold": pairs(api, python, options.cold, "cold", environment)}
    if options.output == "json":
        print(json.dumps(results, indent=1))
    else:
        show(results)
    return 0


def show(results: Mapping[str, Any]) -> None:
    _bench.heading("training: 2 torch ranks from create to the first all-reduce, against pythons with RANK by hand",
                   f"torch {results['torch']}")
    print(f"  isolation: {results['isolation']}; load of the machine {results['load']:.1f}")
    print(f"  the very first job, its environment built from cached wheels: {results['build_s']:.1f} s")
    for title, found in (("warm", results["warm"]), ("cold", results["cold"])):
        if not found["ours"]:
            continue
        ratios = [ours["total"] / plain["total"] for ours, plain in zip(found["ours"], found["plain"], strict=True)]
        print(f"  {title}: ours {_bench.spread([one['total'] for one in found['ours']], 's')}; "
              f"plain {_bench.spread([one['total'] for one in found['plain']], 's')}")
        print(f"    ratio of a pair {_bench.spread(ratios, 'x')}; ratio of the medians "
              f"{_ratio(found):.2f}; the target is {TARGET_RATIO}")
        for part in ("start", "import", "meet"):
            print(f"    {part}: ours {_bench.spread([one[part] for one in found['ours']], 's')}; "
                  f"plain {_bench.spread([one[part] for one in found['plain']], 's')}")


def _ratio(found: Mapping[str, Sequence[Mapping[str, float]]]) -> float:
    ours, plain = (statistics.median(one["total"] for one in found[side]) for side in ("ours", "plain"))
    return ours / plain


def pairs(api: pods.Api, python: Path, count: int, name: str, drop: Path | None = None) -> dict[str, list[Any]]:
    """``count`` runs of either side in turn; ``drop`` is a folder to drop from the page cache before each."""
    found: dict[str, list[Any]] = {"ours": [], "plain": []}
    for number in range(count):
        for side in ("ours", "plain") if number % 2 else ("plain", "ours"):
            if drop is not None:
                forget(drop)
            found[side].append(job(api, f"{name}-{number}") if side == "ours" else by_hand(python))
    return found


def job(api: pods.Api, name: str) -> dict[str, Any]:
    """One TrainJob: its parts in seconds. Raises ``SystemExit`` where it fails."""
    body = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": name}, "spec": {
        "runtimeRef": {"name": "torch-distributed"},
        "trainer": {"numNodes": 2, "command": ["python3", "-c", SCRIPT]}}}
    began = time.time()
    made = api.ask("POST", JOBS, body)
    query = (f"watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={made['metadata']['resourceVersion']}"
             f"&timeoutSeconds={WAIT_LIMIT_SECONDS}")
    ended = ""
    with api.watch(f"{JOBS}?{query}") as events:
        for line in events:
            told = json.loads(line)["object"].get("status", {}).get("conditions", ())
            ended = next((one["type"] for one in told if one["status"] == "True"
                          and one["type"] in ("Complete", "Failed")), "")
            if ended:
                break
    said = logs(api, name)
    if ended != "Complete":
        raise SystemExit(f"the TrainJob {name} ended as {ended or 'nothing'}: {said}")
    api.ask("DELETE", f"{JOBS}/{name}")
    return parts(began, said)


def logs(api: pods.Api, name: str) -> list[str]:
    found = api.ask("GET", f"/api/v1/namespaces/default/pods?labelSelector=jobset.sigs.k8s.io/jobset-name={name}")
    said = []
    for pod in found["items"]:
        with api.watch(f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log") as answer:
            said += answer.read().decode(errors="replace").splitlines()
    return said


def by_hand(python: Path) -> dict[str, Any]:
    """Two plain interpreters: their parts in seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"PATH": os.environ["PATH"], "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    began = time.time()
    ranks = [subprocess.Popen([str(python), "-c", SCRIPT], stdout=subprocess.PIPE, text=True,
                              env=common | {"RANK": str(rank)}) for rank in range(2)]
    said = [line for rank in ranks for line in rank.communicate(timeout=WAIT_LIMIT_SECONDS)[0].splitlines()]
    return parts(began, said)


def parts(began: float, said: Sequence[str]) -> dict[str, Any]:
    """From both ranks' lines: until the interpreters run, importing torch, and until the sum; of the later rank."""
    lines = [line.split() for line in said if line.startswith("times ")]
    if len(lines) != 2:
        raise SystemExit(f"not both ranks told their times: {said}")
    ran, imported, reduced = (max(float(line[place]) for line in lines) for place in (1, 2, 3))
    return {"total": reduced - began, "start": ran - began, "import": imported - ran, "meet": reduced - imported,
            "torch": lines[0][4]}


def environment_of(data_dir: Path) -> Path:
    """The one environment that the platform has built."""
    found = [path for path in data_dir.glob("**/environments/*") if (path / "bin" / "python3").exists()]
    if len(found) != 1:
        raise SystemExit(f"there are {len(found)} environments in {data_dir}, where the runtime's alone should be")
    return found[0]


def forget(directory: Path) -> None:
    """Drops the files of a folder from the page cache."""
    for place, _, files in os.walk(directory):
        for file in files:
            try:
                descriptor = os.open(os.path.join(place, file), os.O_RDONLY)
            except OSError:
                continue  # a link to what is not there
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
