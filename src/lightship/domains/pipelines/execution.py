"""One attempt of a step, worked out: its files' places, KFP's executor input, the staging plans. Pure.

``children`` makes a Pod of me, ``cache`` a key, ``outcome`` reads what came back. Files of an attempt lie under
``<pipeline root>/<pipeline>/<run id>/<task>/<attempt id>/``, the commit record among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.domains.pipelines import folders, ir, names, placeholders
from lightship.domains.pipelines.nodes import Node
from lightship.domains.pipelines.values import normal
from lightship.lib.clock import timestamp
from lightship.records.pipeline_rows import ArtifactRow, RunRow, TaskRow

ROOTS = (("minio://", "/minio/"), ("s3://", "/s3/"), ("gs://", "/gcs/"))
"""Where files of a URI lie in the container: what KFP's ``Artifact.path`` says."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a step's Pod is made from. ``root`` is the URI of the attempt's own folder."""

    run: RunRow
    pipeline: ir.Pipeline
    node: Node
    row: TaskRow
    root: str

    @property
    def container(self) -> ir.Container:
        found = self.pipeline.executors[self.node.component.executor]
        assert isinstance(found, ir.Container)
        return found

    @property
    def commit_uri(self) -> str:
        return f"{self.root}/{names.COMMIT_FILE}"

    @property
    def output_file(self) -> str:
        """Where KFP's executor writes: in the attempt's folder, because ``dsl.get_uri`` derives from it."""
        return f"{local_path(self.root)}/{names.OUTPUT_FILE}"

    def output_uri(self, name: str) -> str:
        return f"{self.root}/{names.segment(name)}"


def of(run: RunRow, pipeline: ir.Pipeline, node: Node, row: TaskRow) -> Execution:
    """The attempt that ``row`` says is the current one."""
    attempt = names.attempt_id(row.task_id, run.generation, row.attempt)
    root = f"{run_folder(run, pipeline)}/{names.segment(node.name)}/{attempt}"
    return Execution(run=run, pipeline=pipeline, node=node, row=row, root=root)


def run_folder(run: RunRow, pipeline: ir.Pipeline) -> str:
    """The URI of the folder that all files of the run lie in."""
    base = folders.root(run.namespace, run.pipeline_root, pipeline.default_root)
    return folders.of_run(base, pipeline.name, run.run_id)


def local_path(uri: str) -> str:
    """An artifact's path in the container, or the URI itself where it has none."""
    for prefix, folder in ROOTS:
        if uri.startswith(prefix):
            return folder + uri[len(prefix):]
    return uri


def job_of(run: RunRow, pipeline: ir.Pipeline) -> placeholders.Job:
    """What the run's placeholders say."""
    return placeholders.Job(
        name=run.name,
        resource_name=f"{names.segment(pipeline.name)}-{run.run_id[:5]}",
        uuid=run.run_id,
        create_time=timestamp(run.created_at),
        schedule_time=timestamp(run.scheduled_at),
        root=folders.root(run.namespace, run.pipeline_root, pipeline.default_root),
    )


def executor_input(execution: Execution, configured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """KFP's ExecutorInput, as the step's command gets it for ``{{$}}``; ``configured`` are its TASK_CONFIG values."""
    node, outputs = execution.node, execution.node.component.outputs
    return {
        "inputs": {
            "parameterValues": normal({**node.parameters, **(configured or {})}),
            "artifacts": {name: {"artifacts": [runtime_artifact(artifact) for artifact in artifacts]}
                          for name, artifacts in node.artifacts.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": parameter_file(name)} for name in outputs.parameters},
            "artifacts": {name: {"artifacts": [_planned(name, spec, execution.output_uri(name))]}
                          for name, spec in outputs.artifacts.items()},
            "outputFile": execution.output_file,
        },
    }


def runtime_artifact(artifact: ArtifactRow) -> dict[str, Any]:
    """KFP's RuntimeArtifact."""
    return {
        "name": artifact.name,
        "type": {"schemaTitle": artifact.type_title, "schemaVersion": artifact.type_version},
        "uri": artifact.uri,
        "metadata": normal(dict(artifact.metadata)),
    }


def _planned(name: str, spec: ir.ArtifactSpec, uri: str) -> dict[str, Any]:
    return {"name": name, "type": {"schemaTitle": spec.title, "schemaVersion": spec.version}, "uri": uri,
            "metadata": normal(dict(spec.metadata))}


def parameter_file(name: str) -> str:
    return f"{names.OUTPUTS_DIRECTORY}/outputs/{names.segment(name)}/data"


def scope(execution: Execution, job: placeholders.Job,
          configured: Mapping[str, Any] | None = None) -> placeholders.Scope:
    """What the placeholders of the step's command line may name, its own task's name and id among them."""
    of_task = dataclasses.replace(job, task_name=execution.node.name, task_uuid=execution.row.task_id)
    return placeholders.Scope(executor_input=executor_input(execution, configured), local_path=local_path, job=of_task)


def mounts(execution: Execution) -> list[str]:
    """The mount paths that the step's files need, the artifact root of each scheme in use among them."""
    used = [execution.root, *(artifact.uri for artifact in _inputs(execution.node.artifacts))]
    roots = [folder.rstrip("/") for prefix, folder in ROOTS if any(uri.startswith(prefix) for uri in used)]
    return [*roots, names.OUTPUTS_DIRECTORY if _covers_scratch(execution) else names.SCRATCH]


def _covers_scratch(execution: Execution) -> bool:
    """Whether the user mounts a volume where ours would be."""
    config = execution.pipeline.kubernetes.get(execution.node.component.executor) or {}
    given = (item for listed in config.values() if isinstance(listed, list) for item in listed)
    paths = (item.get("mountPath") or item.get("mount_path") for item in given if isinstance(item, dict))
    return any(str(path).rstrip("/") == names.SCRATCH for path in paths)


def stage_in_plan(execution: Execution) -> dict[str, Any]:
    """The plan of ``launcher.staging.stage_in``."""
    outputs = execution.node.component.outputs
    files = [parameter_file(name) for name in outputs.parameters]
    folders = [local_path(execution.root), *(file.rpartition("/")[0] for file in files)]
    return {
        "mounts": mounts(execution),
        "directories": folders,
        "inputs": [{"uri": artifact.uri, "path": local_path(artifact.uri)}
                   for artifact in _inputs(execution.node.artifacts) if artifact.uri and _has_content(artifact)
                   and artifact.metadata.get(placeholders.IN_WORKSPACE) is not True],
    }


def stage_out_plan(execution: Execution) -> dict[str, Any]:
    """The plan of ``launcher.staging.stage_out``."""
    outputs = execution.node.component.outputs
    artifacts = []
    for name in outputs.artifacts:
        uri = execution.output_uri(name)
        artifacts.append({"name": name, "uri": uri, "path": local_path(uri)})
    return {
        "mounts": mounts(execution),
        "main": names.MAIN,
        "commit": execution.commit_uri,
        "root": execution.root,
        "outputFile": execution.output_file,
        "parameters": [{"name": name, "path": parameter_file(name)} for name in outputs.parameters],
        "artifacts": artifacts,
        "roots": [list(pair) for pair in ROOTS],
    }


def _inputs(artifacts: Mapping[str, tuple[ArtifactRow, ...]]) -> Iterable[ArtifactRow]:
    return (artifact for each in artifacts.values() for artifact in each)


def _has_content(artifact: ArtifactRow) -> bool:
    """Metrics and the like may be metadata alone; what another store keeps has no digest and is still tried."""
    return bool(artifact.digest) or not artifact.uri.startswith("minio://")
