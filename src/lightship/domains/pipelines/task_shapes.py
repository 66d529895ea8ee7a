"""Tasks as KFP's REST v2beta1 shows them, as structs: a run of a thousand steps has thousands, and is opened at once.

``shapes`` and the lineage routes call me; the encoder of answers leaves out what has no value, as protobuf's JSON does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lightship.records import pipeline_rows as states
from lightship.records.pipeline_rows import NO_IO, ArtifactRow, TaskIO, TaskRow

UNKNOWN = 2
"""gRPC's code for an error of somebody else: a step's own failure."""
_ARTIFACT_TYPES = {
    "system.Model": "Model", "system.Dataset": "Dataset", "system.HTML": "HTML", "system.Markdown": "Markdown",
    "system.Metrics": "Metric", "system.ClassificationMetrics": "ClassificationMetric",
    "system.SlicedClassificationMetrics": "SlicedClassificationMetric"}
"""Upstream's names for what KFP's schemas call artifacts; any other is an Artifact."""


class Artifact(msgspec.Struct, omit_defaults=True, gc=False):
    """An artifact of upstream's next model, with its schema, digest and size besides."""

    artifact_id: str
    type: str
    metadata: Mapping[str, Any]
    size_bytes: int
    name: str = ""
    schema_title: str = ""
    uri: str = ""
    namespace: str = ""
    digest: str = ""
    created_at: datetime | None = None


class _Parameter(msgspec.Struct, gc=False):
    parameter_key: str
    value: Any


class _Artifacts(msgspec.Struct, gc=False):
    artifact_key: str
    artifacts: list[Artifact]


class _Io(msgspec.Struct, gc=False):
    parameters: list[_Parameter]
    artifacts: list[_Artifacts]


class _Ids(msgspec.Struct, gc=False):
    artifact_ids: list[str]


class _Error(msgspec.Struct, gc=False):
    code: int
    message: str


class _Moved(msgspec.Struct, gc=False):
    update_time: datetime
    state: str


class _Child(msgspec.Struct, omit_defaults=True, gc=False):
    task_id: str
    pod_name: str = ""


class Detail(msgspec.Struct, omit_defaults=True, gc=False):
    """A task as today's clients read it: an entry of ``run_details.task_details``."""

    run_id: str
    task_id: str
    display_name: str
    create_time: datetime
    state: str
    state_history: list[_Moved]
    child_tasks: list[_Child]
    start_time: datetime | None = None
    end_time: datetime | None = None
    error: _Error | None = None
    executor_detail: Mapping[str, str] | None = None
    inputs: Mapping[str, _Ids] | None = None
    outputs: Mapping[str, _Ids] | None = None
    parent_task_id: str | None = None
    pod_name: str = ""


class Task(msgspec.Struct, omit_defaults=True, gc=False):
    """A task of upstream's next model."""

    task_id: str
    run_id: str
    name: str
    display_name: str
    scope_path: str
    type: str
    state: str
    create_time: datetime
    attempt: int
    inputs: _Io
    outputs: _Io
    parent_task_id: str | None = None
    type_attributes: Mapping[str, int] | None = None
    status_metadata: Mapping[str, str] | None = None
    error: _Error | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    pods: list[Mapping[str, str]] | None = None
    cache_fingerprint: str = ""
    cached_from: str = ""


def artifact(row: ArtifactRow, namespace: str = "", created_at: datetime | None = None) -> Artifact:
    return Artifact(
        artifact_id=row.artifact_id, type=_ARTIFACT_TYPES.get(row.type_title, "Artifact"), metadata=row.metadata,
        size_bytes=row.size_bytes, name=row.name, schema_title=row.type_title, uri=row.uri, namespace=namespace,
        digest=row.digest, created_at=created_at)


def detail(row: TaskRow, children: Sequence[TaskRow], ids: Mapping[str, str]) -> Detail:
    """``ids`` are those of the run's tasks by path."""
    # Today's states have no CACHED: for its clients the step has succeeded.
    state = states.SUCCEEDED if row.state == states.CACHED else row.state
    moved = row.finished_at or row.started_at or row.created_at
    return Detail(
        run_id=row.run_id, task_id=row.task_id, display_name=row.display_name or row.name, create_time=row.created_at,
        state=state, state_history=[_Moved(moved, state)],
        child_tasks=[_Child(child.task_id, child.pod) for child in children],
        start_time=row.started_at, end_time=row.finished_at, error=_error(row.error),
        executor_detail={"main_job": row.pod} if row.pod else None, inputs=_artifact_ids(row.inputs),
        outputs=_artifact_ids(row.outputs), parent_task_id=ids.get(row.parent_path), pod_name=row.pod)


def task(row: TaskRow, ids: Mapping[str, str]) -> Task:
    """``ids`` are those of its run's tasks by path, its parent's at least."""
    return Task(
        task_id=row.task_id, run_id=row.run_id, name=row.name, display_name=row.display_name or row.name,
        scope_path=row.path, type=row.type, state=row.state, create_time=row.created_at, attempt=row.attempt,
        inputs=_io(row.inputs), outputs=_io(row.outputs), parent_task_id=ids.get(row.parent_path),
        type_attributes={"iteration_index": row.index} if row.index is not None else None,
        status_metadata={"message": row.error} if row.error else None, error=_error(row.error),
        start_time=row.started_at, end_time=row.finished_at, pods=[{"name": row.pod}] if row.pod else None,
        cache_fingerprint=row.cache_key, cached_from=row.cached_from)


_NOTHING = _Io([], [])


def _io(io: TaskIO) -> _Io:
    if io is NO_IO:
        return _NOTHING
    return _Io([_Parameter(key, value) for key, value in io.parameters.items()],
               [_Artifacts(key, [artifact(row) for row in rows]) for key, rows in io.artifacts.items()])


def _artifact_ids(io: TaskIO) -> dict[str, _Ids] | None:
    if not io.artifacts:
        return None
    return {key: _Ids([row.artifact_id for row in rows]) for key, rows in io.artifacts.items()}


def _error(message: str) -> _Error | None:
    return _Error(UNKNOWN, message) if message else None
