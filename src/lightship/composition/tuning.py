"""Tuning with what it needs: its algorithms' processes, its collectors, the records."""

from __future__ import annotations

from collections.abc import Sequence

from lightship.domains.tuning import TUNING, TuningDeps
from lightship.domains.tuning.algorithms.worker import Suggesters
from lightship.domains.tuning.collectors.gather import CollectorDeps, Collectors
from lightship.domains.tuning.stopping import MedianStop
from lightship.domains.tuning.trial import reconciler as trials
from lightship.kube.objects import Key
from lightship.lib import clock as clocks
from lightship.records.database import Database
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager

IDENTITY = "tuning"


class Tuning:
    """The controllers of tuning; ``close`` ends what they have started."""

    def __init__(self, manager: Manager, database: Database) -> None:
        client, clock = manager.client_for(IDENTITY), clocks.SYSTEM

        def wake(key: Key) -> None:
            manager.wake(trials.NAME, key)

        self._suggesters = Suggesters()
        self._collectors = Collectors(CollectorDeps(client=client, informer=manager.informer, database=database,
                                                    clock=clock, wake=wake))
        self.controllers: Sequence[Controller] = TUNING.controllers(TuningDeps(
            client=client, informer=manager.informer, wake=manager.wake, clock=clock,
            recorder=Recorder(client, "katib-controller"), suggesting=self._suggesters, collecting=self._collectors,
            stopping=MedianStop(database)))

    async def close(self) -> None:
        await self._suggesters.close()
        await self._collectors.close()
