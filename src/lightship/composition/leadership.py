"""Who runs the controllers of a cluster: one process at a time, by a Lease.

An embedded platform holds the Lease under one name in all its lives, since the data directory's lock already keeps a
second one away, so that a restart need not wait for its own former life's Lease to run out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects, times
from lightship.kube.resources import LEASES, NAMESPACES
from lightship.lib import clock as clocks
from lightship.records.database import Database
from lightship.records.fence import Fence
from lightship.runtime.election import Election, ElectionOptions, FencingToken

LEASE = objects.Key("kubeflow", "lightship-controllers")
EMBEDDED = "lightship-up"
CLUSTER_NAMESPACE = "kube-system"
"""Every cluster has it once, and its uid is the cluster's name by custom."""


class ControllersElsewhere(errors.StateError):
    """Another process runs this cluster's controllers."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Who stands for election, and at which pace."""

    identity: str
    options: ElectionOptions = ElectionOptions()


EMBEDDED_CANDIDATE = Candidate(
    identity=EMBEDDED, options=ElectionOptions(lease_seconds=60, renew_seconds=40, retry_seconds=20))
"""At a long pace, since at rest each renewal is a write to disk."""


def identity() -> str:
    """This process, and no other life of it."""
    return f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}"


async def require_free(client: Client, clock: clocks.Clock) -> None:
    """Raise ``ControllersElsewhere`` where another process than an embedded platform holds a Lease that runs."""
    try:
        lease = await client.get(LEASES, LEASE.name, LEASE.namespace)
    except errors.NotFound:
        return
    spec = objects.spec(lease)
    holder = spec.get("holderIdentity") or ""
    renewed = spec.get("renewTime")
    if holder in ("", EMBEDDED) or not renewed:
        return
    silent_seconds = (clock.now() - times.parse(renewed)).total_seconds()
    if silent_seconds < float(spec.get("leaseDurationSeconds") or 0):
        raise ControllersElsewhere(
            f"the controllers of this cluster run in another process ({holder})",
            remedy="stop that one, or start this one with --no-controllers")


async def claim(client: Client, database: Database) -> None:
    """Hold the records for this cluster. Raises ``errors.StateError`` where another's platform is at work on them."""
    if database.sqlite:  # The data directory's lock keeps others away.
        return
    cluster = await client.get(NAMESPACES, CLUSTER_NAMESPACE)
    await database.claim(objects.uid(cluster))


async def lead(client: Client, database: Database, candidate: Candidate, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease and do ``work`` while it is ours; from then on the records take nothing of earlier leaders."""

    async def led(token: FencingToken) -> None:
        await database.take_lead(Fence(name=str(LEASE), lease=token.lease_uid, token=token.number))
        await work()

    await Election(client, LEASE, candidate.identity, options=candidate.options).lead(led)
