"""The model server beside KServe's and MLServer's: the same models, the same client, one run, logs off.

``./dev bench serving`` runs me; ``wrk`` drives (``apt-get install wrk``) and must not be the bottleneck: its ceiling,
against constant bytes, is printed too. Since client and server share the machine's cores, the CPU time a request is the
robust column. Peers run in environments of their own, made on first use; those that cannot be made are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _bench

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

KSERVE = ("kserve==0.21.0",)
MLSERVER = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1")
ROW = [5.1, 3.5, 1.4, 0.2]
V1_BODY = json.dumps({"instances": [ROW]})
V2_BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]})
V1_PATH, V2_PATH = "/v1/models/m:predict", "/v2/models/m/infer"
START_LIMIT_SECONDS = 60
TARGETS = {"lr": 4.0, "rf": 5.0}
TARGET_OVERHEAD_MS = 0.15
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server: how it is started on a port for a model's folder, and what it is asked."""

    name: str
    command: Callable[[int, Path], Sequence[str]]
    path: str = V1_PATH
    body: str = V1_BODY
    models: Sequence[str] = ("lr", "rf")
    environ: Callable[[int, Path], dict[str, str]] = lambda port, folder: {}


@dataclass
class Result:
    """All rounds of one contender with one model."""

    runs: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    start_s: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)

    def median(self, connections: int, name: str) -> float:
        return statistics.median(run[name] for run in self.runs[connections])


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench serving", description=__doc__)
    parser.add_argument("-n", "--rounds", type=int, default=3)
    parser.add_argument("-s", "--seconds", type=int, default=5, help="of load at each number of connections")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--only", nargs="*", help="contenders by name")
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing (apt-get install wrk)")
    import sklearn

    _bench.heading("Model servers, one row a request", f"scikit-learn {sklearn.__version__}", "wrk, one thread")
    with _bench.folder() as folder:
        inside = make_models(folder)
        results: dict[tuple[str, str], Result] = {}
        for _ in range(options.rounds):
            for one in contenders(options.only):
                for model in one.models:
                    measure(one, folder / model, options, results.setdefault((one.name, model), Result()))
    return report(results, inside, options)


