"""Importers: which artifact they name, and the Pod of one that downloads into the run's workspace. Pure.

``own_steps`` imports without a Pod; ``children`` makes mine where the files are to lie in a volume.
"""

from __future__ import annotations

from typing import Any

from lightship.domains.pipelines import execution, ir, placeholders, values, workspace
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.domains.pipelines.nodes import IMPORTER, Node


def importer_of(step: Execution) -> ir.Importer:
    found = step.pipeline.executors[step.node.component.executor]
    assert isinstance(found, ir.Importer)
    return found


def downloads(pipeline: ir.Pipeline, node: Node) -> bool:
    """Whether the leaf is an importer that needs a Pod, since it fills the workspace."""
    return node.type == IMPORTER and bool(getattr(pipeline.executors[node.component.executor],
                                                  "download_to_workspace", False))


def uri_of(step: Execution, job: placeholders.Job) -> str:
    """What is imported. Raises ``StepError`` where that is no URI."""
    importer, scope = importer_of(step), execution.scope(step, job)
    uri = step.node.parameters.get(importer.uri.name) if isinstance(importer.uri, ir.ComponentInput) \
        else importer.uri.value
    if not isinstance(uri, str) or not uri:
        raise StepError(f'"{step.node.path}" imports from {values.shown(uri)}, which is not a URI',
                        remedy="Give the importer the URI of a file or folder")
    uri = placeholders.replaced(uri, scope)
    if uri.startswith("file:"):
        # Steps would find an artifact without files: what lies there is on no machine that a step could name.
        raise StepError(f'"{step.node.path}" imports "{uri}", and steps see no files of this machine',
                        remedy="Put the files into the artifact store and import minio://BUCKET/KEY, or mount a volume")
    return uri


def metadata_of(step: Execution, job: placeholders.Job) -> dict[str, Any]:
    found: dict[str, Any] = placeholders.constant(importer_of(step).metadata, job, step.node.parameters.get)
    return found


def stage_in_plan(step: Execution, job: placeholders.Job) -> dict[str, Any]:
    uri = uri_of(step, job)
    path = execution.local_path(uri)
    if path == uri:
        raise StepError(f'"{step.node.path}" downloads "{uri}", which is in no artifact store',
                        remedy="Import from minio://, s3:// or gs://, or without download_to_workspace")
    return {"mounts": [placeholders.WORKSPACE_PATH], "directories": [],
            "inputs": [{"uri": uri, "path": workspace.ARTIFACTS + path, "required": True}]}


def stage_out_plan(step: Execution, job: placeholders.Job) -> dict[str, Any]:
    """What was downloaded, described: the commit record is the import's too."""
    importer, uri = importer_of(step), uri_of(step, job)
    name = next(iter(step.node.component.outputs.artifacts))
    return {
        "mounts": [placeholders.WORKSPACE_PATH], "main": "", "commit": step.commit_uri, "root": step.root,
        "parameters": [], "roots": [list(pair) for pair in execution.ROOTS],
        "artifacts": [{
            "name": name, "uri": uri, "path": workspace.ARTIFACTS + execution.local_path(uri),
            "type": {"schemaTitle": importer.title, "schemaVersion": importer.version},
            "metadata": {**metadata_of(step, job), placeholders.IN_WORKSPACE: True}}],
    }
