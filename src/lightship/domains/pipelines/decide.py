"""What to do about one step, from what is seen of it: its row, its Pod, its commit record, the time. Pure.

``reconciler`` observes, calls me for every step that has begun, and applies the verdicts. The commit record decides
success, whatever the Pod says; an attempt that the node's restart cut short is run again for free; any other failure
counts against the retry policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lightship.domains.pipelines import ir, names
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import TaskIO, TaskRow

MAX_RESTARTS = 100
"""Attempts of one step that may be cut short by restarts of its node before it is given up."""


@dataclass(frozen=True, kw_only=True)
class PodView:
    """What matters of a Pod. ``failure`` tells why it failed, in words; ``waiting`` why it does not start."""

    phase: str
    reason: str = ""
    failure: str = ""
    waiting: str = ""
    deleting: bool = False
    scheduled: bool = False

    @property
    def running(self) -> bool:
        return self.phase == "Running"

    @property
    def ended(self) -> bool:
        """Whether nothing of it will run any more."""
        return self.phase in ("Succeeded", "Failed") or (self.deleting and not self.scheduled)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One step that has begun, as observed. ``outputs`` is there only when its commit record is."""

    row: TaskRow
    pod: PodView | None
    outputs: TaskIO | None = None
    defect: str = ""
    """Why the commit record cannot be used, where there is one that cannot."""
    last_lines: str = ""
    """The end of the log of what failed."""
    retry: ir.Retry | None = None
    ends: str = ""
    """Why it is to be ended, where it is."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing to do; look again after some seconds, or only when something changes. ``note`` is for the reader."""

    seconds: float | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Create:
    """The intent row is there and the Pod is not: make it."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """The Pod runs, and the row does not say so yet."""


@dataclass(frozen=True, kw_only=True)
class Delete:
    """The run is being terminated: delete the Pod."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """Begin another attempt at ``at``; ``counts`` says whether it uses up a retry. ``why`` is for the reader."""

    counts: bool
    at: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class Settle:
    """The step has ended."""

    state: str
    outputs: TaskIO = rows.NO_IO
    error: str = ""


Verdict = Wait | Create | Running | Delete | Again | Settle


def decide(seen: Seen, now: datetime) -> Verdict:
    """The one thing to do about the step now."""
    row, pod = seen.row, seen.pod
    if seen.outputs is not None and (pod is None or pod.ended):
        return Settle(state=rows.SUCCEEDED, outputs=seen.outputs)
    if seen.ends:
        return _cancel(pod, seen.ends)
    if pod is None:
        if row.state == rows.RUNNING:
            return _failed(seen, now, "its Pod is gone, and it left no outputs")
        if row.retry_at is not None and row.retry_at > now:
            return Wait(seconds=(row.retry_at - now).total_seconds())
        return Create()
    if pod.ended:
        return _ended(seen, pod, now)
    if pod.running and row.state != rows.RUNNING:
        return Running()
    return Wait(note=pod.waiting)


def _cancel(pod: PodView | None, why: str) -> Verdict:
    if pod is None or pod.ended:
        return Settle(state=rows.CANCELED, error=why)
    return Wait() if pod.deleting else Delete()


def _ended(seen: Seen, pod: PodView, now: datetime) -> Verdict:
    restarts = seen.row.attempt - seen.row.retries
    if pod.reason == names.NODE_RESTARTED and restarts < MAX_RESTARTS:
        return Again(counts=False, at=now, why="the node was restarted while it ran")
    if seen.defect:
        return _failed(seen, now, seen.defect)
    if pod.failure:
        return _failed(seen, now, pod.failure)
    if pod.phase == "Succeeded":
        return _failed(seen, now, "it ended well, and yet its outputs were not kept: there is no commit record")
    return _failed(seen, now, "its Pod was deleted" if pod.deleting else "its Pod failed, with no reason given")


def _failed(seen: Seen, now: datetime, why: str) -> Verdict:
    used, retry = seen.row.retries, seen.retry
    if retry is None or used >= retry.max_count:
        tries = f" (attempt {used + 1} of {retry.max_count + 1})" if retry is not None and retry.max_count else ""
        log = f"\nThe last lines of its log:\n{seen.last_lines}" if seen.last_lines else ""
        return Settle(state=rows.FAILED, error=why + tries + log)
    return Again(counts=True, at=now + timedelta(seconds=delay_seconds(retry, used)), why=why)


def delay_seconds(retry: ir.Retry, used: int) -> float:
    """How long to wait before the retry that follows ``used`` earlier ones."""
    try:
        return min(retry.backoff_seconds * retry.factor ** used, retry.max_seconds)
    except OverflowError:
        return retry.max_seconds
