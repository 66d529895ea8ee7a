"""The rows of a run as the pipeline engine reads and writes them: runs, tasks, artifacts, cache entries.

I am pure data, at the bottom so that both sides may know me: ``domains/pipelines`` (which decides what is written) and
``records/{runs,tasks,artifacts,cache}.py`` (which keep it in SQL). Times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from lightship.kube.objects import Object

# States of runs and tasks. A run has PENDING RUNNING SUCCEEDED FAILED CANCELING CANCELED; a task has all but CANCELING.
PENDING = "PENDING"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
CACHED = "CACHED"
SKIPPED = "SKIPPED"
FAILED = "FAILED"
CANCELING = "CANCELING"
CANCELED = "CANCELED"

FINAL = frozenset({SUCCEEDED, CACHED, SKIPPED, FAILED, CANCELED})
"""States that a task or a run does not leave by itself."""


class ArtifactRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stored thing. ``digest`` is of its content (``sha256:...``; empty where nobody could tell it)."""

    artifact_id: str
    name: str
    """The output's name in the component that made it, such as ``model``."""
    type_title: str = "system.Artifact"
    type_version: str = "0.0.1"
    uri: str
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    digest: str = ""
    size_bytes: int = 0
    custom_path: str = ""


class TaskIO(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What went into a task or came out of it, with values and artifacts whole, so that a task row suffices."""

    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    artifacts: Mapping[str, tuple[ArtifactRow, ...]] = msgspec.field(default_factory=dict)


NO_IO = TaskIO()


class TaskRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One node of the unfolded run. (run_id, path) is unique, and so is ``task_id`` (derived from both).

    A struct, since a run of thousands of tasks is read whole: one is made in a tenth of a frozen dataclass's time, and
    the collector of cycles, which it can be in none of, need not look at it.

    ``type`` is of ROOT RUNTIME CONDITION_BRANCH CONDITION LOOP ITERATION EXIT_HANDLER IMPORTER DAG (upstream's
    ``PipelineTask.TaskType`` plus ITERATION); only RUNTIME and IMPORTER do work, the rest are projections of them.
    """

    task_id: str
    run_id: str
    namespace: str
    path: str
    """Stable: ``root/train/for-loop-1[2]/fit``."""
    parent_path: str
    name: str
    """The task's name within its parent, such as ``fit``."""
    display_name: str
    type: str
    state: str
    index: int | None = None
    """The iteration's index, for type ITERATION."""
    inputs: TaskIO = NO_IO
    outputs: TaskIO = NO_IO
    attempt: int = 0
    """0 is the first attempt; every Pod has its own."""
    retries: int = 0
    """Attempts that counted against the retry policy."""
    retry_at: datetime | None = None
    pod: str = ""
    error: str = ""
    cache_key: str = ""
    cached_from: str = ""
    """The task whose outputs a CACHED task took."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run as the engine needs it. ``spec`` is ``{"pipeline_spec": {...}, "platform_spec": {...}}`` (the latter may
    be absent); ``generation`` goes up by one at each retry of the run.
    """

    namespace: str
    run_id: str
    name: str
    """The display name."""
    state: str
    generation: int = 0
    spec: Object
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pipeline_root: str = ""
    service_account: str = ""
    error: str = ""
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunHead:
    """The part of a run that others than the engine change: enough to see that it was terminated or retried."""

    state: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class RunChange:
    """A run's move. It is applied only while the row's state is ``expected_state`` (a terminate may have come between);
    ``state_history`` gets the new state with ``at`` when it differs from the old.
    """

    expected_state: str
    state: str
    error: str = ""
    at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactEvent:
    """Lineage: ``task_id`` took (INPUT) or made (OUTPUT) ``artifact_id`` under the name ``key``."""

    task_id: str
    artifact_id: str
    type: str
    key: str


INPUT = "INPUT"
OUTPUT = "OUTPUT"


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """What a task with that content key produced; a later entry of the same key replaces an earlier one."""

    namespace: str
    key: str
    task_id: str
    run_id: str
    outputs: TaskIO
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one pass writes, in one transaction: all or nothing. Tasks are upserted by ``task_id``, artifacts and events
    inserted unless they are there, cache entries replaced.
    """

    namespace: str
    run_id: str
    run: RunChange | None = None
    tasks: tuple[TaskRow, ...] = ()
    artifacts: tuple[ArtifactRow, ...] = ()
    events: tuple[ArtifactEvent, ...] = ()
    cache: tuple[CacheEntry, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.run or self.tasks or self.artifacts or self.events or self.cache)
