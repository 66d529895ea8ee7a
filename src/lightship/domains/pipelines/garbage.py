"""Clears what deleted runs left: artifacts that no run refers to any more, commit records, logs.

The manager calls me for each namespace at the start and from time to time, and at once when a run is deleted. What I do
is safe to repeat, and to be killed at: rows say what is doomed before it is deleted, and go only after.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from lightship import errors
from lightship.artifacts.store import ObjectStore, Stores
from lightship.domains.pipelines import together
from lightship.kube.objects import Key
from lightship.lib.clock import Clock
from lightship.records import garbage
from lightship.records.database import Database
from lightship.records.garbage import Doomed, Leftover
from lightship.runtime.controller import Result

_log = logging.getLogger(__name__)

LIMIT_ARTIFACTS_PER_PASS = 200
LIMIT_RUNS_PER_PASS = 20
LIMIT_FILES_PER_PASS = 5_000
DELETIONS_AT_ONCE = 8
REST_SECONDS = 60.0
"""How long a deleted run's folder rests before it is cleared: its last steps may still be ending."""
PERIOD_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Collector:
    """A reconciler of namespaces."""

    database: Database
    artifacts: Stores
    clock: Clock
    rest_seconds: float = REST_SECONDS

    async def reconcile(self, key: Key) -> Result:
        namespace, store = key.name, self.artifacts.within(key.name)
        doomed = await self.database.lead(lambda c: garbage.doom(c, namespace, LIMIT_ARTIFACTS_PER_PASS))
        gone = await together.side_by_side([self._delete(store, one) for one in doomed], DELETIONS_AT_ONCE)
        forgotten = [artifact_id for artifact_id in gone if artifact_id]
        if forgotten:
            await self.database.lead(lambda c: garbage.forget(c, forgotten))
        again = await self._clear_folders(namespace, store)
        if len(doomed) == LIMIT_ARTIFACTS_PER_PASS and forgotten:
            again = 0
        return Result(requeue_after_seconds=PERIOD_SECONDS if again is None else min(again, PERIOD_SECONDS))

    async def _delete(self, store: ObjectStore, doomed: Doomed) -> str:
        """Delete the content that is ours; the artifact's id where its row may go."""
        if not doomed.run_id:
            return doomed.artifact_id
        try:
            await store.delete(doomed.uri)
        except (errors.Forbidden, errors.Unsupported, errors.InvalidInput) as cause:
            # It cannot be deleted now or later: the row goes, and the file is its store's owner's.
            _log.info("an artifact of a deleted run stays where it is",
                      extra={"uri": doomed.uri, "error": str(cause)})
        except errors.LightshipError as cause:
            _log.warning("could not delete an artifact; it will be tried again",
                         extra={"uri": doomed.uri, "error": str(cause)})
            return ""
        return doomed.artifact_id

    async def _clear_folders(self, namespace: str, store: ObjectStore) -> float | None:
        """Clear folders that have rested; the seconds until there is more to do, or None."""
        again: float | None = None
        for left, removed_at in await self.database.read(
                lambda c: garbage.leftovers(c, namespace, LIMIT_RUNS_PER_PASS)):
            due = removed_at + timedelta(seconds=self.rest_seconds)
            wait = (due - self.clock.now()).total_seconds()
            if wait > 0:
                return wait if again is None else min(again, wait)
            if not await self._clear(store, left):
                again = 0
        return again

    async def _clear(self, store: ObjectStore, left: Leftover) -> bool:
        """Delete the folder's files but those that others use. False: there are more."""
        kept = await self.database.read(lambda c: garbage.kept_uris(c, left.run_id))
        try:
            found = list(await store.list(left.root, limit=LIMIT_FILES_PER_PASS + len(kept)))
            loose = [entry.uri for entry in found if not _under(entry.uri, kept)]
            await together.side_by_side([store.delete(uri) for uri in loose], DELETIONS_AT_ONCE)
        except (errors.Forbidden, errors.Unsupported, errors.InvalidInput) as cause:
            _log.info("the files of a deleted run stay where they are",
                      extra={"folder": left.root, "error": str(cause)})
            found, loose = [], []
        if loose and len(found) >= LIMIT_FILES_PER_PASS + len(kept):
            return False
        await self.database.lead(lambda c: garbage.cleared(c, left.run_id))
        return True


def _under(uri: str, kept: Sequence[str]) -> bool:
    return any(uri == one or uri.startswith(f"{one}/") for one in kept)
