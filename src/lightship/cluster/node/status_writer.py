"""Writes one Pod's status: coalesced, newest last, retried until it is in. ``supervisor`` owns one.

A change is held back for a moment in case more follows, unless it is urgent; while a write is under way later changes
gather into the next. So a Pod that lives briefly costs one write or two. The moment is longer while the node writes
much: when hundreds of Pods come and go, what each was in between is told less often, and how it ended at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import PODS
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.lib.clock import Clock

HOLD_SECONDS = 0.05
HOLD_SECONDS_A_WRITE = 0.02
"""What each write of the whole node within the last second adds to it."""
LIMIT_HOLD_SECONDS = 2.0
_RETRY = Backoff(initial_seconds=0.1, maximum_seconds=30, jitter=0.5)

_log = logging.getLogger(__name__)


class Pace:
    """How long the writers of one node hold back what is not urgent."""

    def __init__(self) -> None:
        self._written: deque[float] = deque()

    def wrote(self, now: float) -> None:
        self._written.append(now)

    def hold_seconds(self, now: float) -> float:
        while self._written and self._written[0] <= now - 1:
            self._written.popleft()
        return min(HOLD_SECONDS + HOLD_SECONDS_A_WRITE * len(self._written), LIMIT_HOLD_SECONDS)


class StatusWriter:
    """``render`` gives the status as it is at the moment of writing."""

    def __init__(self, client: Client, clock: Clock, pod: Object, render: Callable[[], dict[str, Any]],
                 pace: Pace | None = None) -> None:
        self._client = client
        self._clock = clock
        self._key = objects.key(pod)
        self._uid = objects.uid(pod)
        self._render = render
        self._pace = pace or Pace()
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self.gone = False
        """Whether the Pod is no longer there (or another has its name)."""

    def mark(self, *, urgent: bool = False) -> None:
        """The status has changed."""
        self._clean.clear()
        self._dirty.set()
        if urgent:
            self._urgent.set()

    async def flush(self) -> None:
        """Waits until everything marked so far is written, or the Pod is gone."""
        self._urgent.set()
        await self._clean.wait()

    async def run(self) -> None:
        failures = 0
        while not self.gone:
            await self._dirty.wait()
            if not self._urgent.is_set():
                hold_seconds = self._pace.hold_seconds(self._clock.monotonic())
                await tasks.first(self._urgent.wait, partial(self._clock.sleep, hold_seconds))
            self._dirty.clear()
            self._urgent.clear()
            try:
                await self._write()
                failures = 0
            except errors.LightshipError as error:
                failures += 1
                _log.warning("could not write a Pod's status; will try again",
                             extra={"pod": str(self._key), "error": str(error), "failures": failures})
                await self._clock.sleep(_RETRY.delay_seconds(failures, random.random))
                self._dirty.set()
                self._urgent.set()
            if not self._dirty.is_set():
                self._clean.set()
        self._clean.set()

    async def _write(self) -> None:
        self._pace.wrote(self._clock.monotonic())
        patch = {"metadata": {"uid": self._uid}, "status": self._render()}
        try:
            await self._client.patch(PODS, self._key, patch, subresource="status")
        except (errors.NotFound, errors.Conflict, errors.InvalidInput) as error:
            if not await self._is_there():
                self.gone = True
                return
            raise errors.Unavailable(f'could not write the status of Pod "{self._key}"') from error

    async def _is_there(self) -> bool:
        try:
            pod = await self._client.get(PODS, self._key.name, self._key.namespace)
        except errors.NotFound:
            return False
        return objects.uid(pod) == self._uid
