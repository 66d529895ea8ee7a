"""Tuning with what it needs: its algorithms' processes, its collectors, the records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from lightship.domains.tuning.algorithms.worker import Suggesters
from lightship.domains.tuning.collectors import injection
from lightship.domains.tuning.collectors.gather import CollectorDeps, Collectors
from lightship.domains.tuning.collectors.manager import Manager as DbManager
from lightship.domains.tuning.collectors.manager import ManagerDeps
from lightship.domains.tuning.domain import TUNING, TuningDeps
from lightship.domains.tuning.stopping import MedianStop
from lightship.domains.tuning.trial import reconciler as trials
from lightship.kube.objects import Key
from lightship.lib import clock as clocks
from lightship.records.database import Database
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager

IDENTITY = "tuning"
LIMIT_REPORT_BYTES = 1024 * 1024
LIMIT_REPORTS_AT_ONCE = 16
"""Of one connection."""


class Tuning:
    """The controllers of tuning; ``close`` ends what they have started."""

    def __init__(self, manager: Manager, database: Database, launcher_image: str) -> None:
        client, clock = manager.client_for(IDENTITY), clocks.SYSTEM

        def wake(key: Key) -> None:
            manager.wake(trials.NAME, key)

        self._suggesters = Suggesters()
        self._collectors = Collectors(CollectorDeps(client=client, informer=manager.informer, database=database,
                                                    clock=clock, wake=wake))
        self._manager = DbManager(ManagerDeps(informer=manager.informer, database=database,
                                              reported=self._collectors.reported))
        self.controllers: Sequence[Controller] = TUNING.controllers(TuningDeps(
            client=client, informer=manager.informer, wake=manager.wake, clock=clock,
            recorder=Recorder(client, "katib-controller"), suggesting=self._suggesters, collecting=self._collectors,
            stopping=MedianStop(database), sidecar=_sidecar(launcher_image)))

    def begin_reports(self) -> Callable[[], asyncio.Protocol]:
        """What answers trials that report by themselves: called when the first Pod starts, and not before."""
        from lightship.lib import grpc, http2_wire

        def method(answer: Callable[[str, bytes], Awaitable[bytes]]) -> grpc.Method:
            return grpc.unary(lambda call: answer(call.peer[0], call.message))

        methods = {path: method(answer) for path, answer in self._manager.methods.items()}
        server = grpc.Server(methods | {grpc.HEALTH_CHECK: grpc.health(lambda name: True)},
                             http2_wire.Limits(body_bytes=LIMIT_REPORT_BYTES, connection_bytes=2 * LIMIT_REPORT_BYTES,
                                               streams=LIMIT_REPORTS_AT_ONCE))
        return server.protocol

    async def close(self) -> None:
        await self._suggesters.close()
        await self._collectors.close()


def _sidecar(launcher_image: str) -> injection.Sidecar:
    """What reads trials' files: the node's own, or our image's program where Pods are containers."""
    if launcher_image == "builtin":
        return injection.EMBEDDED
    return injection.Sidecar(image=launcher_image, command=injection.PROGRAM)