def make_models(folder: Path) -> dict[str, float]:
    """Save the models; the median of an in-process predict of one row in ms, for each."""
    import joblib
    import numpy as np
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows, labels = load_iris(return_X_y=True)
    inside = {}
    for name, estimator in (("lr", LogisticRegression(max_iter=1000)), ("rf", RandomForestClassifier(100))):
        (folder / name).mkdir()
        estimator.fit(rows, labels)
        joblib.dump(estimator, folder / name / "model.joblib")
        (folder / name / "model-settings.json").write_text(json.dumps({
            "name": "m", "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(folder / name / "model.joblib")}}))
        one, times = np.array([ROW]), []
        for _ in range(300):
            began = time.perf_counter()
            estimator.predict(one)
            times.append(1e3 * (time.perf_counter() - began))
        inside[name] = statistics.median(times)
    return inside


def contenders(only: Sequence[str] | None) -> Iterator[Contender]:
    def ours(port: int, folder: Path) -> Sequence[str]:
        return [sys.executable, "-m", "lightship.modelserver", "--model_name=m", f"--model_dir={folder}",
                f"--http_port={port}", "--enable_grpc=false", "--host=127.0.0.1"]

    def peer(python: str, name: str) -> Callable[[int, Path], Sequence[str]]:
        return lambda port, folder: [python, str(FOLDER / "_serving_peers.py"), name, str(port),
                                     str(folder / "model.joblib")]

    found = [Contender(name="lightship", command=ours),
             Contender(name="lightship v2", command=ours, path=V2_PATH, body=V2_BODY)]
    import sklearn

    if python := environment(*KSERVE, f"scikit-learn=={sklearn.__version__}"):
        found.append(Contender(name="kserve", command=peer(python, "kserve")))
    if python := environment(*MLSERVER, f"scikit-learn=={sklearn.__version__}"):
        found.append(Contender(
            name="mlserver", path=V2_PATH, body=V2_BODY,
            command=lambda port, folder: [str(Path(python).parent / "mlserver"), "start", str(folder)],
            environ=lambda port, folder: {"MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": str(port + 1),
                                          "MLSERVER_METRICS_PORT": str(port + 2), "MLSERVER_DEBUG": "false",
                                          "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_HOST": "127.0.0.1"}))
    found += [Contender(name="uvicorn, no model", command=peer(sys.executable, "uvicorn"), models=("lr",)),
              Contender(name="ceiling", command=peer(sys.executable, "canned"), models=("lr",))]
    return iter([one for one in found if not only or one.name in only])


def environment(*requirements: str) -> str:
    """The Python of an environment with these; empty where it cannot be made, which is told once."""
    from tests.sdks import sdk_python

    try:
        return str(sdk_python(*requirements))
    except RuntimeError as problem:
        print(f"  left out: {requirements[0]} cannot be installed here ({str(problem).splitlines()[-1]})")
        return ""


def measure(one: Contender, folder: Path, options: argparse.Namespace, result: Result) -> None:
    with server(one, folder, result) as (port, pid):
        script = folder / f"{one.name.replace(' ', '_')}.lua"
        script.write_text(f"wrk.method='POST'\nwrk.body='{one.body}'\nwrk.headers['Content-Type']='application/json'\n")
        url = f"http://127.0.0.1:{port}{one.path}"
        load(url, script, 4, 1)
        for connections in options.connections:
            before = cpu_seconds(pid)
            run = load(url, script, connections, options.seconds)
            run["cpu_us"] = 1e6 * (cpu_seconds(pid) - before) / run["requests"]
            result.runs.setdefault(connections, []).append(run)
        result.pss_mb.append(pss_mb(pid))


@contextmanager
def server(one: Contender, folder: Path, result: Result) -> Iterator[tuple[int, int]]:
    """The server's port and process, once it answers."""
    port = free_port()
    environ = os.environ | one.environ(port, folder)
    process = subprocess.Popen(one.command(port, folder), env=environ, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    began = time.perf_counter()
    try:
        while not answers(port, one):
            if process.poll() is not None or time.perf_counter() - began > START_LIMIT_SECONDS:
                raise SystemExit(f"{one.name} did not start: {' '.join(one.command(port, folder))}")
            time.sleep(0.02)
        result.start_s.append(time.perf_counter() - began)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(port: int, one: Contender) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{one.path}", data=one.body.encode(),
                                     headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def load(url: str, script: Path, connections: int, seconds: int) -> dict[str, float]:
    """One run of wrk."""
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url],
                          capture_output=True, text=True, check=True, timeout=seconds + 30)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"{url} answered errors:\n{done.stdout}")
    found: dict[str, float] = {"requests": float(matched(r"(\d+) requests in", done.stdout)),
                               "rps": float(matched(r"Requests/sec:\s+([\d.]+)", done.stdout))}
    for percent in (50, 99):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", done.stdout).groups()  # type: ignore[union-attr]
        found[f"p{percent}_ms"] = float(value) * _UNITS[unit]
    return found


def matched(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something else than expected:\n{text}")
    return match[1]


def family(pid: int) -> list[int]:
    """A process and all that come of it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [each for child in children.read_text().split() for each in family(int(child))]
    return found


def cpu_seconds(pid: int) -> float:
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    return sum(float(matched(r"Pss:\s+(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text())) / 1024
               for each in family(pid))


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def report(results: dict[tuple[str, str], Result], inside: dict[str, float], options: argparse.Namespace) -> int:
    missed: list[str] = []
    for model, title in (("lr", "LogisticRegression"), ("rf", "RandomForest(100)")):
        rows = {name: result for (name, of), result in results.items() if of == model}
        if not rows:
            continue
        print(f"\n{title}: predict in process p50 {inside[model]:.3f} ms; medians of {options.rounds} rounds")
        print(f"  {'':18} " + "".join(f"| c{c}: p50 ms   p99 ms    req/s   CPU us " for c in options.connections)
              + "| start s  PSS MB")
        for name, result in rows.items():
            columns = "".join(
                f"| {result.median(c, 'p50_ms'):10.3f} {result.median(c, 'p99_ms'):8.2f} "
                f"{result.median(c, 'rps'):8.0f} {result.median(c, 'cpu_us'):8.0f} " for c in options.connections)
            print(f"  {name:18} {columns}| {statistics.median(result.start_s):7.2f} "
                  f"{statistics.median(result.pss_mb):7.0f}")
        missed += judged(model, rows, inside[model], options.connections)
    for line in missed:
        print(f"  MISSED: {line}")
    return 1 if missed and options.gate else 0


def judged(model: str, rows: dict[str, Result], inside_ms: float, connections: Sequence[int]) -> list[str]:
    """Print the ratios; what missed its target."""
    missed: list[str] = []
    ours, peer = rows.get("lightship"), rows.get("kserve")
    most = max(connections)

    def hold(text: str, good: bool) -> None:
        print(f"  {'ok    ' if good else 'MISSED'} {text}")
        if not good:
            missed.append(f"{model}: {text}")

    if ours is not None and peer is not None:
        ratio = ours.median(most, "rps") / peer.median(most, "rps")
        cpu = peer.median(most, "cpu_us") / ours.median(most, "cpu_us")
        hold(f"c{most}: {ratio:.1f} times kserve's requests a second, {cpu:.1f} times fewer CPU a request "
             f"(target {TARGETS[model]:g})", ratio >= TARGETS[model])
        hold(f"c{most}: p99 {ours.median(most, 'p99_ms'):.2f} ms, kserve {peer.median(most, 'p99_ms'):.2f} ms",
             ours.median(most, "p99_ms") < peer.median(most, "p99_ms"))
        hold(f"PSS {statistics.median(ours.pss_mb):.0f} MB, kserve {statistics.median(peer.pss_mb):.0f} MB",
             statistics.median(ours.pss_mb) < statistics.median(peer.pss_mb))
    bare: Any = rows.get("uvicorn, no model")
    if ours is not None and bare is not None and 1 in connections:
        over = ours.median(1, "p50_ms") - inside_ms - bare.median(1, "p50_ms")
        hold(f"c1: p50 {over:+.3f} ms from predict in process and a bare uvicorn handler together "
             f"(target {TARGET_OVERHEAD_MS})", over <= TARGET_OVERHEAD_MS)
    return missed


if __name__ == "__main__":
    sys.exit(main())
