"""A Pod's start: a Job of one ``true`` Pod from create to Complete, two hundred such Pods at once, CPU time by process.

``./dev bench pods`` runs me, over plain HTTP, against a platform of its own with the isolation that this machine's node
advertises, which is printed. No peer is fair here: a kubelet with a container runtime wants a machine of its own. So
the floor is told instead: ``true`` as a bare child process, and in new namespaces by ``unshare`` where root may.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import _bench
import startup

from lightship.daemon.process import ServerInfo

TARGET_JOB_MS = 60.0
TARGET_CROWD_SECONDS = 8.0
WAIT_LIMIT_SECONDS = 120
WARM_UP_JOBS = 3
UNSHARE = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "true")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench pods", description=__doc__)
    parser.add_argument("-n", "--jobs", type=int, default=50, help="Jobs one after the other (default 50)")
    parser.add_argument("--crowd", type=int, default=200, help="Pods at once (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="crowds (default 3)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with _bench.folder() as data_dir, _bench.up(data_dir) as info:
        api = Api(info)
        for number in range(WARM_UP_JOBS):
            job(api, f"warm-{number}")
        before = cpu(info.pid)
        jobs = [job(api, f"job-{number}") for number in range(options.jobs)]
        between = cpu(info.pid)
        crowds = [crowd(api, f"crowd-{number}", options.crowd) for number in range(options.repeats)]
        results: dict[str, Any] = {
            "isolation": isolation(api), "load": os.getloadavg()[0], "job_ms": jobs, "crowd_s": crowds,
            "job_cpu_ms": spent(before, between, options.jobs),
            "crowd_cpu_ms": spent(between, cpu(info.pid), options.crowd * options.repeats),
            "floor_ms": {" ".join(command): floor(command) for command in (("true",), UNSHARE)
                         if shutil.which(command[0]) and (command[0] == "true" or os.geteuid() == 0)}}
    if options.output == "json":
        print(json.dumps(results, indent=1))
    else:
        show(results, options.crowd)
    return 0


def show(results: Mapping[str, Any], pods: int) -> None:
    _bench.heading("pods: a Pod of `true` from create to its end")
    print(f"  isolation: {results['isolation']}; load of the machine {results['load']:.1f}")
    jobs = sorted(results["job_ms"])
    if jobs:
        middle, high = statistics.median(jobs), jobs[int(len(jobs) * 0.95)]
        print(f"  a Job, create to Complete: p50 {middle:.1f} ms, p95 {high:.1f} ms (n={len(jobs)}); "
              f"{middle / TARGET_JOB_MS:.2f} of the target {TARGET_JOB_MS:.0f} ms")
    if results["crowd_s"]:
        middle = statistics.median(results["crowd_s"])
        print(f"  {pods} Pods at once: {_bench.spread(results['crowd_s'], 's')}; "
              f"{middle / TARGET_CROWD_SECONDS:.2f} of the target {TARGET_CROWD_SECONDS:.0f} s")
    for title, key in (("a Job", "job_cpu_ms"), ("a Pod of the crowd", "crowd_cpu_ms")):
        parts = ", ".join(f"{name} {value:.1f}" for name, value in results[key].items())
        print(f"  CPU ms {title}: {parts}; in all {sum(results[key].values()):.1f}")
    for command, taken in results["floor_ms"].items():
        print(f"  the floor, {command}: {_bench.spread(taken, 'ms', 1)}")
    print("  no peer: a kubelet with a container runtime does not run beside us fairly on one small machine")


class Api:
    """The Kubernetes API over one connection that is kept."""

    def __init__(self, info: ServerInfo) -> None:
        self._address = urlsplit(info.kubeUrl)
        self._context = ssl.create_default_context(cafile=str(Path(info.dataDir) / "pki" / "ca.crt"))
        self._headers = {"authorization": f"Bearer {Path(info.tokenFile).read_text().strip()}",
                         "content-type": "application/json"}
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address.hostname or "", self._address.port, context=self._context,
                                           timeout=WAIT_LIMIT_SECONDS)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path} answered {answer.status}: {content[:300].decode(errors='replace')}")
        return json.loads(content)

    def watch(self, path: str) -> http.client.HTTPResponse:
        """A watch on a connection of its own, which ends with the answer."""
        connection = self._connect()
        connection.request("GET", path, None, self._headers)
        return connection.getresponse()


def job(api: Api, name: str) -> float:
    """Milliseconds from a Job's create to the event that shows it Complete. Raises ``SystemExit`` if it fails."""
    path = "/apis/batch/v1/namespaces/default/jobs"
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template()}}
    began = time.perf_counter()
    made = api.ask("POST", path, body)
    version = made["metadata"]["resourceVersion"]
    query = f"watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
    with api.watch(f"{path}?{query}&timeoutSeconds={WAIT_LIMIT_SECONDS}") as events:
        for line in events:
            told = json.loads(line)["object"].get("status", {}).get("conditions", ())
            states = {each["type"] for each in told if each["status"] == "True"}
            if "Complete" in states:
                return (time.perf_counter() - began) * 1e3
            if "Failed" in states:
                raise SystemExit(f"the Job {name} failed: {told}")
    raise SystemExit(f"the Job {name} did not end within {WAIT_LIMIT_SECONDS} s")


