"""Copies of requests and answers: as CloudEvents to a sink, as files, dropped and counted where nobody takes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lightship.gateway import cloudevents, payload_files
from lightship.gateway.cloudevents import CloudEvents, Places
from lightship.gateway.options import Limits
from lightship.gateway.payload_files import Files
from lightship.gateway.payloads import Event, Payloads, Sink
from lightship.gateway.routes import PayloadLog
from lightship.lib.clock import SYSTEM
from lightship.lib.ids import RandomIds
from tests.sdks import sdk_python
from tests.unit.gateway.conftest import TOKEN, Running, Start, route

PATH = "/serving/default/iris"
EVENT = Event(kind="request", id="1", namespace="default", name="iris", component="predictor", endpoint="r1",
              content_type="application/json", body=b'{"instances": []}', time=1_790_000_000.25, status=0,
              metadata={"x-a": ["1"]}, annotations=(("team", "x"),))


def log_to(running: Running, sink_of: Any, **limits: Any) -> None:
    bounds = Limits(**{"payload_gather_seconds": 0.01} | limits)
    running.core.payloads = Payloads(sink_of, running.core.metrics, bounds, SYSTEM, RandomIds())


def outcomes(running: Running) -> dict[str, float]:
    return {labels[0]: count for labels, count in running.core.metrics.payloads.values.items()}


class Kept:
    """A sink that keeps what it gets, once the test lets it."""

    def __init__(self, *, open: bool = True) -> None:
        self.events: list[Event] = []
        self.open = asyncio.Event()
        if open:
            self.open.set()

    async def take(self, events: Sequence[Event]) -> None:
        await self.open.wait()
        self.events += events

    async def close(self) -> None:
        return

    def make(self, log: PayloadLog) -> Sink:
        return self


@asynccontextmanager
async def receiver(status: int = 200) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    got: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/sink", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/sink", got
    finally:
        await runner.cleanup()


async def test_requests_and_answers_are_cloudevents(start: Start) -> None:
    async with start() as running, receiver() as (url, got):
        log_to(running, lambda log: CloudEvents(log.url, Places(None, None), Limits()))  # type: ignore[arg-type]
        model = await running.upstream("a")
        log = PayloadLog(url=url, headers=(b"x-request", b"authorization"), annotations=(("team", "a b"),))
        running.use(route(model.endpoint, log=log))
        for body in (b"one", b"two"):  # the second time from memory
            async with running.client.post(PATH, data=body, headers=TOKEN | {
                    "X-Request": "7", "Content-Type": "text/x"}) as answer:
                assert answer.status == 200
        await running.until(lambda: outcomes(running) == {"logged": 4})
        requests = [(head, body) for head, body in got if head["ce-type"].endswith(".request")]
        assert sorted(body for _, body in requests) == [b"one", b"two"]
        head, _ = requests[0]
        assert head["content-type"] == "text/x"
        assert head["ce-specversion"] == "1.0"
        assert head["ce-type"] == "org.kubeflow.serving.inference.request"
        assert (head["ce-inferenceservicename"], head["ce-namespace"], head["ce-component"], head["ce-endpoint"]) == (
            "iris", "default", "predictor", "r1")
        assert "Bearer" not in repr(got)
        assert head["ce-metadata"] == "{%22x-request%22:[%227%22]}"
        assert head["ce-annotations"] == "{%22team%22:%22a%20b%22}"
        answers = {head["ce-id"]: body for head, body in got if head["ce-type"].endswith(".response")}
        assert set(answers) == {head["ce-id"] for head, _ in requests}
        assert set(answers.values()) == {b"a /"}


async def test_the_callers_own_id_is_kept_and_modes_are_heeded(start: Start) -> None:
    async with start() as running:
        kept = Kept()
        log_to(running, kept.make)
        model = await running.upstream("a")
        running.use(route(model.endpoint, log=PayloadLog(url="http://x", responses=False)))
        await running.get(PATH, headers=TOKEN | {"Ce-Id": "mine"}, data=b"x")
        running.use(route(model.endpoint, log=PayloadLog(url="http://x", requests=False)))
        await running.get(PATH, headers=TOKEN | {"Ce-Id": "mine"}, data=b"x")
        await running.until(lambda: len(kept.events) == 2)
        assert [(event.kind, event.id) for event in kept.events] == [("request", "mine"), ("response", "mine")]


async def test_a_slow_sink_costs_no_request_and_what_is_too_much_is_dropped_and_counted(start: Start) -> None:
    async with start() as running:
        kept = Kept(open=False)
        log_to(running, kept.make, payload_queue=2, payload_bytes=100, payload_carriers=1, payload_batch=1)
        model = await running.upstream("a")
        running.use(route(model.endpoint, log=PayloadLog(url="http://x", responses=False)))
        for size in (10, 1000, 10, 10, 10, 10):
            await running.get(PATH, data=b"x" * size)
        await running.until(lambda: sum(outcomes(running).values()) >= 3)
        kept.open.set()
        await running.until(lambda: sum(outcomes(running).values()) == 6)
        assert outcomes(running)["dropped"] == 6 - len(kept.events)
        assert 2 <= len(kept.events) <= 3
        assert all(len(event.body) == 10 for event in kept.events)


async def test_a_sink_that_is_not_there_is_counted(start: Start) -> None:
    async with start() as running, receiver(500) as (url, _):
        log_to(running, lambda log: CloudEvents(log.url, Places(None, None), Limits()))  # type: ignore[arg-type]
        model = await running.upstream("a")
        for sink in ("http://127.0.0.1:9/", url):
            running.use(route(model.endpoint, log=PayloadLog(url=sink, responses=False)))
            await running.get(PATH, data=b"x")
        await running.until(lambda: outcomes(running) == {"failed": 2})


async def test_files_are_lines_of_json_and_bounded(tmp_path: Path) -> None:
    files = Files(tmp_path, "json", Limits(payload_file_bytes=1000, payload_files=2))
    for number in range(30):
        await files.take([replace(EVENT, id=str(number), time=EVENT.time + number), replace(EVENT, name="other")])
    names = sorted((tmp_path / "default" / "iris").iterdir())
    assert 1 <= len(names) <= 3
    assert sum(path.stat().st_size for path in names) < 3000
    records = [json.loads(line) for path in names for line in path.read_text().splitlines()]
    assert records[-1]["id"] == "29"
    assert records[-1]["payload"] == '{"instances": []}'
    assert records[-1]["type"] == "org.kubeflow.serving.inference.request"
    assert (tmp_path / "default" / "other").is_dir()
    assert json.loads(payload_files.line(replace(EVENT, body=b"\xff")))["payloadBase64"] == "/w=="


async def test_files_without_a_directory_are_no_crash() -> None:
    with pytest.raises(OSError, match="--payload-dir"):
        await Files(None, "json", Limits()).take([EVENT])


def test_no_value_of_a_callers_makes_a_line() -> None:
    crafted = replace(EVENT, id="a\r\nevil: 1", content_type="x\r\nevil: 1", metadata={"a": ["\r\nevil: 1"]})
    head = cloudevents.request("http://sink/", crafted).partition(b"\r\n\r\n")[0]
    assert not any(line.startswith(b"evil") for line in head.split(b"\r\n"))


@pytest.mark.sdk
async def test_parquet_is_read_by_arrow(start: Start, tmp_path: Path) -> None:
    async with start() as running:
        log_to(running, lambda log: Files(tmp_path, log.format, Limits()))
        model = await running.upstream("a")
        running.use(route(model.endpoint, log=PayloadLog(format="parquet")))
        for number in range(20):
            await running.get(PATH, data=b"%d" % number)
        await running.until(lambda: outcomes(running) == {"logged": 40})
    program = ("import json, sys, pyarrow.parquet as p\n"
               "rows = [row for path in sys.argv[1:] for row in p.read_table(path).to_pylist()]\n"
               "print(json.dumps([[r['type'], r['payload'].decode(), r['time'].year, r['status']] for r in rows]))")
    paths = sorted((tmp_path / "default" / "iris").glob("*.parquet"))
    python = await asyncio.to_thread(sdk_python, "pyarrow")
    reading = await asyncio.create_subprocess_exec(python, "-c", program, *paths, stdout=asyncio.subprocess.PIPE)
    rows = json.loads((await reading.communicate())[0])
    assert {row[1] for row in rows if row[0].endswith("request")} == {str(number) for number in range(20)}
    assert sum(row[3] == 200 for row in rows) == 20
