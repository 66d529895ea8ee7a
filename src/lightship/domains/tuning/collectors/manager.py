"""Katib's ``api.v1.beta1.DBManager``: how trials report metrics by themselves, over gRPC.

``composition`` gives ``methods`` to a gRPC server that Pods find as ``katib-db-manager.kubeflow:6789``, the address
that ``report_metrics`` of Katib's SDK knows. The protocol carries no identity, and a trial's name without its
namespace. So it is the caller's address that says who asks: it is a Pod's, which no other Pod can have, and a Pod
reaches the trials of its own namespace and no others. Whoever else calls is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.tuning import kinds
from lightship.domains.tuning.collectors import messages
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS, Resource
from lightship.records import observations
from lightship.records.database import Database
from lightship.records.readings import Reading
from lightship.runtime.informer import Informer

SERVICE = Key("kubeflow", "katib-db-manager")
PORT = 6789
LIMIT_UNKNOWN_SECONDS = 5.0
"""How long a caller that no Pod is known for waits: a Pod may call before its status has told its address."""
LIMIT_WAITING = 256

_INDEX = "tuning-ip"


@dataclass(frozen=True, kw_only=True)
class ManagerDeps:
    """``reported`` is told of what a trial has reported, once it is kept."""

    informer: Callable[[Resource, Selection], Informer]
    database: Database
    reported: Callable[[Key, Sequence[Reading]], Awaitable[None]]


class Manager:
    """``methods`` by their paths; each gets the caller's address and the request's message, and gives the answer's."""

    def __init__(self, deps: ManagerDeps) -> None:
        self._deps = deps
        self._pods = deps.informer(PODS, EVERYTHING)
        self._trials = deps.informer(kinds.TRIALS, EVERYTHING)
        self._pods.add_index(_INDEX, _addresses)
        self._waiting = 0

    @property
    def methods(self) -> Mapping[str, Callable[[str, bytes], Awaitable[bytes]]]:
        return {f"/{messages.SERVICE}/ReportObservationLog": self.report,
                f"/{messages.SERVICE}/GetObservationLog": self.get,
                f"/{messages.SERVICE}/DeleteObservationLog": self.delete}

    async def report(self, ip: str, data: bytes) -> bytes:
        """Add to a trial's log. Raises ``errors.LightshipError`` as the gRPC status that fits it."""
        request = messages.report(data)
        key = await self._trial(ip, request.trial)
        await self._deps.database.run(lambda connection: observations.report(connection, *key, request.readings))
        await self._deps.reported(key, request.readings)
        return b""

    async def get(self, ip: str, data: bytes) -> bytes:
        request = messages.query(data)
        key = await self._trial(ip, request.trial)
        found = await self._deps.database.read(lambda connection: observations.log(connection, *key, request.wanted))
        return messages.log(found)

    async def delete(self, ip: str, data: bytes) -> bytes:
        key = await self._trial(ip, messages.trial(data))
        await self._deps.database.run(lambda connection: observations.delete(connection, *key))
        return b""

    async def _trial(self, ip: str, name: str) -> Key:
        key = Key(objects.namespace(await self._caller(ip)), name)
        if self._trials.get(key) is None:
            raise errors.NotFound(f'there is no trial "{name[:253]}" in the caller\'s namespace "{key.namespace}"',
                                  remedy="A trial's own name is in its variable KATIB_TRIAL_NAME")
        return key

    async def _caller(self, ip: str) -> Object:
        """The Pod that calls. Raises ``errors.Unauthenticated``."""
        found: Sequence[Object] = self._pods.indexed(_INDEX, ip)
        if not found and self._waiting < LIMIT_WAITING:
            found = await self._appearing(ip)
        if len(found) != 1:
            raise errors.Unauthenticated(f"no Pod is known at {ip}", remedy="Report metrics from inside a trial's Pod")
        return next(iter(found))

    async def _appearing(self, ip: str) -> Sequence[Object]:
        seen = asyncio.Event()
        leave = self._pods.subscribe(lambda old, new: seen.set() if new is not None and ip in _addresses(new) else None)
        self._waiting += 1
        try:
            async with asyncio.timeout(LIMIT_UNKNOWN_SECONDS):
                await seen.wait()
        except TimeoutError:
            return ()
        finally:
            self._waiting -= 1
            leave()
        return list(self._pods.indexed(_INDEX, ip))


def _addresses(pod: Object) -> Iterable[str]:
    """The address of a Pod that runs and has one of its own."""
    ip = objects.status(pod).get("podIP")
    over = objects.status(pod).get("phase") in ("Succeeded", "Failed")
    return () if over or not ip or objects.spec(pod).get("hostNetwork") else (str(ip),)


def service() -> Object:
    """The Service that names it: without a selector, since the platform answers itself."""
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": SERVICE.name, "namespace": SERVICE.namespace,
                         "labels": {"katib.kubeflow.org/component": "db-manager"}},
            "spec": {"ports": [{"name": "api", "port": PORT, "protocol": "TCP"}]}}
