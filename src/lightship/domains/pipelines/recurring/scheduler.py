"""Makes the runs of recurring runs when they are due, each in one transaction with the row that says it was made.

The manager calls ``Scheduler`` with (namespace, recurring run id): when its time has come, when REST changed it, when a
run ended that it waited for. ``Resync`` takes up what is enabled at a start, and what a jump of the clock, a suspended
machine or another process's write made due. The run's id follows from its index, and index and run are written
together: a crash at any instruction neither loses nor doubles one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from lightship import errors
from lightship.domains.pipelines.providers import Providers
from lightship.domains.pipelines.recurring import decide, macros
from lightship.domains.pipelines.recurring.decide import Fire, Wait
from lightship.kube.objects import Key
from lightship.lib.clock import Clock
from lightship.records import notices, pipelines, recurring, run_history
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.records.pipeline_rows import PENDING
from lightship.records.rows import RecurringRun, Run
from lightship.runtime.controller import DONE, Result

RESYNC_SECONDS = 60.0
LIMIT_RUNS_PER_PASS = 10
"""Runs that one pass may make before others have their turn."""


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """What one transaction did: the runs that it made, and those that it saw unended."""

    made: Sequence[Key]
    step: Fire | Wait
    active: Sequence[Key] = ()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What the namespace says of where runs lie, or why it cannot be heeded."""

    root: str = ""
    defect: str = ""


class Scheduler:
    """A reconciler of recurring runs. ``wake`` puts one's key in my queue."""

    def __init__(self, database: Database, told: Notices, clock: Clock, wake: Callable[[Key], None],
                 stores: Providers | None = None) -> None:
        self._database = database
        self._stores = stores
        self._notices = told
        self._clock = clock
        self._wake = wake
        self._blocked: dict[Key, set[Key]] = {}
        """Runs whose end is waited for, and the recurring runs that do."""
        self._ends = 0
        told.subscribe(notices.RECURRING, wake)
        told.subscribe(notices.ENDED_RUNS, self._run_ended)

    async def reconcile(self, key: Key) -> Result:
        ends, now = self._ends, self._clock.now()
        place = self._place(key.namespace)
        passed = await self._database.lead(lambda connection: _pass(connection, key, now, place))
        if passed is None:
            return DONE
        for run in passed.made:
            self._notices.publish(notices.RUNS, run)
        if isinstance(passed.step, Fire):
            return Result(requeue_after_seconds=0)
        if passed.step.for_run:
            for run in passed.active:
                self._blocked.setdefault(run, set()).add(key)
            if self._ends != ends:  # One of them may have ended before it was waited for.
                self._wake(key)
        if passed.step.until is None:
            return DONE
        return Result(requeue_after_seconds=max(0.0, (passed.step.until - now).total_seconds()))

    def _place(self, namespace: str) -> _Place:
        """Where runs of the namespace lie now, unless they or their pipelines say otherwise."""
        if self._stores is None:
            return _Place()
        try:
            return _Place(root=self._stores.config(namespace).root)
        except errors.InvalidInput as cause:
            return _Place(defect=str(cause))

    def _run_ended(self, run: Key) -> None:
        self._ends += 1
        for key in self._blocked.pop(run, ()):
            self._wake(key)


@dataclass(kw_only=True)
class Resync:
    """A reconciler of namespaces: the first time all that is enabled, afterwards all that is due."""

    database: Database
    clock: Clock
    wake: Callable[[Key], None]

    def __post_init__(self) -> None:
        self._begun: set[str] = set()

    async def reconcile(self, key: Key) -> Result:
        due_by = self.clock.now() if key.name in self._begun else None
        for each in await self.database.read(lambda c: recurring.enabled(c, key.name, due_by)):
            self.wake(each)
        self._begun.add(key.name)
        return Result(requeue_after_seconds=RESYNC_SECONDS)


def _pass(connection: Connection, key: Key, now: datetime, place: _Place) -> _Passed | None:
    """Makes what is due, and stores where the schedule stands. None: there is no such recurring run any more."""
    try:
        row = recurring.get(connection, key.name, lock=True)
    except errors.NotFound:
        return None
    made: list[Key] = []
    while True:
        active = recurring.active_runs(connection, row.id, row.max_concurrency)
        step = decide.decide(row, now, len(active))
        if isinstance(step, Wait) or len(made) == LIMIT_RUNS_PER_PASS:
            return _Passed(made=made, step=step, active=active)
        run, error = _make(connection, row, step, now, place)
        row = dataclasses.replace(row, last_index=step.index, counted_from=step.scheduled, error=error)
        row = dataclasses.replace(row, next_at=decide.next_at(row))
        recurring.move(connection, row)
        if run is not None:
            made.append(run)
        else:
            return _Passed(made=made, step=step)


def _make(connection: Connection, row: RecurringRun, due: Fire, now: datetime,
          place: _Place) -> tuple[Key | None, str]:
    """The run that is due, or why it cannot be: its pipeline is gone, its place unknown. Wrong parameters fail the
    run itself."""
    if place.defect:
        return None, f"the run of {due.scheduled.isoformat()} could not be made: {place.defect}"
    spec, version_id = row.spec, row.pipeline_version_id
    if not spec:
        try:
            version = pipelines.latest_version(connection, row.pipeline_id)
        except errors.NotFound as error:
            return None, f"the run of {due.scheduled.isoformat()} could not be made: {error}"
        spec, version_id = version.spec, version.id
    run_id = decide.run_id(row.id, due.index)
    values = macros.Macros(run_id=run_id, now=now, scheduled=due.scheduled, index=due.index)
    parameters = macros.typed(macros.expand(row.parameters, values), row.parameters, spec)
    pipeline = spec.get("pipeline_spec", spec)
    info = pipeline.get("pipelineInfo") or {}
    root = row.pipeline_root or ("" if pipeline.get("defaultPipelineRoot") else place.root)
    made = run_history.create(connection, Run(
        id=run_id, namespace=row.namespace, experiment_id=row.experiment_id,
        display_name=f"{row.display_name[:240]}-{due.index}", description=row.description, pipeline_id=row.pipeline_id,
        pipeline_version_id=version_id, pipeline_name=str(info.get("name", "")), recurring_run_id=row.id, spec=spec,
        parameters=parameters, pipeline_root=root, service_account=row.service_account, state=PENDING,
        created_at=now, scheduled_at=due.scheduled))
    return Key(made.namespace, made.id), ""
