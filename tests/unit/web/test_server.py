"""The server: one clear error for a port in use, and a stop that lets requests end."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from starlette.requests import Request

from lightship import errors
from lightship.kube.objects import Key
from lightship.lib.clock import SYSTEM
from lightship.records.notices import RUNS, Notices
from lightship.testing.clock import FakeClock
from lightship.web import access, server, sessions, sse
from lightship.web.endpoints import route
from tests.unit.web import harness


def test_a_port_in_use_is_one_clear_error() -> None:
    with server.bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.StateError, match=rf"port {port} of 127.0.0.1 is already in use.*--port"):
            server.bind("127.0.0.1", port)


async def test_a_stop_lets_a_request_end() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Any:
        access.everyone(request)
        entered.set()
        await release.wait()
        return {"done": True}

    async with harness.serving([route("/slow", slow)]) as site:
        asked = asyncio.create_task(site.get("/slow"))
        await entered.wait()
        stopped = asyncio.create_task(site.server.stop())
        release.set()
        assert (await asked).json == {"done": True}
        await stopped
        with pytest.raises(aiohttp.ClientConnectionError):
            await site.get("/slow")


async def test_idle_it_does_not_wake_and_an_answer_has_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plain(request: Request) -> Any:
        access.everyone(request)
        return {}

    async with harness.serving([route("/plain", plain)]) as site:
        loop, timers = asyncio.get_running_loop(), []
        call_later = loop.call_later

        def counted(delay: float, *rest: Any, **more: Any) -> asyncio.TimerHandle:
            timers.append(delay)
            return call_later(delay, *rest, **more)

        monkeypatch.setattr(loop, "call_later", counted)
        await asyncio.to_thread(time.sleep, 0.25)
        monkeypatch.undo()
        assert timers == []
        token = {"Authorization": f"Bearer {harness.TOKEN}"}
        async with site.session.get(site.url + "/plain", headers=token) as answer:
            dates = answer.headers.getall("date")
        made = parsedate_to_datetime(dates[0])
        assert len(dates) == 1 and abs((SYSTEM.now() - made).total_seconds()) < 60


async def test_a_page_hears_of_changes_and_the_end() -> None:
    notices = Notices()
    streams = sse.Streams(notices, (RUNS,))

    async def events(request: Request) -> Any:
        access.everyone(request)
        return streams.response()

    async with harness.serving([route("/events", events)]) as site, site.session.get(
            site.url + "/events", headers={"Authorization": f"Bearer {harness.TOKEN}"}) as answer:
        assert answer.content_type == "text/event-stream"
        assert await answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        notices.publish(RUNS, Key("default", "secret-name"))
        notices.publish("other", Key("", ""))
        assert await answer.content.readuntil(b"\n\n") == b'event: changed\ndata: ["runs"]\n\n'
        streams.close()
        assert await answer.content.read() == b""


async def test_streams_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAMS_LIMIT", 0)

    with pytest.raises(errors.Unavailable, match="pages are open"):
        sse.Streams(Notices(), (RUNS,)).response()


def test_a_failing_listener_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    notices, heard = Notices(), []

    def failing(key: Key) -> None:
        raise RuntimeError("listener")

    stop = notices.subscribe(RUNS, failing)
    notices.subscribe(RUNS, heard.append)
    notices.publish(RUNS, Key("a", "b"))
    stop()
    notices.publish(RUNS, Key("c", "d"))

    assert heard == [Key("a", "b"), Key("c", "d")]
    assert caplog.text.count("a listener of the records failed") == 1


def test_sessions_end_by_age_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    opened = sessions.Sessions(clock)
    monkeypatch.setattr(sessions, "SESSIONS_LIMIT", 2)
    first, second, third = (opened.open(f"t{n}") for n in range(3))

    assert (opened.token(first), opened.token(second), opened.token(third)) == (None, "t1", "t2")
    assert sessions.Sessions(SYSTEM).token(second) is None


async def test_a_client_that_sends_endless_headers_is_cut_off() -> None:
    async with harness.serving([]) as site:
        with pytest.raises(aiohttp.ClientError):
            answer = await site.get("/healthz", headers={"X-Long": "x" * 200_000})
            assert answer.status in (400, 431)
            raise aiohttp.ClientError


def test_listening_sockets_say_that_they_are_tcp() -> None:
    """asyncio sends at once only on those; an answer else waits 40 ms for the client's delayed acknowledgement."""
    with server.bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
