"""What is to be done about a recurring run now: make a run, wait for a time, for a run's end, or for nothing. Pure.

``scheduler`` calls me inside the transaction that carries it out.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from lightship.domains.pipelines.recurring import schedule
from lightship.records.rows import RecurringRun


@dataclass(frozen=True, kw_only=True)
class Fire:
    """Make the run of ``scheduled``, the ``index``-th of the recurring run."""

    scheduled: datetime
    index: int


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing now. ``until`` is when to look again, ``for_run`` that a run must end first; neither: never by itself."""

    until: datetime | None = None
    for_run: bool = False


def decide(row: RecurringRun, now: datetime, active_runs: int) -> Fire | Wait:
    """What is due at ``now`` for an enabled recurring run of which ``active_runs`` have not ended.

    A time is due once ``now`` has reached it. With catch-up every time that passed gets its run, one after another;
    without, the latest alone. ``row.counted_from`` is the last time that had its run, or from when times count.
    """
    if not row.enabled:
        return Wait()
    times = schedule.parse(row.trigger, row.created_at)
    due = times.after(row.counted_from)
    if due is None:
        return Wait()
    if due > now:
        return Wait(until=due)
    if active_runs >= row.max_concurrency:
        return Wait(for_run=True)
    if row.no_catchup:
        due = times.until(now, row.counted_from) or due
    return Fire(scheduled=due, index=row.last_index + 1)


def next_at(row: RecurringRun) -> datetime | None:
    """When the recurring run is due next, as its row shows; None while it is disabled or after its end."""
    return schedule.parse(row.trigger, row.created_at).after(row.counted_from) if row.enabled else None


def run_id(recurring_run_id: str, index: int) -> str:
    """The id of the ``index``-th run: the same each time, so that none can be made twice."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lightship:recurring:{recurring_run_id}:{index}"))
