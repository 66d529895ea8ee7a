"""The content key of a step: equal keys, equal outputs. Pure.

``reconciler`` looks keys up and keeps outputs under them. A key holds the namespace, the image and what it means where
the step will run, the command line with every placeholder resolved, the declared environment, parameter values, and of
each input artifact its content's digest, its type and its metadata, never its place; outputs count by their declared
types. The Secrets and ConfigMaps that the step reads count by their versions, since a key tells nothing of a secret.
Where the content of an input is not known there is no key, and the step runs; so it does where it has the run's
workspace, since what it leaves there is no output that a key could bring back.

A key that the pipeline's author gives says all that, and nothing of the content: it holds for the same component of
pipelines of the same name, as upstream's does, as long as it has the same outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from lightship.domains.pipelines import (
    execution,
    inputs,
    ir,
    kubernetes,
    nodes,
    parse,
    placeholders,
    values,
    workspace,
)
from lightship.domains.pipelines.execution import Execution
from lightship.domains.pipelines.nodes import IMPORTER
from lightship.kube.resources import Resource
from lightship.records.pipeline_rows import ArtifactRow

VERSION = 2
_OWN_STORE = "minio://"

Images = Callable[[str], str]
"""What an image means where steps run: the same text for the same content. A name says no more than itself."""


Versions = Mapping[tuple[str, str], str]
"""Of the Secrets and ConfigMaps that a step reads, by kind and name: another one for other content."""


def key(step: Execution, job: placeholders.Job, images: Images = str, versions: Versions | None = None) -> str:
    """The step's key, or an empty string where it is not cached. ``versions`` is of all that ``reads`` names."""
    task = step.node.task
    assert task is not None
    if not task.cache or step.node.type == IMPORTER:
        return ""
    if task.cache_key:
        return _digest({"version": VERSION, "namespace": step.run.namespace, "pipeline": step.pipeline.name,
                        "component": step.node.component.name, "outputs": _interface(step.node.component.outputs),
                        "key": task.cache_key})
    if workspace.needed_by(step.node):
        return ""
    platform = step.pipeline.kubernetes.get(step.node.component.executor, {})
    artifacts = [artifact for listed in step.node.artifacts.values() for artifact in listed]
    if platform.get("pvcMount") or platform.get("pvc_mount") or not all(_known(artifact) for artifact in artifacts):
        return ""
    neutral = dataclasses.replace(step, root="minio://output")
    scope = placeholders.Scope(
        executor_input=_by_content(execution.executor_input(neutral), step), local_path=execution.local_path,
        job=dataclasses.replace(job, task_name=step.node.name, task_uuid=""))
    container = step.container
    image = placeholders.replaced(container.image, scope)
    return _digest({
        "version": VERSION,
        "namespace": step.run.namespace,
        "image": [image, images(image)],
        "command": placeholders.command_line(container.command, scope),
        "args": placeholders.command_line(container.args, scope),
        "env": [[name, placeholders.replaced(value, scope)] for name, value in container.env],
        "inputs": scope.executor_input["inputs"],
        "outputs": _interface(step.node.component.outputs),
        "platform": platform,
        **({"reads": [[*named, version] for named, version in sorted(versions.items())]} if versions else {}),
    })


def reads(step: Execution, job: placeholders.Job) -> list[tuple[Resource, str]]:
    """The objects whose versions belong in the step's key. Raises ``StepError`` for a name that cannot be resolved."""
    task, config = step.node.task, step.pipeline.kubernetes.get(step.node.component.executor)
    if not config or task is None or not task.cache or task.cache_key or step.node.type == IMPORTER:
        return []
    where = nodes.outer(step.node)
    return kubernetes.read_by(config, lambda item: inputs.value_of(where, parse.parameter_source(item), job))


def _known(artifact: ArtifactRow) -> bool:
    """Whether the digest and the metadata say all there is: in our own store, no digest means that nothing is there."""
    return bool(artifact.digest) or artifact.uri.startswith(_OWN_STORE)


def _by_content(given: dict[str, Any], step: Execution) -> dict[str, Any]:
    """The executor input with each input artifact's place exchanged for its content's digest."""
    described = {
        name: {"artifacts": [{**execution.runtime_artifact(artifact), "uri": artifact.digest or "nothing", "name": ""}
                             for artifact in listed]}
        for name, listed in step.node.artifacts.items()
    }
    return {**given, "inputs": {**given["inputs"], "artifacts": described}}


def _interface(interface: ir.Interface) -> dict[str, Any]:
    return {
        "parameters": {name: spec.type for name, spec in interface.parameters.items()},
        "artifacts": {name: [spec.title, spec.version, spec.is_list, dict(spec.metadata)]
                      for name, spec in interface.artifacts.items()},
    }


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(values.canonical(content).encode()).hexdigest()
