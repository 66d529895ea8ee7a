"""Gathers the metrics of running trials and settles each trial's observation, once.

The trial's reconciler calls ``follow`` and ``met`` in every pass, ``collect`` at the trial's end and ``forget`` when it
is deleted. I follow the trial's Pods through the API (``follow``), wake the reconciler when a trial has met its early
stopping rules, and keep the readings in the records. Everything can be read again from the Pods' logs: after a restart,
or when a pass was cut short, ``collect`` comes to the same observation and the same log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightship import errors
from lightship.client.client import EVERYTHING, Client, Selection
from lightship.domains.tuning import kinds, marks, names
from lightship.domains.tuning.algorithms.search import Rule
from lightship.domains.tuning.collectors import follow, observe, sources, stopping
from lightship.domains.tuning.collectors.observe import Metric
from lightship.domains.tuning.collectors.sources import Source
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, Resource
from lightship.lib import clock as clocks
from lightship.lib.backoff import Backoff
from lightship.lib.tasks import Tasks
from lightship.records import observations
from lightship.records.database import Database
from lightship.records.readings import Reading
from lightship.runtime.informer import Informer

_log = logging.getLogger(__name__)

LIMIT_PODS_PER_TRIAL = 64
LIMIT_KEPT_READINGS = 5_000
"""Of one metric of one Pod: beyond it every second one is let go, again and again. The observation counts them all."""
LIMIT_END_SECONDS = 60.0
"""How long ``collect`` waits for the logs' ends; what has come by then counts."""
LIMIT_ATTEMPTS = 5
_RETRY = Backoff(initial_seconds=0.2, maximum_seconds=5.0, jitter=0.0)


@dataclass(frozen=True, kw_only=True)
class CollectorDeps:
    """``wake`` has the trial's reconciler look at a key; ``client`` may read Pods and their logs."""

    client: Client
    informer: Callable[[Resource, Selection], Informer]
    database: Database
    clock: clocks.Clock
    wake: Callable[[Key], None]


@dataclass(kw_only=True)
class _Kept:
    """A metric's readings, thinned where there are many."""

    readings: list[Reading] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, reading: Reading) -> None:
        if self.seen % self.stride == 0:
            self.readings.append(reading)
        self.seen += 1
        if len(self.readings) > LIMIT_KEPT_READINGS:
            self.readings = self.readings[::2]
            self.stride *= 2


@dataclass(kw_only=True)
class _Pod:
    """One Pod that is read. ``latest`` is the Pod as it was last seen."""

    latest: Object
    tallies: observe.Tallies
    kept: dict[str, _Kept] = field(default_factory=dict)
    taken: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def add(self, readings: Sequence[Reading]) -> None:
        self.tallies.add(readings)
        for reading in readings:
            self.kept.setdefault(reading.metric, _Kept()).add(reading)


@dataclass(kw_only=True)
class _Trial:
    """One trial that is followed."""

    key: Key
    uid: str
    objective: dict[str, Any]
    source: Source
    stopper: stopping.Stopper
    pods: dict[str, _Pod] = field(default_factory=dict)
    told: bool = False
    heard: bool = False
    """Whether what it had reported before is counted."""


