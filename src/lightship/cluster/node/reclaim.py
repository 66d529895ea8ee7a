"""Deletes the directories of volumes whose claim is gone, and then the volumes: only where the policy says Delete.

``agent`` starts me. The controller of volumes marks one ``Released`` once its claim is gone; until I have deleted the
directory a finalizer holds the object, so that a crash leaves no directory that nobody knows of.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from pathlib import Path

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import PERSISTENT_VOLUMES
from lightship.lib import tasks
from lightship.lib.clock import Clock
from lightship.runtime.informer import Informer

DRIVER = "directories.lightship.dev"
FINALIZER = "kubernetes.io/pv-protection"
RETRY_SECONDS = 10.0
_HANDLE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z", re.ASCII)

_log = logging.getLogger(__name__)


def directory(volume: Object, claims_directory: Path) -> Path | None:
    """Where a volume of ours is, or None for another's. Raises ``errors.InvalidInput`` for a handle that is none."""
    source = objects.spec(volume).get("csi") or {}
    if source.get("driver") != DRIVER:
        return None
    handle = str(source.get("volumeHandle") or "")
    if not _HANDLE.match(handle):
        raise errors.InvalidInput(f'volume "{objects.name(volume)}" has the handle {handle!r}, which names no '
                                  "directory")
    return claims_directory / handle


def doomed(volume: Object, node: str) -> bool:
    """Whether the data is to go: the claim is gone (or the volume itself is being deleted), here, and by its policy."""
    spec = objects.spec(volume)
    if (spec.get("csi") or {}).get("driver") != DRIVER or spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return False
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    here = any(node in (expression.get("values") or ()) for term in terms
               for expression in term.get("matchExpressions") or ())
    return here and objects.status(volume).get("phase") == "Released"


class Reclaimer:
    """Watches volumes and deletes what is doomed, one after the other."""

    def __init__(self, client: Client, node: str, claims_directory: Path, clock: Clock) -> None:
        self._client = client
        self._node = node
        self._directory = claims_directory
        self._clock = clock
        self._volumes = Informer(client, PERSISTENT_VOLUMES, clock=clock)
        self._tasks = tasks.Tasks("reclaimed volumes")
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Begin; a server without volumes (an old one) is asked again now and then."""
        self._volumes.subscribe(self._look)
        await self._volumes.start()
        self._tasks.spawn(self._run(), name="reclaim")

    async def stop(self) -> None:
        await self._volumes.stop()
        await self._tasks.close()

    def _look(self, old: Object | None, new: Object | None) -> None:
        if new is not None and doomed(new, self._node):
            self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for volume in [volume for volume in self._volumes.list() if doomed(volume, self._node)]:
                try:
                    await self._reclaim(volume)
                except (errors.LightshipError, OSError) as error:
                    _log.warning("could not reclaim a volume; will try again", extra={
                        "volume": objects.name(volume), "error": str(error)})
                    self._tasks.spawn(self._again(), name="again")

    async def _again(self) -> None:
        await self._clock.sleep(RETRY_SECONDS)
        self._changed.set()

    async def _reclaim(self, volume: Object) -> None:
        path = directory(volume, self._directory)
        assert path is not None, "only ours are doomed"
        if path.exists():
            await asyncio.to_thread(shutil.rmtree, path)
        try:
            if not objects.deleting(volume):
                await self._client.delete(PERSISTENT_VOLUMES, objects.key(volume), uid=objects.uid(volume))
            held = [name for name in objects.finalizers(volume) if name != FINALIZER]
            await self._client.patch(PERSISTENT_VOLUMES, objects.key(volume), {"metadata": {"finalizers": held}})
        except errors.NotFound:
            return  # without a finalizer the deletion was all
