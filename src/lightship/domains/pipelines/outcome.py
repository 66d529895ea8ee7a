"""What a step's commit record says, in the types that the pipeline declares. Pure.

``launcher.staging.stage_out`` wrote the record; ``reconciler`` reads it and calls me. Values that a step wrote as text
files are converted here, by declared type; the executor's JSON values win over files, as upstream has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lightship.domains.pipelines import ir, names, values
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.records.pipeline_rows import ArtifactRow, TaskIO

MAX_RECORD_BYTES = 64 * 1024 * 1024
VERSION = 1


def outputs(data: bytes, execution: Execution) -> TaskIO:
    """The step's outputs. Raises ``StepError`` where the record contradicts the component's interface."""
    try:
        record = json.loads(data)
        version = record["version"]
    except (ValueError, KeyError, TypeError) as cause:
        raise StepError(f"the commit record is not one: {cause}") from cause
    if version != VERSION:
        raise StepError(f"the commit record has version {version!r}; this server reads version {VERSION}",
                        remedy="Use the launcher of this server's release")
    interface = execution.node.component.outputs
    return TaskIO(
        parameters=_parameters(record, interface, execution.node.path),
        artifacts={name: tuple(_artifact(name, interface.artifacts[name], found, execution) for found in listed)
                   for name, listed in record["artifacts"].items() if name in interface.artifacts},
    )


def _parameters(record: Mapping[str, Any], interface: ir.Interface, path: str) -> dict[str, Any]:
    given = {**record.get("parameterFiles", {}), **record.get("parameterValues", {})}
    result = {}
    for name, spec in interface.parameters.items():
        if given.get(name) is None:
            raise StepError(f'"{path}" gave no value for its output "{name}"',
                            remedy="Have the component return it, or write it to the output's file, each time")
        result[name] = values.typed(given[name], spec, f'the output "{name}" of "{path}"')
    return result


def _artifact(name: str, spec: ir.ArtifactSpec, found: Mapping[str, Any], execution: Execution) -> ArtifactRow:
    uri = str(found["uri"])
    for given in execution.node.artifacts.values():
        for artifact in given:
            if artifact.uri == uri:
                return artifact  # passed on, not made: lineage goes on from where it came
    type_ = found.get("type") or {}
    return ArtifactRow(
        artifact_id=names.artifact_id(uri, execution.row.task_id),
        name=name,
        type_title=str(type_.get("schemaTitle") or spec.title),
        type_version=str(type_.get("schemaVersion") or spec.version),
        uri=uri,
        metadata={**spec.metadata, **values.normal(found.get("metadata") or {})},
        digest=str(found.get("digest", "")),
        size_bytes=int(found.get("sizeBytes", 0)),
    )