def crowd(api: Api, namespace: str, count: int) -> float:
    """Seconds from the first create of ``count`` Pods to the event of the last that has succeeded."""
    api.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    path = f"/api/v1/namespaces/{namespace}/pods"
    version = api.ask("GET", path)["metadata"]["resourceVersion"]
    began = time.perf_counter()
    for number in range(count):
        api.ask("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, **template()})
    succeeded: set[str] = set()
    with api.watch(f"{path}?watch=1&resourceVersion={version}&timeoutSeconds={WAIT_LIMIT_SECONDS}") as events:
        for line in events:
            pod = json.loads(line)["object"]
            phase = pod.get("status", {}).get("phase")
            if phase == "Failed":
                raise SystemExit(f"a Pod failed: {pod['status']}")
            if phase == "Succeeded":
                succeeded.add(pod["metadata"]["name"])
            if len(succeeded) == count:
                break
    if len(succeeded) < count:
        raise SystemExit(f"{count - len(succeeded)} Pods did not end within {WAIT_LIMIT_SECONDS} s")
    seconds = time.perf_counter() - began
    api.ask("DELETE", f"/api/v1/namespaces/{namespace}")
    return seconds


def template() -> dict[str, Any]:
    return {"spec": {"restartPolicy": "Never",
                     "containers": [{"name": "main", "image": "busybox", "command": ["true"]}]}}


def isolation(api: Api) -> str:
    found = api.ask("GET", "/api/v1/nodes")["items"][0]["status"]["conditions"]
    return ", ".join(each["type"] for each in found if each["status"] == "True")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """CPU seconds of a process, and of its children that have ended."""

    name: str
    own: float
    children: float


def cpu(server: int) -> dict[int, Spent]:
    """What each process of the platform has spent."""
    found: dict[int, Spent] = {}
    for pid in startup.tree(server):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        kinds = {b"zygote.py": "fork server", b"network.hub": "network", b"gateway": "gateway"}
        name = next((kind for word, kind in kinds.items() if word in words), "other")
        own, children = (sum(map(int, fields[start:start + 2])) * TICK_SECONDS for start in (11, 13))
        found[pid] = Spent(name="server" if pid == server else name, own=own, children=children)
    return found


def spent(before: Mapping[int, Spent], after: Mapping[int, Spent], count: int) -> dict[str, float]:
    """CPU milliseconds a Pod, by kind of process; the fork servers' children are the containers."""
    sums: dict[str, float] = {}
    nothing = Spent(name="", own=0.0, children=0.0)
    for pid, now in after.items():
        then = before.get(pid, nothing)
        parts = [(now.name, now.own - then.own)]
        if now.name == "fork server":
            parts.append(("containers", now.children - then.children))
        for name, seconds in parts:
            sums[name] = sums.get(name, 0.0) + seconds * 1e3 / max(count, 1)
    return sums


def floor(command: tuple[str, ...], count: int = 20) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


if __name__ == "__main__":
    sys.exit(main())
