"""Who runs the controllers of a cluster: one process at a time, by a Lease.

An embedded platform holds the Lease under one name in all its lives, since the data directory's lock already keeps a
second one away, so that a restart need not wait for its own former life's Lease to run out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects, times
from lightship.kube.resources import LEASES
from lightship.lib import clock as clocks
from lightship.runtime.election import Election, ElectionOptions, FencingToken

LEASE = objects.Key("kubeflow", "lightship-controllers")
EMBEDDED = "lightship-up"
EMBEDDED_OPTIONS = ElectionOptions(lease_seconds=60, renew_seconds=40, retry_seconds=20)
"""Long, since at rest each renewal is a write to disk."""


class ControllersElsewhere(errors.StateError):
    """Another process runs this cluster's controllers."""


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


async def lead(client: Client, identity: str, work: Callable[[], Awaitable[None]],
               options: ElectionOptions | None = None) -> None:
    """Wait for the Lease and do ``work`` while it is ours."""

    async def led(token: FencingToken) -> None:
        await work()

    await Election(client, LEASE, identity, options=options).lead(led)
