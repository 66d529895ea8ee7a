"""The Kubernetes API under load: creates, gets, lists, watches of 2 KB objects; TLS, tokens, RBAC, durable writes.

``./dev bench apiserver`` runs me: a platform of its own in which everything runs, and the load from a process beside.
Since client and server share the machine's cores, the client's own ceiling is measured too, against a server of canned
answers, and the server's CPU time a request. With ``--peer`` the same load goes to another Kubernetes API in turn and
the ratio is printed: name a kube-apiserver with etcd (its token in ``LIGHTSHIP_BENCH_PEER_TOKEN``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench
import startup

from lightship.cluster.apiserver import pki
from lightship.lib import clock

FOLDER = Path(__file__).parent
TARGETS = {"creates_per_s": 2800.0, "gets_per_s": 6000.0, "list_ms": 25.0, "watch_p99_ms": 10.0}
TARGET_PSS_MB = 120.0
SETTLE_SECONDS = 2.0
UNITS = {"creates_per_s": "/s", "gets_per_s": "/s", "list_ms": "ms", "watch_p50_ms": "ms", "watch_p99_ms": "ms"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench apiserver", description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=3)
    parser.add_argument("--objects", type=int, default=2000, help="creates a run (default 2000; the long run: 20000)")
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--peer", metavar="URL", help="another Kubernetes API to give the same load")
    parser.add_argument("--crowd", type=int, default=1000, metavar="WATCHERS",
                        help="watchers under a steady rate of writes; 0 leaves that out (default 1000)")
    parser.add_argument("--memory", type=int, default=10_000, metavar="OBJECTS",
                        help="objects in the store when memory is taken; 0 leaves that out (default 10000)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    results = measure(options)
    if options.output == "json":
        print(json.dumps(results, indent=1))
    else:
        show(results, options)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All samples: of ours, of the canned server, of the peer, each a list of what the load printed."""
    results: dict[str, Any] = {"load": os.getloadavg()[0], "ours": [], "ceiling": [], "peer": [], "crowd": []}
    storm = ["storm", "--objects", str(options.objects), "--watchers", str(options.watchers)]
    with _bench.folder() as data_dir, _bench.up(data_dir) as info, canned() as canned_url:
        token = Path(info.tokenFile).read_text().strip()
        for _ in range(options.repeats):
            results["ours"].append(load(info.kubeUrl, token, storm, info.pid))
            results["ceiling"].append(load(canned_url, token, storm))
            if options.peer:
                results["peer"].append(load(options.peer, os.environ["LIGHTSHIP_BENCH_PEER_TOKEN"], storm))
        for watchers in (10, options.crowd) if options.crowd else ():
            arguments = ["crowd", "--objects", "500", "--watchers", str(watchers)]
            results["crowd"].append(load(info.kubeUrl, token, arguments, info.pid) | {"watchers": watchers})
    if options.memory:
        results["pss_mb"] = memory(options.memory)
    return results


def load(url: str, token: str, arguments: list[str], server: int | None = None) -> dict[str, Any]:
    """One run of the load; with the server's CPU seconds where its process is named."""
    command = [sys.executable, str(FOLDER / "_load.py"), arguments[0], url, *arguments[1:]]
    if server:
        command += ["--server", str(server)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          env=os.environ | {"LIGHTSHIP_BENCH_TOKEN": token})
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def memory(objects: int) -> float:
    """The PSS of server and gateway in MB with so many 2 KB objects and nobody watching."""
    with _bench.folder() as data_dir, _bench.up(data_dir) as info:
        token = Path(info.tokenFile).read_text().strip()
        load(info.kubeUrl, token, ["storm", "--objects", str(objects), "--watchers", "0", "--keep"])
        time.sleep(SETTLE_SECONDS)
        return sum(map(startup.pss_mb, startup.tree(info.pid)))


@contextmanager
def canned() -> Iterator[str]:
    with _bench.folder() as folder:
        files = pki.ensure(folder, clock.SYSTEM)
        command = [sys.executable, str(FOLDER / "_canned.py"), str(files.server_certificate), str(files.server_key)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            yield f"https://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()
            server.wait()


def show(results: Mapping[str, Any], options: argparse.Namespace) -> None:
    peer = [f"peer {version(options.peer)}"] if options.peer else []
    _bench.heading(f"apiserver: {options.objects} creates of 2 KB over 8 connections under {options.watchers} watchers",
                   *peer)
    print(f"  load average before: {results['load']:.1f}")
    for name, unit in UNITS.items():
        if name not in results["ours"][0]:
            continue
        ours = [sample[name] for sample in results["ours"]]
        ceiling = statistics.median(sample[name] for sample in results["ceiling"])
        line = f"  {name:<14}{_bench.spread(ours, unit, 1)}; the client's ceiling {ceiling:.1f} {unit}"
        if name in TARGETS:
            line += f"; target {TARGETS[name]:.0f}"
        if results["peer"]:
            theirs = [sample[name] for sample in results["peer"]]
            ratio = statistics.median(ours) / statistics.median(theirs)
            line += f"; peer {_bench.spread(theirs, unit, 1)}, ratio {ratio if unit == '/s' else 1 / ratio:.1f}"
        print(line)
    for name, unit, what in (("create_cpu_us", "us", f"create with its {options.watchers} deliveries"),
                             ("get_cpu_us", "us", "get"), ("list_cpu_ms", "ms", "list")):
        print(f"  server CPU    {_bench.spread([s[name] for s in results['ours']], unit, 0)} a {what}")
    for sample in results["crowd"]:
        print(f"  {sample['watchers']} watchers, 50 writes/s: {sample['missing']} events missing, "
              f"{'one order' if sample['same_order'] else 'DIFFERENT ORDERS'}; acknowledged p50 "
              f"{sample['ack_p50_ms']:.1f} ms, p99 {sample['ack_p99_ms']:.1f} ms; delivered p50 "
              f"{sample['delivery_p50_ms']:.0f} ms, p99 {sample['delivery_p99_ms']:.0f} ms; server CPU "
              f"{sample['server_cpu_s']:.1f} s in all")
    if "pss_mb" in results:
        print(f"  memory        {results['pss_mb']:.0f} MB PSS with {options.memory} objects, all processes; target "
              f"{TARGET_PSS_MB:.0f}")


def version(url: str) -> str:
    import ssl
    import urllib.request

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"{url}/version", headers={"Authorization": f"Bearer {os.environ['LIGHTSHIP_BENCH_PEER_TOKEN']}"})
    with urllib.request.urlopen(request, context=context) as answer:
        return str(json.load(answer)["gitVersion"])


if __name__ == "__main__":
    sys.exit(main())
