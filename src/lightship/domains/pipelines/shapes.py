"""Rows as KFP's REST v2beta1 shows them, field by field as in its swagger. Pure; the routes call me.

A run shows its steps twice: ``run_details.task_details`` as today's clients read them, and ``tasks`` as upstream's next
model has them, with a type, typed inputs and outputs, and CACHED among the states. Times stay what they are: the
encoder of answers writes them as RFC 3339 with a Z, ten times as fast as we could.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lightship.records import pipeline_rows as states
from lightship.records.artifacts import StoredArtifact
from lightship.records.pipeline_rows import ArtifactRow, TaskIO, TaskRow
from lightship.records.rows import Experiment, Pipeline, PipelineVersion, RecurringRun, Run

_UNKNOWN = 2
"""gRPC's code for an error of somebody else: a step's own failure."""
_ARTIFACT_TYPES = {
    "system.Model": "Model", "system.Dataset": "Dataset", "system.HTML": "HTML", "system.Markdown": "Markdown",
    "system.Metrics": "Metric", "system.ClassificationMetrics": "ClassificationMetric",
    "system.SlicedClassificationMetrics": "SlicedClassificationMetric"}
"""Upstream's names for what KFP's schemas call artifacts; any other is an Artifact."""


def experiment(row: Experiment) -> dict[str, Any]:
    return _present({
        "experiment_id": row.id, "display_name": row.name, "description": row.description,
        "created_at": row.created_at, "namespace": row.namespace, "storage_state": row.storage_state,
        "last_run_created_at": row.last_run_created_at or "1970-01-01T00:00:00Z"})


def pipeline(row: Pipeline) -> dict[str, Any]:
    return _present({
        "pipeline_id": row.id, "name": row.name, "display_name": row.display_name, "description": row.description,
        "created_at": row.created_at, "namespace": row.namespace, "tags": row.tags})


def version(row: PipelineVersion) -> dict[str, Any]:
    return _present({
        "pipeline_id": row.pipeline_id, "pipeline_version_id": row.id, "name": row.name,
        "display_name": row.display_name, "description": row.description, "created_at": row.created_at,
        "package_url": {"pipeline_url": row.package_url} if row.package_url else None,
        "code_source_url": row.code_source_url, "pipeline_spec": _spec(row.spec), "tags": row.tags})


def run(row: Run, tasks: Sequence[TaskRow] | None = None) -> dict[str, Any]:
    """A run; with its tasks where one run was asked for."""
    reference = None
    if row.pipeline_version_id:
        reference = {"pipeline_id": row.pipeline_id, "pipeline_version_id": row.pipeline_version_id}
    shape: dict[str, Any] = {
        "experiment_id": row.experiment_id, "run_id": row.id, "display_name": row.display_name,
        "storage_state": row.storage_state, "description": row.description,
        "pipeline_spec": _spec(row.spec) if reference is None else None, "pipeline_version_reference": reference,
        "runtime_config": _present({"parameters": dict(row.parameters), "pipeline_root": row.pipeline_root}),
        "service_account": row.service_account, "created_at": row.created_at,
        "scheduled_at": row.scheduled_at, "finished_at": row.finished_at, "state": row.state,
        "error": _error(row.error), "recurring_run_id": row.recurring_run_id,
        "state_history": list(row.state_history)}
    if tasks is not None:
        ids = {one.path: one.task_id for one in tasks}
        children: dict[str, list[TaskRow]] = {}
        for one in tasks:
            children.setdefault(one.parent_path, []).append(one)
        shape["run_details"] = {"task_details": [_detail(one, children.get(one.path, ()), ids) for one in tasks]}
        shape["tasks"] = [task(one, ids) for one in tasks]
    return _present(shape)


def recurring_run(row: RecurringRun) -> dict[str, Any]:
    """A recurring run; beside upstream's fields ``next_run_at`` and how many runs there were, ``runs_made``."""
    reference = None
    if row.pipeline_id:
        reference = _present({"pipeline_id": row.pipeline_id, "pipeline_version_id": row.pipeline_version_id})
    return _present({
        "recurring_run_id": row.id, "display_name": row.display_name, "description": row.description,
        "pipeline_spec": _spec(row.spec) if reference is None else None, "pipeline_version_reference": reference,
        "runtime_config": _present({"parameters": dict(row.parameters), "pipeline_root": row.pipeline_root}),
        "service_account": row.service_account, "max_concurrency": str(row.max_concurrency), "trigger": row.trigger,
        "mode": "ENABLE" if row.enabled else "DISABLE", "status": "ENABLED" if row.enabled else "DISABLED",
        "created_at": row.created_at, "updated_at": row.updated_at, "error": _error(row.error),
        "no_catchup": row.no_catchup, "namespace": row.namespace, "experiment_id": row.experiment_id,
        "next_run_at": row.next_at, "runs_made": row.last_index})


