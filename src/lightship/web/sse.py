"""A stream of changes to a browser page, as server-sent events: what changed, never its content.

The page's route calls ``Streams.response``; records' ``Notices`` feed it. A reader that is slow gets its changes merged
rather than queued, and ``close`` ends all streams so that a server with open pages can stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.responses import StreamingResponse

from lightship import errors
from lightship.kube.objects import Key
from lightship.records.notices import Notices

STREAMS_LIMIT = 100
HEARTBEAT_SECONDS = 15.0


class Streams:
    """All open streams of one server."""

    def __init__(self, notices: Notices, topics: tuple[str, ...]) -> None:
        self._notices = notices
        self._topics = topics
        self._open: set[asyncio.Event] = set()
        self._closed = False

    def response(self) -> StreamingResponse:
        """A stream for one reader. Raises ``errors.Unavailable`` when there are too many."""
        if len(self._open) >= STREAMS_LIMIT:
            raise errors.Unavailable(f"more than {STREAMS_LIMIT} pages are open")
        return StreamingResponse(self._events(), media_type="text/event-stream",
                                 headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    def close(self) -> None:
        """Ends every stream and takes no more."""
        self._closed = True
        for wake in self._open:
            wake.set()

    async def _events(self) -> AsyncIterator[bytes]:
        wake = asyncio.Event()
        changed: set[str] = set()
        self._open.add(wake)
        stops = [self._notices.subscribe(topic, _listener(topic, changed, wake)) for topic in self._topics]
        try:
            yield b"retry: 2000\n\n"
            while not self._closed:
                try:
                    await asyncio.wait_for(wake.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                wake.clear()
                if changed:
                    yield b"event: changed\ndata: " + msgspec.json.encode(sorted(changed)) + b"\n\n"
                    changed.clear()
        finally:
            self._open.discard(wake)
            for stop in stops:
                stop()


def _listener(topic: str, changed: set[str], wake: asyncio.Event) -> Callable[[Key], None]:
    def heard(key: Key) -> None:
        changed.add(topic)
        wake.set()

    return heard
