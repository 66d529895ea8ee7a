"""Requests that wait: at a revision's limit, for a revision at zero, through swaps; what the autoscaler is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightship.gateway.routes import Backend, Component, Endpoint, Rule
from tests.unit.gateway.conftest import TOKEN, Running, Start, read_request, route

PATH = "/serving/default/iris"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Gate:
    """A model server that answers one request for each ``open``, in the order of their coming."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.most = self.busy = 0
        self._turns = asyncio.Semaphore(0)

    def open(self, times: int = 1) -> None:
        for _ in range(times):
            self._turns.release()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            self.arrived.append(body)
            self.busy += 1
            self.most = max(self.most, self.busy)
            await self._turns.acquire()
            self.busy -= 1
            writer.write(OK)


def limited(endpoints: Sequence[Endpoint], limit: int, revision: str = "r1") -> list[Backend]:
    return [Backend(revision=revision, weight=100, endpoints=tuple(endpoints), limit=limit)]


def at_zero(revision: str = "r1") -> list[Backend]:
    return [Backend(revision=revision, weight=100, endpoints=(), activate=True)]


async def post(running: Running, body: bytes) -> tuple[int, str]:
    async with running.client.post(PATH, data=body, headers=TOKEN) as answer:
        return answer.status, await answer.text()


def queued(running: Running) -> int:
    return sum(len(load.waiting) for load in running.core.loads)


async def test_a_limit_is_never_passed_and_the_queue_is_first_in_first_out(start: Start) -> None:
    async with start() as running:
        gate = Gate()
        model = await running.upstream("a", gate)
        running.use(route(backends=limited([model.endpoint], 2)))
        sent = []
        for number in range(8):
            sent.append(asyncio.ensure_future(post(running, b"%d" % number)))
            await running.until(lambda: sum(load.in_flight for load in running.core.loads) == len(sent))
        assert queued(running) == 6
        gate.open(8)
        assert [await one for one in sent] == [(200, "ok")] * 8
        assert gate.most == 2
        assert sorted(gate.arrived[:2]) + gate.arrived[2:] == [b"%d" % number for number in range(8)]
        assert queued(running) == 0


async def test_a_full_queue_is_a_503_and_a_long_wait_a_504(start: Start) -> None:
    async with start(queued_requests=1) as running:
        gate = Gate()
        model = await running.upstream("a", gate)
        running.use(route(backends=limited([model.endpoint], 1), timeout=0.2))
        first = asyncio.ensure_future(post(running, b"1"))
        await running.until(lambda: gate.busy == 1)
        second = asyncio.ensure_future(post(running, b"2"))
        await running.until(lambda: queued(running) == 1)
        status, text = await post(running, b"3")
        assert (status, "1 requests wait for it already" in text) == (503, True)
        status, text = await second
        # Whether its time was over in the queue or just after, when the first one's time was over.
        assert (status, "0.2 s" in text) == (504, True)
        assert (await first)[0] == 504
        assert queued(running) == 0


async def test_who_leaves_the_queue_is_not_sent(start: Start) -> None:
    async with start() as running:
        gate = Gate()
        model = await running.upstream("a", gate)
        running.use(route(backends=limited([model.endpoint], 1)))
        first = asyncio.ensure_future(post(running, b"1"))
        await running.until(lambda: gate.busy == 1)
        _, writer = await asyncio.open_connection("127.0.0.1", running.gateway.port)
        writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\ncontent-length: 1\r\n\r\n2"
                     % PATH.encode())
        await running.until(lambda: queued(running) == 1)
        writer.close()
        await running.until(lambda: queued(running) == 0)
        third = asyncio.ensure_future(post(running, b"3"))
        await running.until(lambda: queued(running) == 1)
        gate.open(2)
        assert [(await one)[0] for one in (first, third)] == [200, 200]
        assert gate.arrived == [b"1", b"3"]


async def test_more_endpoints_make_room_for_those_who_wait(start: Start) -> None:
    async with start() as running:
        gates = [Gate(), Gate()]
        models = [await running.upstream(str(number), gate) for number, gate in enumerate(gates)]
        running.use(route(backends=limited([models[0].endpoint], 1)))
        sent = [asyncio.ensure_future(post(running, b"x")) for _ in range(2)]
        await running.until(lambda: queued(running) == 1)
        running.use(route(backends=limited([model.endpoint for model in models], 1)))
        await running.until(lambda: gates[1].busy == 1)
        for gate in gates:
            gate.open()
        assert [(await one)[0] for one in sent] == [200, 200]