class Collectors:
    """All trials that run."""

    def __init__(self, deps: CollectorDeps) -> None:
        self._deps = deps
        self._trials: dict[Key, _Trial] = {}
        self._tasks = Tasks("metrics collectors")
        self._pods = deps.informer(PODS, EVERYTHING)
        self._pods.index_label(names.TRIAL_LABEL)
        self._pods.subscribe(self._pod_changed)
        deps.informer(kinds.TRIALS, EVERYTHING).subscribe(self._trial_changed)

    def __len__(self) -> int:
        return len(self._trials)

    async def close(self) -> None:
        await self._tasks.close()

    def follow(self, trial: Object) -> None:
        """Read the trial's metrics as they come, from now on. Raises ``errors.InvalidInput`` for a broken filter."""
        self._followed(trial)

    def met(self, trial: Object) -> Rule | None:
        """The early stopping rule by which the trial is to stop, once every one of its rules has been met."""
        return self._followed(trial).stopper.met

    def progress(self, trial: Object) -> list[Metric]:
        """The metrics so far of a trial that is followed; nothing for one that reports by itself."""
        followed = self._trials.get(objects.key(trial))
        return _merged(followed, followed.pods.values()).metrics() if followed is not None else []

    async def collect(self, trial: Object) -> list[Metric] | None:
        """The observation of a trial whose run has ended, or which has met its rules; None where there is none.

        Raises what the API or the records answer, and can be called again.
        """
        followed = self._followed(trial)
        stopped = followed.stopper.met is not None
        if not stopped:
            await self._await_ends(followed)
        counted = _counted(followed, stopped=stopped)
        readings = sorted((reading for pod in counted for kept in pod.kept.values() for reading in kept.readings),
                          key=_time)
        reported = await self._reported(followed) if followed.source.pushed or not readings else []
        if reported:
            metrics = observe.observation(followed.objective, reported)
        else:
            metrics = observe.available(followed.objective, _merged(followed, counted).metrics())
            if readings:
                await self._deps.database.lead(lambda connection: observations.replace(
                    connection, *followed.key, readings))
        self._let_go(followed)
        return metrics

    async def reported(self, key: Key, readings: Sequence[Reading]) -> None:
        """A trial has reported by itself: its early stopping rules hear of it, after a restart of all of it."""
        followed = self._trials.get(key)
        if followed is None or not followed.source.pushed or followed.source.reader is not None:
            return
        if not followed.heard:
            followed.heard = True
            readings = await self._reported(followed)
        self._hear(followed, readings)

    async def forget(self, trial: Object) -> None:
        """The trial is being deleted: its observation log goes with it."""
        key = objects.key(trial)
        if (followed := self._trials.get(key)) is not None:
            self._let_go(followed)
        await self._deps.database.lead(lambda connection: observations.delete(connection, *key))

    async def _reported(self, followed: _Trial) -> list[Reading]:
        """What the records have: pushed by the trial, or kept by an earlier ``collect`` whose Pods are gone."""
        return await self._deps.database.read(lambda connection: observations.log(connection, *followed.key))

    def _followed(self, trial: Object) -> _Trial:
        key, uid = objects.key(trial), objects.uid(trial)
        found = self._trials.get(key)
        if found is not None and found.uid == uid:
            return found
        if found is not None:
            self._let_go(found)
        spec = objects.spec(trial)
        made = self._trials[key] = _Trial(key=key, uid=uid, objective=spec.get("objective") or {},
                                          source=sources.of(trial), stopper=stopping.stopper(spec))
        for pod in self._pods.labelled(names.TRIAL_LABEL, key.name):
            if objects.namespace(pod) == key.namespace:
                self._look(made, pod)
        return made

    def _let_go(self, followed: _Trial) -> None:
        for pod in followed.pods.values():
            if pod.task is not None:
                pod.task.cancel()
        if self._trials.get(followed.key) is followed:
            del self._trials[followed.key]

    def _trial_changed(self, old: Object | None, new: Object | None) -> None:
        """A trial that has ended, by whatever end, or is gone is not followed any longer."""
        over = new is None or any(marks.is_true(objects.status(new), type) for type in names.TRIAL_ENDS)
        followed = self._trials.get(objects.key(new or old or {})) if over else None
        if followed is not None and followed.uid == objects.uid(new or old or {}):
            self._let_go(followed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        key = sources.trial_of(pod)
        followed = self._trials.get(key) if key is not None else None
        if followed is None:
            return
        if new is not None:
            self._look(followed, new)
        elif (gone := followed.pods.get(objects.uid(pod))) is not None:
            gone.ended.set()

    def _look(self, followed: _Trial, pod: Object) -> None:
        """Take a Pod in as it is now: begin to read it once there is something to read."""
        source, uid = followed.source, objects.uid(pod)
        container = source.container or source.primary
        known = followed.pods.get(uid)
        if known is None:
            wanted = sources.is_primary(pod, source.pod_labels) and sources.has_begun(pod, container)
            if not wanted or len(followed.pods) >= LIMIT_PODS_PER_TRIAL or not (source.reader or source.page):
                return
            known = followed.pods[uid] = _Pod(latest=pod, tallies=observe.Tallies(names=source.metrics))
            known.task = self._tasks.spawn(self._follow(followed, known), name=str(objects.key(pod)))
        known.latest = pod
        if sources.has_ended(pod, container):
            known.ended.set()

    async def _follow(self, followed: _Trial, pod: _Pod) -> None:
        """Read one Pod to its end. What breaks off is read again from the beginning, past what was taken."""
        source, key = followed.source, objects.key(pod.latest)
        if source.page is not None:
            scraper = follow.Scraper(self._deps.client, self._deps.clock, source.metrics)
            await scraper.run(key, source.page, pod.ended, lambda found: self._take(followed, pod, found))
            return
        assert source.reader is not None
        for attempt in range(LIMIT_ATTEMPTS):
            skip = _Skip(pod.taken)
            try:
                await follow.log(self._deps.client, key, source.container, source.reader,
                                 lambda found, skip=skip: self._take(followed, pod, skip.past(found)))  # type: ignore[misc]
                return
            except errors.NotFound:
                return  # the Pod is gone, and its log with it
            except errors.LightshipError as cause:
                _log.info("a trial's log broke off; will read it again", extra={
                    "pod": str(key), "container": source.container, "error": str(cause)})
            await self._deps.clock.sleep(_RETRY.delay_seconds(attempt + 1, lambda: 0.0))

    def _take(self, followed: _Trial, pod: _Pod, found: Sequence[Reading]) -> None:
        pod.taken += len(found)
        pod.add(found)
        self._hear(followed, found)

    def _hear(self, followed: _Trial, found: Sequence[Reading]) -> None:
        followed.stopper.add(found)
        if followed.stopper.met is not None and not followed.told:
            followed.told = True
            self._deps.wake(followed.key)

    async def _await_ends(self, followed: _Trial) -> None:
        """Every Pod of the trial has been read to its end, or the limit is reached."""
        source = followed.source
        if source.reader is None and source.page is None:
            return
        if not followed.pods or not all(pod.ended.is_set() for pod in followed.pods.values()):
            # The informer may be behind: the run has ended, so its Pods have.
            found = await self._deps.client.list(PODS, Selection(
                namespace=followed.key.namespace, labels=f"{names.TRIAL_LABEL}={followed.key.name}"))
            for pod in found.items:
                self._look(followed, pod)
        reading = [pod.task for pod in followed.pods.values() if pod.task is not None and not pod.task.done()]
        if reading:
            _, late = await asyncio.wait(reading, timeout=LIMIT_END_SECONDS)
            if late:
                _log.warning("a trial's metrics did not end with its run; what has come counts",
                             extra={"trial": str(followed.key), "limit_seconds": LIMIT_END_SECONDS})


class _Skip:
    """Leaves out the first so many readings: those that were taken before the log broke off."""

    def __init__(self, count: int) -> None:
        self._left = count

    def past(self, found: Sequence[Reading]) -> Sequence[Reading]:
        gone = min(self._left, len(found))
        self._left -= gone
        return found[gone:]


def _counted(followed: _Trial, *, stopped: bool) -> list[_Pod]:
    """The Pods whose metrics count: as upstream those that ended well, and all of a trial that was stopped."""
    pods = sorted(followed.pods.values(), key=lambda pod: (
        str(objects.meta(pod.latest).get("creationTimestamp") or ""), objects.name(pod.latest)))
    well = [pod for pod in pods if sources.succeeded(pod.latest, followed.source.primary)]
    return pods if stopped else well or pods


def _merged(followed: _Trial, pods: Any) -> observe.Tallies:
    total = observe.Tallies(names=followed.source.metrics)
    for pod in pods:
        total.merge(pod.tallies)
    return total


def _time(reading: Reading) -> datetime:
    return reading.time
