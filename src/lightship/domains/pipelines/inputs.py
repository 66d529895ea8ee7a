"""What goes into a task: its parameters and artifacts, from siblings, the parent, constants and defaults. Pure.

``dag`` calls me when a task's upstream has ended. Every failure is a ``StepError`` that names the task and the input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lightship.domains.pipelines import expressions, ir, names, placeholders, values
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.nodes import Node
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactRow

_HANDED_DOWN = "pipelinechannel--"
"""How the compiler begins the names of what it hands down into conditions, loops and exit handlers. It does not say of
them that they are optional, where the pipeline's own inputs are: whether one is needed, the step within says.
"""

_FINAL_STATES = {rows.SUCCEEDED: "COMPLETE", rows.CACHED: "COMPLETE", rows.FAILED: "FAILED", rows.SKIPPED: "SKIPPED",
                 rows.CANCELED: "CANCELLED"}
"""What an exit task is told: upstream's backend says COMPLETE where kfp.local says SUCCEEDED."""


def of_root(pipeline: ir.Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """A run's parameters, typed, with defaults. Raises ``StepError`` for unknown, missing and mistyped ones."""
    declared = pipeline.root.inputs.parameters
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise StepError(f'the pipeline "{pipeline.name}" has no parameter "{unknown[0]}"',
                        remedy=f"Its parameters are: {known}")
    resolved = {}
    for name, spec in declared.items():
        value = given.get(name)
        if value is None:
            value = spec.default
        if value is None and not spec.optional:
            raise StepError(f'the parameter "{name}" of the pipeline "{pipeline.name}" has no value',
                            remedy=f"Pass a {spec.type}")
        resolved[name] = values.typed(value, spec, f'the parameter "{name}"')
    required = [name for name, spec in pipeline.root.inputs.artifacts.items() if not spec.optional]
    if required:
        raise StepError(f'the pipeline "{pipeline.name}" takes the artifact "{required[0]}", and a run cannot be given '
                        "artifacts", remedy="Import it inside the pipeline with dsl.importer")
    return {name: value for name, value in resolved.items() if value is not None}


def of_task(node: Node, pipeline: ir.Pipeline, job: placeholders.Job, run_id: str,
            ) -> tuple[dict[str, Any], dict[str, tuple[ArtifactRow, ...]]]:
    """The inputs of a task whose upstream has ended. Absent optional ones are left out."""
    task = node.task
    assert task is not None
    resolver = _Resolver(node, dataclasses.replace(job, task_name=task.name,
                                                   task_uuid=names.task_id(run_id, node.path)))
    return resolver.parameters(), resolver.artifacts()


def of_iteration(loop: Node, iterator: ir.Iterator, index: int,
                 ) -> tuple[dict[str, Any], dict[str, tuple[ArtifactRow, ...]]]:
    """The inputs of one iteration: the loop's, and the item."""
    item = loop.items[index]
    if iterator.over == "artifact":
        return dict(loop.parameters), {**loop.artifacts, iterator.item_input: (item,)}
    spec = loop.component.inputs.parameters[iterator.item_input]
    place = f'item {index} of "{loop.path}"'
    typed = _handed(item, spec, place) if _is_compilers(loop.component, iterator.item_input) \
        else values.typed(item, spec, place)
    return {**loop.parameters, iterator.item_input: typed}, dict(loop.artifacts)


def value_of(node: Node, source: ir.ParameterSource, job: placeholders.Job) -> Any:
    """What ``source`` means where ``node`` stands: for names in the platform config. None where it has no value."""
    return _Resolver(node, job).source(source)


def with_nulls(node: Node) -> dict[str, Any]:
    """The parameters as conditions see them: declared inputs that are absent are null rather than unknown."""
    return {**dict.fromkeys(node.component.inputs.parameters), **node.parameters}


def described(node: Node) -> dict[str, list[dict[str, Any]]]:
    """The artifacts as conditions see them: RuntimeArtifacts with the names of their proto's fields."""
    return {name: [{"name": one.name, "uri": one.uri, "metadata": dict(one.metadata),
                    "type": {"schema_title": one.type_title, "schema_version": one.type_version}} for one in listed]
            for name, listed in node.artifacts.items()}


def _is_compilers(component: ir.Component, name: str) -> bool:
    """Whether the compiler, and no author, declared the input."""
    return component.dag is not None and name.startswith(_HANDED_DOWN)


def _handed(value: Any, spec: ir.ParameterSpec, place: str) -> Any:
    """``value`` as the compiler's type has it, or as it is: of items and their parts it takes the type from the first,
    or from a part of a part. The step within says what it needs."""
    try:
        return values.typed(value, spec, place)
    except StepError:
        return values.normal(value)


class _Resolver:
    """The inputs of one task. Constants may name other inputs of the same task, so resolution is by need."""

    def __init__(self, node: Node, job: placeholders.Job) -> None:
        assert node.task is not None and node.parent is not None
        self._task = node.task
        self._path = node.path
        self._component = node.component
        self._parent = node.parent
        self._job = job
        self._resolved: dict[str, Any] = {}
        self._open: set[str] = set()

    def parameters(self) -> dict[str, Any]:
        declared = self._component.inputs.parameters
        resolved = {name: self._parameter(name) for name in self._task.parameters}
        for name, spec in declared.items():
            if resolved.get(name) is None and spec.default is not None:
                resolved[name] = values.typed(spec.default, spec, self._place(name))
        item = self._task.iterator.item_input if self._task.iterator else ""
        for name, spec in declared.items():
            absent = resolved.get(name) is None
            needed = not spec.optional and spec.type != ir.TASK_CONFIG and name != item
            if absent and needed and not self._handed_down(name, self._task.parameters.get(name)):
                raise self._missing(name)
        return {name: value for name, value in resolved.items() if value is not None}

    def artifacts(self) -> dict[str, tuple[ArtifactRow, ...]]:
        resolved = {}
        for name, source in self._task.artifacts.items():
            if isinstance(source, ir.ComponentInput):
                found = self._parent.artifacts.get(source.name)
            else:
                found = self._parent.children[source.producer].out_artifacts.get(source.key)
            if found is not None:
                resolved[name] = found
        item = self._task.iterator.item_input if self._task.iterator else ""
        for name, spec in self._component.inputs.artifacts.items():
            needed = name not in resolved and not spec.optional and name != item
            if needed and not self._handed_down(name, self._task.artifacts.get(name)):
                raise self._missing(name)
        return resolved

    def _handed_down(self, name: str, given: ir.ParameterInput | ir.ArtifactSource | None) -> bool:
        """Whether the compiler made the input, to hand one of the parent's on to steps within."""
        source = given.source if isinstance(given, ir.ParameterInput) else given
        return _is_compilers(self._component, name) and isinstance(source, ir.ComponentInput)

    def _parameter(self, name: str) -> Any:
        """The value, or None where there is none."""
        if name in self._resolved:
            return self._resolved[name]
        given = self._task.parameters.get(name)
        if given is None:
            return None
        if name in self._open:
            raise StepError(f"{self._place(name)} refers to itself")
        self._open.add(name)
        value = self.source(given.source)
        if value is not None and given.selector:
            value = expressions.select(given.selector, value, self._place(name))
        spec = self._component.inputs.parameters.get(name)
        if spec is not None:
            convert = _handed if _is_compilers(self._component, name) else values.typed
            value = convert(value, spec, self._place(name))
        self._resolved[name] = value
        return value

    def source(self, source: ir.ParameterSource) -> Any:
        if isinstance(source, ir.ComponentInput):
            return self._parent.parameters.get(source.name)
        if isinstance(source, ir.TaskOutput):
            return self._parent.children[source.producer].out_parameters.get(source.key)
        if isinstance(source, ir.FinalStatus):
            return self._final_status(source.producer)
        return placeholders.constant(source.value, self._job, self._parameter)

    def _final_status(self, producer: str) -> dict[str, Any]:
        node = self._parent.children[producer]
        status: dict[str, Any] = {
            "state": _FINAL_STATES[node.state],
            "pipelineJobResourceName": self._job.resource_name,
            "pipelineTaskName": node.name,
        }
        if node.state == rows.FAILED:
            status["error"] = {"code": 9, "message": node.error}
        return status

    def _place(self, name: str) -> str:
        return f'the input "{name}" of "{self._path}"'

    def _missing(self, name: str) -> StepError:
        given = self._task.parameters.get(name)
        source = given.source if given else self._task.artifacts.get(name)
        why = ""
        if isinstance(source, ir.TaskOutput):
            producer = self._parent.children[source.producer]
            why = f': "{source.producer}", which is {producer.state}, gave no "{source.key}"'
        elif isinstance(source, ir.ComponentInput):
            why = f': "{self._parent.path}" was given no "{source.name}"'
        return StepError(f"{self._place(name)} has no value{why}", remedy="Make the input optional, or give a default")
