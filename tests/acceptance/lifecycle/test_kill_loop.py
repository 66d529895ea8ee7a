"""``kill -9``, again and again: what was acknowledged stays, watchers miss nothing, and no process is left behind.

``LIGHTSHIP_TEST_KILLS`` says how many kills each loop does; the default is what a test run has time for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lightship import errors
from lightship.client import kubeconfig
from lightship.client.client import Client, Selection
from lightship.client.http import Http
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("LIGHTSHIP_TEST_KILLS", "15"))
WRITERS, WATCHERS = 6, 3
LIFE_SECONDS = (0.02, 0.4)
SETTLE_SECONDS = 30.0
NAMESPACE = "default"
LABEL, LAST = "kill-loop", "last"
_BROKEN = (errors.Unavailable, errors.DeadlineExceeded, errors.InternalError, OSError, TimeoutError)
"""What a client hears whose server dies under it."""


class Server:
    """The API server's process, which comes back after each kill at another port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process
        self._client: Client | None = None
        self.ready = asyncio.Event()

    async def start(self) -> None:
        script = Path(__file__).with_name("api_process.py")
        self._process = await asyncio.create_subprocess_exec(sys.executable, script, self._directory,
                                                             stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the server did not come back"
        self._client = Client(Http(kubeconfig.load(Path(line.decode().strip()))))
        self.ready.set()

    async def kill(self) -> None:
        self.ready.clear()
        self._process.kill()
        await self._process.wait()
        if self._client is not None:
            await self._client.close()

    async def client(self) -> Client:
        await self.ready.wait()
        assert self._client is not None
        return self._client


@dataclass
class Writer:
    """Changes objects of its own, and knows what it was told of each: its revision and value, or that it is gone."""

    server: Server
    name: str
    dice: random.Random
    known: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    written: int = 0
    lost_answers: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            name = f"{self.name}-{self.dice.randrange(8)}"
            value = f"{self.name}.{self.written}"
            self.written += 1
            try:
                await self._change(await self.server.client(), name, value)
            except _BROKEN:
                self.lost_answers += 1
                await self._find_out(name, value)

    async def _change(self, client: Client, name: str, value: str) -> None:
        there = self.known.get(name)
        if there is None:
            self._learn(name, await client.create(CONFIGMAPS, config_map(name, value)))
        elif self.dice.random() < 0.25:
            await client.delete(CONFIGMAPS, Key(NAMESPACE, name))
            self.known[name] = None
        else:
            self._learn(name, await client.update(CONFIGMAPS, config_map(name, value, there[0])))

    def _learn(self, name: str, obj: Object) -> None:
        self.known[name] = (objects.meta(obj)["resourceVersion"], obj["data"]["value"])

    async def _find_out(self, name: str, value: str) -> None:
        """The answer was lost with the server: the write is there whole, or not at all."""
        before = self.known.get(name)
        found = await self._look(name)
        if found is None:
            deleted = before is not None  # or a create that did not come about
            assert deleted or before is None
            self.known[name] = None
            return
        now = (objects.meta(found)["resourceVersion"], found["data"]["value"])
        assert now == before or now[1] == value, f"{name}: {before} was acknowledged, {value} was asked for, {now} is"
        self.known[name] = now

    async def _look(self, name: str) -> Object | None:
        while True:
            try:
                return await (await self.server.client()).get(CONFIGMAPS, name, NAMESPACE)
            except errors.NotFound:
                return None
            except _BROKEN:
                await asyncio.sleep(0)


def config_map(name: str, value: str, revision: str = "") -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {LABEL: "yes"}}
    if revision:
        metadata["resourceVersion"] = revision
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


@dataclass
class Watching:
    """Every event since a revision, over as many streams as it takes; it never lists again."""

    server: Server
    revision: str
    events: list[tuple[int, str, str, str]] = field(default_factory=list)
    streams: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the deletion of the object called ``LAST``."""

    async def run(self) -> None:
        selection = Selection(namespace=NAMESPACE, labels=LABEL)
        while True:
            client = await self.server.client()
            self.streams += 1
            with contextlib.suppress(*_BROKEN):
                async for event in client.watch(CONFIGMAPS, selection, resource_version=self.revision):
                    self._take(event.type, event.object)
            await asyncio.sleep(0)

    def _take(self, type: str, obj: Object) -> None:
        self.revision = objects.meta(obj)["resourceVersion"]
        if type != "BOOKMARK":
            self.events.append((int(self.revision), type, objects.name(obj), obj["data"]["value"]))
        if type == "DELETED" and objects.name(obj) == LAST:
            self.ended.set()

    def result(self) -> dict[str, str]:
        """What the events amount to."""
        there: dict[str, str] = {}
        for _, type, name, value in self.events:
            assert (name in there) == (type != "ADDED"), f"{type} {name} in the wrong order"
            if type == "DELETED":
                del there[name]
            else:
                there[name] = value
        return there


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    running = Server(tmp_path)
    await running.start()
    yield running
    await running.kill()


SEED = int(os.environ.get("LIGHTSHIP_TEST_SEED", random.randrange(1 << 32)))


@pytest.mark.timeout(120 + 6 * KILLS)
@pytest.mark.parametrize("seed", [SEED])
async def test_what_was_acknowledged_outlives_every_kill(server: Server, seed: int) -> None:
    dice, stop = random.Random(seed), asyncio.Event()
    writers = [Writer(server, f"w{number}", random.Random(dice.random())) for number in range(WRITERS)]
    watchers = [Watching(server, "1") for _ in range(WATCHERS)]
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(watcher.run()) for watcher in watchers]
        writing = [group.create_task(writer.run(stop)) for writer in writers]
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(*LIFE_SECONDS))  # the moment of the kill is what this test is about
            await server.kill()
            await server.start()
        stop.set()
        await asyncio.wait_for(asyncio.gather(*writing), SETTLE_SECONDS)
        await last_write(server)
        await asyncio.wait_for(asyncio.gather(*(watcher.ended.wait() for watcher in watchers)), SETTLE_SECONDS)
        for task in watching:
            task.cancel()
    client = await server.client()
    listed = {objects.name(obj): obj for obj in
              (await client.list(CONFIGMAPS, Selection(namespace=NAMESPACE, labels=LABEL))).items}
    promised = {name: known for writer in writers for name, known in writer.known.items() if known is not None}
    assert {name: (objects.meta(obj)["resourceVersion"], obj["data"]["value"])
            for name, obj in listed.items()} == promised
    for watcher in watchers:
        assert watcher.events == watchers[0].events, "two watchers saw different histories"
        revisions = [revision for revision, *_ in watcher.events]
        assert revisions == sorted(set(revisions)), "an event came twice or out of order"
        assert watcher.result() == {name: obj["data"]["value"] for name, obj in listed.items()}
    print(f"seed {seed}: {KILLS} kills, {sum(w.written for w in writers)} writes of which "
          f"{sum(w.lost_answers for w in writers)} lost their answers, {len(watchers[0].events)} events over "
          f"{[w.streams for w in watchers]} streams")


async def last_write(server: Server) -> None:
    """One more object that comes and goes, which every watcher must come to see."""
    client = await server.client()
    await client.create(CONFIGMAPS, config_map(LAST, "end"))
    await client.delete(CONFIGMAPS, Key(NAMESPACE, LAST))
