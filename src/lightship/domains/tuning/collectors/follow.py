"""One Pod's metrics as they come: its log followed, or its page fetched again and again. An edge; ``gather`` calls me.

I call the Kubernetes API only (``client``), so that I work wherever the Pod runs. Lines without a metric's name cost a
look at their bytes; after some that have one I let others run.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from urllib.parse import quote

from lightship import errors
from lightship.client.client import Client
from lightship.domains.tuning.collectors import scraped
from lightship.domains.tuning.collectors.lines import LineReader
from lightship.domains.tuning.collectors.sources import Page
from lightship.kube import times
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.lib import clock as clocks
from lightship.lib import tasks
from lightship.records.readings import NO_TIME, Reading

SCRAPE_SECONDS = 1.0
LIMIT_HELD_BYTES = 64 * 1024
"""Of a line that has no end yet."""
LINES_AT_ONCE = 25

Take = Callable[[Sequence[Reading]], None]


async def log(client: Client, pod: Key, container: str, reader: LineReader, take: Take) -> None:
    """Reads the container's log from its beginning to its end. Raises what the API answers."""
    needles = [metric.encode() for metric in reader.metrics]
    query = {"container": container, "follow": "true", "timestamps": "true"}
    rest = b""
    async with aclosing(client.log(pod, query)) as chunks:
        async for chunk in chunks:
            block, newline, rest = (rest + chunk).rpartition(b"\n")
            rest = rest[:LIMIT_HELD_BYTES]
            if newline and any(needle in block for needle in needles):
                await _read(block, needles, reader, take)
    if rest:
        await _read(rest, needles, reader, take)


async def _read(block: bytes, needles: Sequence[bytes], reader: LineReader, take: Take) -> None:
    count = 0
    for line in block.split(b"\n"):
        if not any(needle in line for needle in needles):
            continue
        stamp, _, text = line.partition(b" ")
        if found := reader.read(codecs.decode(text, "utf-8", "replace").rstrip("\r"), _moment(stamp)):
            take(found)
        count += 1
        if not count % LINES_AT_ONCE:
            await asyncio.sleep(0)


def _moment(stamp: bytes) -> datetime:
    try:
        return times.parse(stamp.decode("ascii", "replace"))
    except errors.InvalidInput:
        return NO_TIME


class Scraper:
    """Fetches a Pod's page every second until the Pod has ended, and takes what has changed."""

    def __init__(self, client: Client, clock: clocks.Clock, metrics: Sequence[str]) -> None:
        self._client, self._clock, self._metrics = client, clock, metrics

    async def run(self, pod: Key, page: Page, ended: asyncio.Event, take: Take) -> None:
        scheme = f"{page.scheme}:" if page.scheme else ""
        path = PODS.path(pod.namespace, f"{scheme}{pod.name}:{page.port}", "proxy") + quote(page.path, safe="/?=&%")
        before: list[tuple[str, str, bool]] = []
        while not ended.is_set():
            found = list(scraped.samples(await self._fetch(path), self._metrics, now := self._clock.now()))
            # A sample without a time of its own says something new only where its value has changed.
            now_there = [(one.metric, one.value, one.time == now) for one in found]
            if now_there != before:
                take([one for one, seen in zip(found, now_there, strict=True) if seen not in before])
                before = now_there or before
            await tasks.first(ended.wait, lambda: self._clock.sleep(SCRAPE_SECONDS))

    async def _fetch(self, path: str) -> str:
        """The page, or nothing: what is not listening yet will be, and what has ended has been read."""
        page = b""
        try:
            async with aclosing(self._client.stream(path)) as chunks:
                async for chunk in chunks:
                    page += chunk
                    if len(page) > scraped.LIMIT_PAGE_BYTES:
                        break
        except errors.LightshipError:
            return ""
        return page[:scraped.LIMIT_PAGE_BYTES].decode("utf-8", "replace")
