"""The Pods of runs: made, let go of, deleted, and their last words. The reconciler's edge to the Kubernetes API.

Every act is safe to repeat: a Pod that is there already is taken as it is, one that is gone is well.
"""

from __future__ import annotations

import contextlib
import logging
from contextlib import aclosing

from lightship import errors
from lightship.client.client import Client
from lightship.domains.pipelines import last_words, logs, names, observe, together, workspace
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from lightship.runtime import finalizers
from lightship.runtime.informer import Informer

_log = logging.getLogger(__name__)

TERMINATE_GRACE_SECONDS = 5
LAST_LINES = 20
LIMIT_LAST_CHARACTERS = 8 * 1024


class Pods:
    """Over one client and the informer of the Pods that have a run's label; ``archive`` keeps the logs of the ended."""

    def __init__(self, client: Client, informer: Informer, archive: logs.Archive, *, kept: int, at_once: int) -> None:
        self._archive = archive
        self._client = client
        self._informer = informer
        self._kept = kept
        self._at_once = at_once
        informer.index_label(names.RUN_LABEL)

    def of(self, run: Key) -> list[Object]:
        return [pod for pod in self._informer.labelled(names.RUN_LABEL, run.name)
                if objects.namespace(pod) == run.namespace]

    def names_of(self, run: Key) -> set[str]:
        return {objects.name(pod) for pod in self.of(run)}

    async def create(self, pod: Object) -> None:
        """Make the Pod. One of that name that belongs to the same run is the one meant."""
        try:
            made = await self._client.create(PODS, pod)
        except errors.AlreadyExists:
            made = await self._client.get(PODS, objects.name(pod), objects.namespace(pod))
            if objects.labels(made).get(names.RUN_LABEL) != objects.labels(pod)[names.RUN_LABEL]:
                raise
        self._informer.observe(made)

    async def release(self, key: Key, *, keep_log: bool = True) -> None:
        """The Pod's outcome is in the records: keep its log, and let it go."""
        pod = self._informer.get(key)
        if pod is not None and names.FINALIZER in objects.finalizers(pod):
            if keep_log:
                await self._archive.keep(pod)
            await finalizers.remove(self._client, PODS, pod, names.FINALIZER)

    async def release_all(self, run: Key, *, keep_logs: bool = True) -> None:
        """The run has ended: nothing of it is held any more."""
        held = [objects.key(pod) for pod in self.of(run) if names.FINALIZER in objects.finalizers(pod)]
        await together.side_by_side([self.release(key, keep_log=keep_logs) for key in held], self._at_once)

    async def delete(self, key: Key) -> None:
        try:
            await self._client.delete(PODS, key, grace_seconds=TERMINATE_GRACE_SECONDS)
        except errors.NotFound:
            _log.debug("a Pod to delete was gone already", extra={"pod": str(key)})

    async def make_workspace(self, claim: Object) -> None:
        with contextlib.suppress(errors.AlreadyExists):  # by an earlier pass, or an earlier life
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim)

    async def delete_workspace(self, run: Key) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.delete(PERSISTENT_VOLUME_CLAIMS, Key(run.namespace, names.workspace(run.name)))

    async def delete_all(self, run: Key) -> None:
        """The run is gone from the records, or its time is over: so go its Pods, and its workspace."""
        if any(workspace.mounted_in(pod, run.name) for pod in self.of(run)):
            await self.delete_workspace(run)
        await self.release_all(run, keep_logs=False)
        left = [objects.key(pod) for pod in self.of(run) if not objects.deleting(pod)]
        await together.side_by_side([self.delete(key) for key in left], self._at_once)

    async def trim(self, run: Key) -> None:
        """Of the Pods that ended well, keep only so many of the latest."""
        found = self.of(run)
        if len(found) <= self._kept:
            return
        done = [pod for pod in found if objects.status(pod).get("phase") == "Succeeded"
                and names.FINALIZER not in objects.finalizers(pod) and not objects.deleting(pod)]
        done.sort(key=lambda pod: str(objects.meta(pod).get("creationTimestamp")))
        surplus = done[:max(0, len(found) - self._kept)]
        await together.side_by_side([self.delete(objects.key(pod)) for pod in surplus], self._at_once)

    async def last_lines(self, pod: Object) -> str:
        """The end of the log that tells why the Pod failed; empty where there is none."""
        container = observe.failed_container(pod)
        if not container:
            return ""
        tail = b""
        try:
            query = {"container": container, "tailLines": str(last_words.LIMIT_SOUGHT_LINES)}
            async with aclosing(self._client.log(objects.key(pod), query)) as chunks:
                async for chunk in chunks:
                    tail = (tail + chunk)[-last_words.LIMIT_SOUGHT_BYTES:]
        except errors.LightshipError as cause:
            # The step failed, and says so without its last words: the message is poorer, the outcome the same.
            _log.info("the log of a failed step cannot be read", extra={"pod": objects.name(pod), "error": str(cause)})
            return ""
        return "\n".join(last_words.own(tail.decode(errors="replace"), LAST_LINES))[-LIMIT_LAST_CHARACTERS:]