async def test_those_who_wait_for_a_revision_that_goes_are_given_to_the_next(start: Start) -> None:
    async with start() as running:
        gate = Gate()
        old, new = await running.upstream("old", gate), await running.upstream("new")
        running.use(route(backends=limited([old.endpoint], 1, "r1")))
        sent = [asyncio.ensure_future(post(running, b"x")) for _ in range(5)]
        await running.until(lambda: queued(running) == 4)
        running.use(route(backends=limited([new.endpoint], 1, "r2")))
        await running.until(lambda: sum(one.done() for one in sent) == 4)
        gate.open()
        assert sorted([await one for one in sent]) == [(200, "new /")] * 4 + [(200, "ok")]


async def test_a_request_for_what_is_at_zero_wakes_it_and_waits(start: Start) -> None:
    async with start() as running:
        running.use(route(backends=at_zero()))
        _, before = await running.json("/-/load")
        watching = asyncio.ensure_future(running.json(f"/-/load?after={before['poke']}&wait=20"))
        await running.until(lambda: bool(running.core.pokes._waiting))
        sent = [asyncio.ensure_future(post(running, b"%d" % number)) for number in range(3)]
        _, told = await watching
        assert told["poke"] == before["poke"] + 1
        assert told["gateway"] == before["gateway"]
        assert [(one["revision"], one["component"]) for one in told["revisions"]] == [("r1", "predictor")]
        assert told["revisions"][0]["activating"] >= 1
        await running.until(lambda: queued(running) == 3)
        _, later = await running.json("/-/load")
        assert later["poke"] == told["poke"]  # the others found it woken
        assert (later["revisions"][0]["inFlight"], later["revisions"][0]["queued"]) == (3, 3)
        model = await running.upstream("a")
        running.use(route(model.endpoint))
        assert [await one for one in sent] == [(200, "a /")] * 3
        _, end = await running.json("/-/load?wait=0")
        assert (end["revisions"][0]["inFlight"], end["revisions"][0]["requests"]) == (0, 3)
        assert 0 < end["revisions"][0]["integral"] < 3 * (end["now"] - before["now"])


async def test_what_is_at_zero_and_cannot_start_says_why(start: Start) -> None:
    async with start(activation_seconds=0.1) as running:
        running.use(route(backends=at_zero(), timeout=0.05, message="no node has room"))
        status, text = await post(running, b"x")
        assert (status, "did not start within 0.1 s: no node has room" in text) == (504, True)


async def test_what_is_at_zero_and_is_given_up_says_why(start: Start) -> None:
    async with start(hold_seconds=0.01) as running:
        running.use(route(backends=at_zero()))
        sent = asyncio.ensure_future(post(running, b"x"))
        await running.until(lambda: queued(running) == 1)
        running.use(route(message="the model cannot be loaded"))
        status, text = await sent
        assert (status, "the model cannot be loaded" in text) == (503, True)


async def test_a_waiting_body_is_not_taken_in_beyond_the_limit(start: Start) -> None:
    async with start(waiting_bytes=100) as running:
        running.use(route(backends=at_zero()))
        status, text = await post(running, b"x" * 200)
        assert (status, "hold 100 bytes" in text) == (503, True)


async def test_a_long_poll_ends_by_itself_and_refuses_nonsense(start: Start) -> None:
    async with start(load_wait_seconds=0.05) as running:
        assert (await running.json("/-/load?after=0&wait=10"))[1]["poke"] == 0
        assert (await running.json("/-/load?after=x"))[0] == 400
        assert (await running.json("/-/load?after=0&wait=nan"))[0] == 200
        assert (await running.json("/-/load", headers={}))[0] == 401


async def test_tags_and_components(start: Start) -> None:
    async with start() as running:
        a, b, c = [await running.upstream(name) for name in "abc"]
        running.use(route(
            backends=[Backend(revision="r1", weight=100, endpoints=(a.endpoint,)),
                      Backend(revision="r2", weight=0, endpoints=(b.endpoint,), tag="next")],
            rules=(Rule(component=Component(name="explainer", backends=(
                Backend(revision="e1", weight=100, endpoints=(c.endpoint,)),)), suffix=":explain"),)))
        tag = {"Knative-Serving-Tag": "next"}
        assert (await running.get(PATH))[1] == "a /"
        assert (await running.get(PATH, headers=TOKEN | tag))[1] == "b /"
        assert (await running.get("/x", headers=TOKEN | {"Host": "next-iris-default.example.com"}))[1] == "b /x"
        for _ in range(2):  # the second time from memory
            assert (await running.get(f"{PATH}/v1/models/m:explain"))[1] == "c /v1/models/m:explain"
        _, loads = await running.json("/-/load")
        assert {(one["component"], one["revision"], one["requests"]) for one in loads["revisions"]} == {
            ("predictor", "r1", 1), ("predictor", "r2", 2), ("explainer", "e1", 2)}
