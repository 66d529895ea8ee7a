"""What goes well with Pods, told as events in idle moments: Pulled, Created, Started, Killing.

``supervisor`` and its containers call ``tell``, which only remembers; ``agent`` runs me. Such events are for people who
look later: writing three of them while a Pod starts would cost it more than its fork. Warnings do not come through me.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.lib.clock import Clock
from lightship.runtime.events import Announcement, Recorder

PAUSE_SECONDS = 0.5
"""Between the first word of a batch and its writing."""
LIMIT_WAITING_EVENTS = 4096
"""So many are remembered; beyond it the newest are not told."""

_log = logging.getLogger(__name__)


class Announcer:
    """Writes what it is told in order, one event at a time."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._waiting: deque[tuple[Object, Announcement]] = deque()
        self._some = asyncio.Event()

    def tell(self, pod: Object, reason: str, message: str) -> None:
        """Remembers a Normal event of the Pod."""
        if len(self._waiting) >= LIMIT_WAITING_EVENTS:
            _log.info("too many events wait; one is not told", extra={"pod": str(objects.key(pod)), "reason": reason})
            return
        self._waiting.append((_reference(pod), Announcement("Normal", reason, message)))
        self._some.set()

    async def run(self) -> None:
        """Writes until cancelled; what is not written by then is not told."""
        while True:
            await self._some.wait()
            await self._clock.sleep(PAUSE_SECONDS)
            self._some.clear()
            while self._waiting:
                pod, words = self._waiting.popleft()
                await self._recorder.event(pod, *words)


def _reference(pod: Object) -> Object:
    """As much of the Pod as an event tells: what waits must not keep old Pods in memory."""
    kept = ("name", "namespace", "uid", "resourceVersion")
    metadata = {name: value for name, value in objects.meta(pod).items() if name in kept}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
