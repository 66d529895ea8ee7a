"""How often a job's replicas were made anew after they failed: the count for ``backoffLimit``, and the pauses between.

A Pod that is made anew begins with no count of its own, so the job keeps it, in an annotation. It is written before the
failed Pod is deleted, and says which Pod it counted, so that no crash counts one twice or not at all. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from lightship import errors
from lightship.domains.training.v1 import names
from lightship.kube import objects, times
from lightship.kube.objects import Object

FIRST_PAUSE_SECONDS = 1.0
LIMIT_PAUSE_SECONDS = 60.0
"""The first restart is at once; then a replica waits a second, two, four, at most so long."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Of one replica: ``pod`` is the uid of the Pod that was counted last."""

    count: int
    pod: str
    at: str


@dataclass(frozen=True, kw_only=True)
class Restarts:
    """All entries of a job, by the replica's name."""

    entries: Mapping[str, Entry]

    @property
    def total(self) -> int:
        return sum(entry.count for entry in self.entries.values())

    def counted(self, pod: Object) -> bool:
        """Whether this very Pod has been counted."""
        entry = self.entries.get(objects.name(pod))
        return entry is not None and entry.pod == objects.uid(pod)

    def with_pod(self, pod: Object, now: datetime, by: int) -> Restarts:
        """``by`` more for the replica whose Pod has failed."""
        name = objects.name(pod)
        before = self.entries.get(name)
        entry = Entry(count=(before.count if before else 0) + by, pod=objects.uid(pod), at=times.rfc3339(now))
        return Restarts(entries={**self.entries, name: entry})

    def due(self, replica: str) -> datetime | None:
        """When the replica may be made anew; None where at once."""
        entry = self.entries.get(replica)
        if entry is None or entry.count < 2:
            return None
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(entry.count - 2, 16), LIMIT_PAUSE_SECONDS)
        return times.parse(entry.at) + timedelta(seconds=seconds)

    def text(self) -> str:
        return msgspec.json.encode(self.entries, order="sorted").decode()


def read(job: Object) -> Restarts:
    """What the annotation says; nothing where it is missing or not ours."""
    text = objects.annotations(job).get(names.RESTARTS_ANNOTATION, "{}")
    try:
        entries = msgspec.json.decode(text, type=dict[str, Entry])
        for entry in entries.values():
            times.parse(entry.at)
    except (msgspec.DecodeError, errors.InvalidInput):  # somebody wrote something else there: we begin anew
        return Restarts(entries={})
    return Restarts(entries=entries)


def containers(pod: Object) -> int:
    """How often the node has restarted a Pod's containers in place."""
    status = objects.status(pod)
    return sum(int(one.get("restartCount") or 0)
               for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())))
