"""The client of the API server's benchmark, a process of its own: prints one line of JSON. ``apiserver.py`` runs me.

``storm`` creates, gets and lists 2 KB ConfigMaps over 8 connections while watchers decode every event. ``crowd`` writes
at a steady rate under very many watchers, which are read on bare connections, since a client of that size is not the
thing measured. The token comes in ``LIGHTSHIP_BENCH_TOKEN``; certificates are not checked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import ssl
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec

CONNECTIONS = 8
LISTS = 5
PAYLOAD_CHARACTERS = 1800
DELIVERY_LIMIT_SECONDS = 60.0
_EVENT = re.compile(rb'"name":"c(\d+)"')

encode, decode = msgspec.json.encode, msgspec.json.decode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("storm", "crowd"))
    parser.add_argument("url")
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0, help="crowd: writes a second")
    parser.add_argument("--server", type=int, help="the server's process, whose CPU time is told for each part")
    parser.add_argument("--keep", action="store_true", help="leave the objects there")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    result = asyncio.run(storm(options) if options.mode == "storm" else crowd(options))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(result | {"client_cpu_s": usage.ru_utime + usage.ru_stime}))


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process; 0 for none."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def config_map(number: int) -> bytes:
    return encode({"apiVersion": "v1", "kind": "ConfigMap",
                   "metadata": {"name": f"c{number}", "labels": {"bench": "1"}},
                   "data": {"k": "x" * PAYLOAD_CHARACTERS}})


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"p50_ms": 1e3 * ordered[len(ordered) // 2], "p99_ms": 1e3 * ordered[int(len(ordered) * 0.99)]}


@dataclass
class Place:
    """A namespace made for one run, and a session to it."""

    session: aiohttp.ClientSession
    namespace: str
    base: str
    revision: str

    @classmethod
    async def make(cls, url: str) -> Place:
        headers = {"Content-Type": "application/json",
                   "Authorization": f"Bearer {os.environ['LIGHTSHIP_BENCH_TOKEN']}"}
        session = aiohttp.ClientSession(url, headers=headers,
                                        connector=aiohttp.TCPConnector(ssl=trusting(), limit=0))
        namespace = f"bench-{time.time_ns()}"
        body = encode({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        async with session.post("/api/v1/namespaces", data=body) as answer:
            assert answer.status == 201, await answer.text()
        base = f"/api/v1/namespaces/{namespace}/configmaps"
        async with session.get(base) as answer:
            revision = decode(await answer.read())["metadata"]["resourceVersion"]
        return cls(session, namespace, base, revision)

    async def create(self, number: int) -> None:
        async with self.session.post(self.base, data=config_map(number)) as answer:
            assert answer.status == 201, await answer.text()
            await answer.read()

    async def close(self, keep: bool) -> None:
        if not keep:
            async with self.session.delete(f"/api/v1/namespaces/{self.namespace}") as answer:
                await answer.read()
        await self.session.close()


async def storm(options: argparse.Namespace) -> dict[str, Any]:
    place, count = await Place.make(options.url), options.objects
    sent: dict[str, float] = {}
    latencies: list[float] = []
    ready = [asyncio.Event() for _ in range(options.watchers)]

    async def watch(number: int) -> None:
        received = 0
        async with place.session.get(place.base, params={"watch": "1", "resourceVersion": place.revision}) as answer:
            ready[number].set()
            async for line in answer.content:
                event = decode(line)
                if event["type"] != "ADDED" or event["object"]["metadata"]["name"] not in sent:
                    continue
                received += 1
                if number == 0:
                    latencies.append(time.perf_counter() - sent[event["object"]["metadata"]["name"]])
                if received == count:
                    return

    watchers = [asyncio.create_task(watch(number)) for number in range(options.watchers)]
    await asyncio.gather(*(one.wait() for one in ready))

    async def create(numbers: Iterator[int]) -> None:
        for number in numbers:
            sent[f"c{number}"] = time.perf_counter()
            await place.create(number)

    async def get(numbers: Iterator[int]) -> None:
        for number in numbers:
            async with place.session.get(f"{place.base}/c{number}") as answer:
                assert answer.status == 200
                await answer.read()

    marks = [cpu_seconds(options.server)]
    creates = await _rate(create, count)
    await asyncio.wait_for(asyncio.gather(*watchers), DELIVERY_LIMIT_SECONDS)
    marks.append(cpu_seconds(options.server))
    gets = await _rate(get, min(count, 2000))
    marks.append(cpu_seconds(options.server))
    lists = []
    for _ in range(LISTS):
        start = time.perf_counter()
        async with place.session.get(place.base, params={"limit": "2000"} if count > 2000 else {}) as answer:
            assert len(decode(await answer.read())["items"]) >= min(count, 2000)
        lists.append(time.perf_counter() - start)
    marks.append(cpu_seconds(options.server))
    await place.close(options.keep)
    watched = {f"watch_{name}": value for name, value in percentiles(latencies).items()} if latencies else {}
    return {"creates_per_s": creates, "gets_per_s": gets, "list_ms": 1e3 * statistics.median(lists),
            "create_cpu_us": 1e6 * (marks[1] - marks[0]) / count,
            "get_cpu_us": 1e6 * (marks[2] - marks[1]) / min(count, 2000),
            "list_cpu_ms": 1e3 * (marks[3] - marks[2]) / LISTS} | watched


async def _rate(work: Any, count: int) -> float:
    numbers = iter(range(count))
    start = time.perf_counter()
    await asyncio.gather(*(work(numbers) for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - start)


@dataclass
class Seen:
    """What the crowd received: for each watcher the numbers of the objects, in order."""

    sent: list[float]
    latencies: list[float] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)
    missing: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher(asyncio.Protocol):
    """One bare watch, which only looks for the names of objects in what comes."""

    def __init__(self, request: bytes, seen: Seen) -> None:
        self._request, self._seen, self._tail = request, seen, b""
        self._order: list[int] = []
        seen.orders.append(self._order)
        self.open = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self.open.set_result(data.startswith(b"HTTP/1.1 200"))
        now, text, end = time.perf_counter(), self._tail + data, 0
        for match in _EVENT.finditer(text):
            number, end = int(match[1]), match.end()
            self._order.append(number)
            self._seen.latencies.append(now - self._seen.sent[number])
            self._seen.missing -= 1
        self._tail = text[max(end, len(text) - 32):]
        if self._seen.missing <= 0:
            self._seen.complete.set()


async def crowd(options: argparse.Namespace) -> dict[str, Any]:
    place, where = await Place.make(options.url), urlsplit(options.url)
    seen = Seen(sent=[0.0] * options.objects, missing=options.objects * options.watchers)
    request = (f"GET {place.base}?watch=1&resourceVersion={place.revision} HTTP/1.1\r\nHost: bench\r\n"
               f"Authorization: Bearer {os.environ['LIGHTSHIP_BENCH_TOKEN']}\r\n\r\n").encode()
    loop, context, kept = asyncio.get_running_loop(), trusting(), []
    for _ in range(options.watchers):
        transport, protocol = await loop.create_connection(lambda: Watcher(request, seen), where.hostname, where.port,
                                                           ssl=context)
        kept.append(transport)
        assert await protocol.open, "a watch was refused"
    acknowledged: list[float] = []
    before = cpu_seconds(options.server)
    start = time.perf_counter()
    writes = []

    async def write(number: int) -> None:
        seen.sent[number] = time.perf_counter()
        await place.create(number)
        acknowledged.append(time.perf_counter() - seen.sent[number])

    for number in range(options.objects):
        await asyncio.sleep(max(0.0, start + number / options.rate - time.perf_counter()))
        writes.append(asyncio.create_task(write(number)))
    await asyncio.gather(*writes)
    with contextlib.suppress(TimeoutError):  # the number that is missing tells it
        await asyncio.wait_for(seen.complete.wait(), DELIVERY_LIMIT_SECONDS)
    spent = cpu_seconds(options.server) - before
    for transport in kept:
        transport.abort()
    await place.close(options.keep)
    alike = all(order == seen.orders[0] for order in seen.orders)
    return {"missing": seen.missing, "same_order": alike, "server_cpu_s": spent,
            "ack_p50_ms": percentiles(acknowledged)["p50_ms"], "ack_p99_ms": percentiles(acknowledged)["p99_ms"],
            "delivery_p50_ms": percentiles(seen.latencies)["p50_ms"],
            "delivery_p99_ms": percentiles(seen.latencies)["p99_ms"]}


if __name__ == "__main__":
    main()
