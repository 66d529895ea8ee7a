"""Rows as KFP's REST v2beta1 shows them, field by field as in its swagger. Pure; the routes call me.

A run shows its steps twice: ``run_details.task_details`` as today's clients read them, and ``tasks`` as upstream's next
model has them, with a type, typed inputs and outputs, and CACHED among the states. Times stay what they are: the
encoder of answers writes them as RFC 3339 with a Z, ten times as fast as we could.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lightship.domains.pipelines import task_shapes
from lightship.records.artifacts import StoredArtifact
from lightship.records.pipeline_rows import TaskRow
from lightship.records.rows import Experiment, Pipeline, PipelineVersion, RecurringRun, Run


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
        shape["run_details"] = {
            "task_details": [task_shapes.detail(one, children.get(one.path, ()), ids) for one in tasks]}
        shape["tasks"] = [task_shapes.task(one, ids) for one in tasks]
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


def stored_artifact(found: StoredArtifact) -> dict[str, Any]:
    """An artifact as its own routes show it."""
    shape: dict[str, Any] = msgspec.to_builtins(
        task_shapes.artifact(found.row, found.namespace, found.created_at), builtin_types=(datetime,))
    return shape


def _spec(stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A bare pipeline specification where there is no platform one, as upstream answers; both otherwise."""
    if not stored:
        return None
    return stored if stored.get("platform_spec") else stored.get("pipeline_spec", stored)


def _error(message: str) -> dict[str, Any] | None:
    return {"code": task_shapes.UNKNOWN, "message": message} if message else None


def _present(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that have no value, as protobuf's JSON leaves them out."""
    return {key: value for key, value in shape.items() if value is not None and value != ""}
