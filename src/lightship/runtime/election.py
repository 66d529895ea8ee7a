"""One leader among several processes, by a Lease.

``lightship controllers`` calls me on a cluster; I call ``client``. The fencing token is the Lease's
``leaseTransitions``: it grows with every change of hands, so a store can refuse a writer that has been deposed without
knowing it.

I never trust another's clock: how long a Lease has been silent is measured on my own, from when I first saw its last
renewal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import LEASES
from lightship.lib import clock as clocks
from lightship.lib import tasks

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class FencingToken:
    """Grows with every leader of one Lease; a Lease that was deleted and made anew has another uid, and begins anew."""

    number: int
    lease_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class ElectionOptions:
    """As Kubernetes' own components have them."""

    lease_seconds: float = 15.0
    """A Lease that is silent this long may be taken."""
    renew_seconds: float = 10.0
    """A leader that has not managed to renew for this long steps down; less than ``lease_seconds``."""
    retry_seconds: float = 2.0


@dataclass(kw_only=True)
class _Observed:
    """What the Lease last said, and when (monotonic) I first saw it say so."""

    stamp: tuple[str, str]
    seconds: float


class Election:
    """A candidate. ``identity`` must differ between processes, and between the lives of one."""

    def __init__(self, client: Client, lease: Key, identity: str, clock: clocks.Clock = clocks.SYSTEM, *,
                 options: ElectionOptions | None = None) -> None:
        self._client = client
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._options = options or ElectionOptions()
        self._observed: _Observed | None = None

    async def lead(self, work: Callable[[FencingToken], Awaitable[None]]) -> None:
        """Wait until I lead, do ``work``, and give the Lease up when it ends. Its exception is raised.

        When leadership is lost ``work`` is cancelled and ``errors.Unavailable`` is raised: the process should start
        anew rather than go on with what it believes.
        """
        token = await self._acquire()
        _log.info("this process leads", extra={"lease": str(self._lease), "token": token.number})
        renewing = asyncio.create_task(self._keep())
        working = asyncio.ensure_future(work(token))
        try:
            await asyncio.wait((renewing, working), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise errors.Unavailable(f'lost the Lease "{self._lease}" to another process, or could not renew it')
            working.result()
        finally:
            for task in (renewing, working):
                task.cancel()
            await asyncio.gather(renewing, working, return_exceptions=True)
            await self._release()

    async def _acquire(self) -> FencingToken:
        while True:
            try:
                token = await self._within(self._options.renew_seconds, self._try())
            except errors.LightshipError as error:
                _log.warning("could not read or write a lease", extra={"lease": str(self._lease), "error": str(error)})
                token = None
            if token is not None:
                return token
            await self._clock.sleep(self._options.retry_seconds)

    async def _keep(self) -> None:
        """Renew until it fails for too long or another holds the Lease."""
        renewed = self._clock.monotonic()
        while (left := renewed + self._options.renew_seconds - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(self._options.retry_seconds, left))
            began = self._clock.monotonic()
            try:
                if await self._within(renewed + self._options.renew_seconds - began, self._try()) is None:
                    return
                renewed = began
            except errors.LightshipError as error:
                _log.warning("could not renew a lease", extra={"lease": str(self._lease), "error": str(error)})

    async def _within(self, seconds: float, request: Coroutine[Any, Any, T]) -> T:
        """A server that does not answer must not keep a leader in office, nor one that leaves."""
        attempt = asyncio.ensure_future(request)
        try:
            await tasks.first(lambda: asyncio.wait({attempt}), lambda: self._clock.sleep(seconds))
            if not attempt.done():
                raise errors.DeadlineExceeded("the server did not answer in time")
            return attempt.result()
        finally:
            attempt.cancel()

    async def _try(self) -> FencingToken | None:
        """Take or renew the Lease; None while another holds it."""
        try:
            lease = await self._client.get(LEASES, self._lease.name, self._lease.namespace)
        except errors.NotFound:
            return await self._create()
        spec = objects.spec(lease)
        holder, transitions = str(spec.get("holderIdentity") or ""), int(spec.get("leaseTransitions") or 0)
        if holder != self._identity:
            if holder and not self._silent(spec, holder):
                return None
            transitions += 1
        await self._client.update(LEASES, lease | {"spec": self._spec(spec, transitions, holder)})
        return FencingToken(transitions, objects.uid(lease))

    def _silent(self, spec: Object, holder: str) -> bool:
        stamp = (holder, str(spec.get("renewTime") or ""))
        now = self._clock.monotonic()
        if self._observed is None or self._observed.stamp != stamp:
            self._observed = _Observed(stamp=stamp, seconds=now)
        return now - self._observed.seconds >= float(spec.get("leaseDurationSeconds") or 0)

    async def _create(self) -> FencingToken | None:
        lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind,
                 "metadata": {"name": self._lease.name, "namespace": self._lease.namespace},
                 "spec": self._spec({}, 0, "")}
        try:
            made = await self._client.create(LEASES, lease)
        except errors.AlreadyExists:
            return None
        return FencingToken(0, objects.uid(made))

    def _spec(self, old: Object, transitions: int, holder: str) -> Object:
        now = clocks.micro_timestamp(self._clock.now())
        acquired = old.get("acquireTime") if holder == self._identity else None
        return old | {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._options.lease_seconds),
                      "acquireTime": acquired or now, "renewTime": now, "leaseTransitions": transitions}

    async def _release(self) -> None:
        """Let the next one in at once, where that can be done; else the Lease runs out by itself."""
        try:
            await self._within(self._options.retry_seconds, self._empty())
        except errors.LightshipError as error:
            _log.info("could not give up a lease", extra={"lease": str(self._lease), "error": str(error)})

    async def _empty(self) -> None:
        lease = await self._client.get(LEASES, self._lease.name, self._lease.namespace)
        if objects.spec(lease).get("holderIdentity") == self._identity:
            spec = objects.spec(lease) | {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.update(LEASES, lease | {"spec": spec})
