"""The gateway against nginx as a proxy, before the same model server's stand-in, in one run: ``./dev bench gateway``.

The stand-in is nginx that answers from memory, so that what is measured is the proxy. The gateway has all features on:
200 services in its table, a canary of two revisions with a limit each, the token checked, everything counted; its
routes come from a real API server. nginx passes on with kept-alive connections and its access log off. Rounds of one
are followed by rounds of the other. CPU is each proxy's own; the load comes from wrk. ``--rollouts`` then sends 10,000
requests while the service is rolled out 20 times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _bench
import aiohttp

from lightship.client.client import Client
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS
from lightship.testing.embedded import embedded_api

BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]})
ANSWER = json.dumps({"predictions": [0]})
SERVICE, PATH = "bench", "/v1/models/bench:predict"
OTHER_SERVICES = 200
TARGET_CPU, TARGET_US = 2.0, 80.0
START_LIMIT_SECONDS = 30
ROLLOUTS, ROLLOUT_REQUESTS, ROLLOUT_CLIENTS = 20, 10_000, 8
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}

_NGINX = """
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {body}
}}
"""
_STAND_IN = """server {{ listen 127.0.0.1:{one} backlog=1024; listen 127.0.0.1:{two} backlog=1024;
  location / {{ default_type application/json; return 200 '{answer}'; }} }}"""
_PROXY = """upstream models {{ server 127.0.0.1:{one} weight=90; server 127.0.0.1:{two} weight=10; keepalive 64;
    keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ proxy_pass http://models; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; }} }}"""


@dataclass
class Rounds:
    """What was measured of one contender, by number of connections."""

    url: str
    pids: list[int] = field(default_factory=list)
    runs: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    def values(self, connections: int, name: str) -> list[float]:
        return [run[name] for run in self.runs[connections]]

    def median(self, connections: int, name: str) -> float:
        return statistics.median(self.values(connections, name))


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench gateway", description=__doc__)
    parser.add_argument("-n", "--rounds", type=int, default=5)
    parser.add_argument("-s", "--seconds", type=int, default=3, help="of load at each number of connections")
    parser.add_argument("--rollouts", action="store_true", help="also roll out under load and count failures")
    parser.add_argument("--logger", action="store_true", help="also copy all payloads, to JSON lines")
    parser.add_argument("--varying", metavar="HEADER", help="a header that is another in each request")
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing (apt-get install wrk nginx-light)")
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.split("/")[-1].strip()
    _bench.heading("gateway: one POST through a proxy", f"nginx {version}", "wrk, one thread")
    return asyncio.run(run(options))


async def run(options: argparse.Namespace) -> int:
    with _bench.folder() as folder:
        async with contextlib.AsyncExitStack() as stack:
            one, two, port = (free_port() for _ in range(3))
            stand_in = _STAND_IN.format(one=one, two=two, answer=ANSWER)
            await stack.enter_async_context(nginx(folder, "stand-in", stand_in))
            proxy = await stack.enter_async_context(nginx(folder, "proxy", _PROXY.format(one=one, two=two, port=port)))
            api = await stack.enter_async_context(embedded_api(folder))
            client = api.over_http()
            stack.push_async_callback(client.close)
            await routes(client, [f"127.0.0.1:{one}"], [f"127.0.0.1:{two}"], logger=options.logger)
            gateway, port_of_gateway = await stack.enter_async_context(a_gateway(folder, api.kubeconfig))
            url = f"http://127.0.0.1:{port_of_gateway}/serving/default/{SERVICE}{PATH}"
            contenders = {
                "stand-in alone": Rounds(f"http://127.0.0.1:{one}{PATH}"),
                "nginx": Rounds(f"http://127.0.0.1:{port}{PATH}", children(proxy)),
                "lightship gateway": Rounds(url, [gateway]),
            }
            await until_answered(url, api.token)
            for _ in range(options.rounds):
                for contender in contenders.values():
                    for connections in (1, 16):
                        await measure(contender, connections, options.seconds, post_script(folder, api.token, options))
            failed = report(contenders)
            if options.rollouts:
                failed |= await rollouts(client, url, api.token, (one, two)) > 0
    return 1 if failed and options.gate else 0


def report(contenders: dict[str, Rounds]) -> bool:
    for name, rounds in contenders.items():
        for connections in sorted(rounds.runs):
            cpu = f"{rounds.median(connections, 'cpu_us'):6.1f} us CPU a request" if rounds.pids else " " * 23
            print(f"  {name:<18} c{connections:<3} p50 {rounds.median(connections, 'p50_ms') * 1e3:6.0f} us  "
                  f"p99 {rounds.median(connections, 'p99_ms') * 1e3:6.0f} us  "
                  f"{rounds.median(connections, 'rps'):8.0f} req/s  {cpu}")
    ours, nginx_, alone = contenders["lightship gateway"], contenders["nginx"], contenders["stand-in alone"]
    ratios = [a / b for a, b in zip(ours.values(16, "cpu_us"), nginx_.values(16, "cpu_us"), strict=True)]
    added = [1e3 * (a - b) for a, b in zip(ours.values(1, "p50_ms"), alone.values(1, "p50_ms"), strict=True)]
    print(f"  CPU a request at 16 connections against nginx's: {_bench.spread(ratios, 'x')}; target {TARGET_CPU} x")
    print(f"  added at one connection, median against median: {_bench.spread(added, 'us', 0)}; target {TARGET_US:g} us")
    return statistics.median(ratios) > TARGET_CPU or statistics.median(added) > TARGET_US


def post_script(folder: Path, token: str, options: argparse.Namespace) -> Path:
    script = folder / "post.lua"
    text = (f"wrk.method='POST'\nwrk.body='{BODY}'\nwrk.headers['Content-Type']='application/json'\n"
            f"wrk.headers['Authorization']='Bearer {token}'\n")
    if options.varying:
        text += (f"local count = 0\nrequest = function()\n  count = count + 1\n"
                 f"  wrk.headers['{options.varying}'] = tostring(count)\n  return wrk.format()\nend\n")
    script.write_text(text)
    return script


async def measure(contender: Rounds, connections: int, seconds: int, script: Path) -> None:
    before = sum(map(cpu_seconds, contender.pids))
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), contender.url,
        stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    spent = sum(map(cpu_seconds, contender.pids)) - before
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{contender.url} answered errors:\n{text}")
    requests = float(matched(r"(\d+) requests in", text)[1])
    found = {"rps": float(matched(r"Requests/sec:\s+([\d.]+)", text)[1]), "cpu_us": 1e6 * spent / requests}
    for percent in (50, 99):
        match = matched(rf"{percent}%\s+([\d.]+)(us|ms|s)", text)
        found[f"p{percent}_ms"] = float(match[1]) * _MS[match[2]]
    contender.runs.setdefault(connections, []).append(found)


async def rollouts(client: Client, url: str, token: str, ports: tuple[int, int]) -> int:
    """Send requests over kept-alive connections while the route is replaced; the failures among them."""
    statuses: dict[int, int] = {}
    sent, done = 0, asyncio.Event()

    async def hammer(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while sent < ROLLOUT_REQUESTS or not done.is_set():
            sent += 1
            async with session.post(url, data=BODY) as answer:
                await answer.read()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        clients = [asyncio.create_task(hammer(session)) for _ in range(ROLLOUT_CLIENTS)]
        for number in range(ROLLOUTS):
            old, new = ports[number % 2], ports[(number + 1) % 2]
            for endpoints in ([f"127.0.0.1:{old}", f"127.0.0.1:{new}"], [f"127.0.0.1:{new}"]):
                reached = sent + ROLLOUT_REQUESTS // ROLLOUTS // 2
                await routes(client, endpoints, [], revision=f"r{number}")
                while sent < reached:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        done.set()
        await asyncio.gather(*clients)
    failures = sum(count for status, count in statuses.items() if status != 200)
    print(f"  {sent} requests through {ROLLOUTS} rollouts: {failures} failed")
    return failures


async def routes(client: Client, stable: list[str], canary: list[str], *, revision: str = "stable",
                 logger: bool = False) -> None:
    """The service under test, and others that fill the table."""
    backends = [{"revision": revision, "weight": 90, "endpoints": stable, "concurrencyLimit": 1000}]
    if canary:
        backends.append({"revision": "canary", "weight": 10, "endpoints": canary, "concurrencyLimit": 1000})
        for number in range(OTHER_SERVICES):
            await client.create(CONFIGMAPS, route(f"other{number}", backends))
        made = route(SERVICE, backends, **({"logger": {"format": "json"}} if logger else {}))
        await client.create(CONFIGMAPS, made)
    else:
        await client.patch(CONFIGMAPS, Key("default", f"{SERVICE}-route"), route(SERVICE, backends))


def route(name: str, backends: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    written = {"namespace": "default", "name": name, "prefix": f"/serving/default/{name}", "backends": backends,
               "hosts": [f"{name}-default.example.com"], **more}
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": f"{name}-route", "namespace": "default",
                         "labels": {"lightship.dev/gateway-route": "true"}},
            "data": {"route.json": json.dumps(written)}}


@contextlib.asynccontextmanager
async def a_gateway(folder: Path, kubeconfig: Path) -> AsyncIterator[tuple[int, int]]:
    """The gateway's process, as a server starts it: its pid and port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lightship.gateway", "--kubeconfig", str(kubeconfig), "--port", "0",
        "--payload-dir", str(folder / "payloads"), stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_SECONDS)
        if not line:
            raise SystemExit("the gateway did not start; see above")
        yield process.pid, int(json.loads(line)["port"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def nginx(folder: Path, name: str, body: str) -> AsyncIterator[int]:
    config = folder / f"{name}.conf"
    config.write_text(_NGINX.format(folder=folder, name=name, body=body))
    process = await asyncio.create_subprocess_exec("nginx", "-c", str(config), "-p", str(folder),
                                                   stderr=asyncio.subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while not (folder / f"{name}.pid").exists() or not children(process.pid):
            if process.returncode is not None or time.monotonic() - began > START_LIMIT_SECONDS:
                raise SystemExit(f"nginx did not start: {(folder / f'{name}.log').read_text()}")
            await asyncio.sleep(0.02)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def until_answered(url: str, token: str) -> None:
    began = time.monotonic()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while True:
            async with session.post(url, data=BODY) as answer:
                if answer.status == 200:
                    return
                if time.monotonic() - began > START_LIMIT_SECONDS:
                    raise SystemExit(f"the gateway answers {answer.status}: {await answer.text()}")
            await asyncio.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def matched(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something else than expected:\n{text}")
    return match


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