def artifact(row: ArtifactRow, namespace: str = "") -> dict[str, Any]:
    """An artifact of upstream's next model, with its schema, digest and size besides."""
    return _present({
        "artifact_id": row.artifact_id, "name": row.name, "type": _ARTIFACT_TYPES.get(row.type_title, "Artifact"),
        "schema_title": row.type_title, "uri": row.uri, "namespace": namespace, "metadata": dict(row.metadata),
        "digest": row.digest, "size_bytes": row.size_bytes})


def stored_artifact(found: StoredArtifact) -> dict[str, Any]:
    """An artifact as its own routes show it."""
    return artifact(found.row, found.namespace) | {"created_at": found.created_at}


def _detail(task: TaskRow, children: Sequence[TaskRow], ids: Mapping[str, str]) -> dict[str, Any]:
    # Today's states have no CACHED: for its clients the step has succeeded.
    state = states.SUCCEEDED if task.state == states.CACHED else task.state
    return _present({
        "run_id": task.run_id, "task_id": task.task_id, "display_name": _name(task),
        "create_time": task.created_at, "start_time": task.started_at,
        "end_time": task.finished_at, "state": state, "error": _error(task.error),
        "executor_detail": {"main_job": task.pod} if task.pod else None,
        "inputs": _artifact_ids(task.inputs), "outputs": _artifact_ids(task.outputs),
        "parent_task_id": ids.get(task.parent_path), "pod_name": task.pod,
        "state_history": [{"update_time": _moved_at(task), "state": state}],
        "child_tasks": [_present({"task_id": child.task_id, "pod_name": child.pod})
                        for child in children]})


def task(row: TaskRow, ids: Mapping[str, str]) -> dict[str, Any]:
    """A task of upstream's next model; ``ids`` are those of its run's tasks by path, its parent's at least."""
    return _present({
        "task_id": row.task_id, "run_id": row.run_id, "name": row.name, "display_name": _name(row),
        "parent_task_id": ids.get(row.parent_path), "scope_path": row.path, "type": row.type,
        "type_attributes": {"iteration_index": row.index} if row.index is not None else None,
        "state": row.state, "status_metadata": {"message": row.error} if row.error else None,
        "error": _error(row.error), "create_time": row.created_at, "start_time": row.started_at,
        "end_time": row.finished_at, "pods": [{"name": row.pod}] if row.pod else None,
        "cache_fingerprint": row.cache_key, "cached_from": row.cached_from,
        "attempt": row.attempt, "inputs": _io(row.inputs), "outputs": _io(row.outputs)})


def _io(io: TaskIO) -> dict[str, Any]:
    return {
        "parameters": [{"parameter_key": key, "value": value} for key, value in io.parameters.items()],
        "artifacts": [{"artifact_key": key, "artifacts": [artifact(row) for row in rows]}
                      for key, rows in io.artifacts.items()]}


def _artifact_ids(io: TaskIO) -> dict[str, Any] | None:
    return {key: {"artifact_ids": [row.artifact_id for row in rows]} for key, rows in io.artifacts.items()} or None


def _name(task: TaskRow) -> str:
    return task.display_name or task.name


def _moved_at(task: TaskRow) -> datetime:
    return task.finished_at or task.started_at or task.created_at


def _spec(stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A bare pipeline specification where there is no platform one, as upstream answers; both otherwise."""
    if not stored:
        return None
    return stored if stored.get("platform_spec") else stored.get("pipeline_spec", stored)


def _error(message: str) -> dict[str, Any] | None:
    return {"code": _UNKNOWN, "message": message} if message else None


def _present(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that have no value, as protobuf's JSON leaves them out."""
    return {key: value for key, value in shape.items() if value is not None and value != ""}
