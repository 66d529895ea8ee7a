"""Whether the parts of a pipeline fit together: names that exist, types that agree, no cycles, within the limits.

``parse`` calls me with what it read; the first thing wrong is raised as ``InvalidPipeline``, naming the place and what
to do. Types are compared only where the IR states them reliably: the compiler declares outputs of sub-DAGs as lists
when they may be collected, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightship.domains.pipelines import expressions, ir, placeholders, values
from lightship.domains.pipelines.errors import InvalidPipeline, StepError

MAX_COMPONENTS = 5_000
MAX_TASKS_PER_DAG = 5_000
MAX_NESTING_LEVELS = 50
MAX_RETRIES = 1_000
MAX_LOOP_ITEMS = 10_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_NUMBERS = {ir.NUMBER_DOUBLE, ir.NUMBER_INTEGER}
_STRUCTS = {ir.STRUCT, ir.TASK_FINAL_STATUS, ir.TASK_CONFIG}
_CHANNEL = "pipelinechannel--"
_DECLARE_WORKSPACE = "Give the pipeline a dsl.PipelineConfig with a workspace, and compile it again"
_LOOP_ITEM = "loop-item"
_PASS_ITEM = ("The kfp SDK loses a field of a loop's item, or the item of a nested loop, in an f-string: pass it as an "
              "argument by itself")
_RECOMPILE = "Compile the pipeline again with the kfp SDK"


def check(pipeline: ir.Pipeline) -> None:
    """Raise ``InvalidPipeline`` for the first thing that is wrong."""
    if len(pipeline.components) > MAX_COMPONENTS:
        raise _wrong("components", f"are {len(pipeline.components)}; the limit is {MAX_COMPONENTS}",
                     "Split the pipeline")
    if pipeline.root.dag is None:
        raise _wrong("root.dag", "is missing", _RECOMPILE)
    if not pipeline.root.dag.tasks:
        raise _wrong("root.dag.tasks", "is empty: there is nothing to run", "Add a task to the pipeline")
    for place, component in _components(pipeline):
        _check_interfaces(component, place)
        if component.dag is not None:
            _check_dag(pipeline, component, component.dag, f"{place}.dag")
        else:
            _check_executor_of(pipeline, component, place)
    _check_nesting(pipeline)
    _check_workspace(pipeline)
    for label in pipeline.kubernetes:
        if label not in pipeline.executors:
            raise _wrong(f"platform_spec.platforms.kubernetes.deploymentSpec.executors.{label}",
                         "configures an executor that the pipeline does not have", _RECOMPILE)


def _check_workspace(pipeline: ir.Pipeline) -> None:
    """Whoever uses a workspace declares one."""
    if pipeline.workspace is not None:
        return
    for label, executor in pipeline.executors.items():
        if isinstance(executor, ir.Importer) and executor.download_to_workspace:
            raise _wrong(f"deploymentSpec.executors.{label}.importer.downloadToWorkspace",
                         "is set, and the pipeline has no workspace", _DECLARE_WORKSPACE)
    for place, component in _components(pipeline):
        for name, task in component.dag.tasks.items() if component.dag else ():
            for key, given in task.parameters.items():
                if isinstance(given.source, ir.Constant) and "{{$.workspace_path}}" in str(given.source.value):
                    raise _wrong(f"{place}.dag.tasks.{name}.inputs.parameters.{key}",
                                 "names the run's workspace, and the pipeline has none", _DECLARE_WORKSPACE)


def _components(pipeline: ir.Pipeline) -> Iterable[tuple[str, ir.Component]]:
    yield "root", pipeline.root
    for name, component in pipeline.components.items():
        yield f"components.{name}", component


def _wrong(place: str, story: str, remedy: str) -> InvalidPipeline:
    return InvalidPipeline(f"{place} {story}", field=place, remedy=remedy)


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise _wrong(place, f'has the name "{name[:60]}"; names have letters, digits, "_", "-" and ".", at most 200',
                     "Rename it")


def _check_interfaces(component: ir.Component, place: str) -> None:
    for field, interface in (("inputDefinitions", component.inputs), ("outputDefinitions", component.outputs)):
        for kind, names in (("parameters", interface.parameters), ("artifacts", interface.artifacts)):
            for name in names:
                _check_name(name, f"{place}.{field}.{kind}.{name}")
    for name, spec in component.inputs.parameters.items():
        if spec.default is not None:
            _check_value(spec.default, spec, f"{place}.inputDefinitions.parameters.{name}.defaultValue")


def _check_value(value: object, spec: ir.ParameterSpec, place: str) -> None:
    try:
        values.typed(value, spec, place)
    except StepError as cause:
        raise InvalidPipeline(cause.message, field=place, remedy=cause.remedy) from cause


def _check_executor_of(pipeline: ir.Pipeline, component: ir.Component, place: str) -> None:
    label = component.executor
    executor = pipeline.executors.get(label)
    if executor is None:
        raise _wrong(f"{place}.executorLabel", f'names the executor "{label}", which deploymentSpec does not have',
                     _RECOMPILE)
    at = f"deploymentSpec.executors.{label}"
    if isinstance(executor, ir.Importer):
        if len(component.outputs.artifacts) != 1:
            raise _wrong(f"{place}.outputDefinitions", "must have exactly one artifact, since it is an importer's",
                         _RECOMPILE)
        if isinstance(executor.uri, ir.ComponentInput) and executor.uri.name not in component.inputs.parameters:
            raise _wrong(f"{at}.importer.artifactUri", f'names the input "{executor.uri.name}", which '
                         f'"{component.name}" does not have', _RECOMPILE)
        return
    if not executor.image:
        raise _wrong(f"{at}.container.image", "is missing", "Name the image the step runs in")
    for name, _ in executor.env:
        if not name or "=" in name or "\0" in name:
            raise _wrong(f"{at}.container.env", f'has a variable named "{name}"', "Rename it")
    known = {"parameters": component.inputs.parameters, "artifacts": component.inputs.artifacts}
    written = [executor.image, *executor.command, *executor.args, *(value for _, value in executor.env)]
    for kind, name in placeholders.inputs_named(written):
        if name not in known[kind] and not name.startswith(_CHANNEL):
            raise _wrong(f"{at}.container", f'has a placeholder of the input "{name}", which "{component.name}" does '
                         "not have", "Declare the input, or correct the placeholder")


def _check_dag(pipeline: ir.Pipeline, owner: ir.Component, dag: ir.Dag, place: str) -> None:
    if len(dag.tasks) > MAX_TASKS_PER_DAG:
        raise _wrong(f"{place}.tasks", f"are {len(dag.tasks)}; the limit is {MAX_TASKS_PER_DAG}",
                     "Use dsl.ParallelFor, or split the pipeline")
    for name, task in dag.tasks.items():
        at = f"{place}.tasks.{name}"
        _check_name(name, at)
        if task.component not in pipeline.components:
            raise _wrong(f"{at}.componentRef", f'names the component "{task.component}", which is not in components',
                         _RECOMPILE)
        for producer in task.upstream:
            if producer not in dag.tasks:
                raise _wrong(at, f'depends on the task "{producer}", which is not in the same DAG', _RECOMPILE)
        _check_task(_Scope(pipeline=pipeline, owner=owner, dag=dag), task, at)
    _check_acyclic(dag, place)
    for kind, outputs in (("parameters", dag.parameters), ("artifacts", dag.artifacts)):
        for name, selectors in outputs.items():
            if not selectors:
                raise _wrong(f"{place}.outputs.{kind}.{name}", "has no producer", _RECOMPILE)
            for selector in selectors:
                _check_output(pipeline, dag, selector, kind, f"{place}.outputs.{kind}.{name}")


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Where a task stands: in ``dag``, the DAG of ``owner``."""

    pipeline: ir.Pipeline
    owner: ir.Component
    dag: ir.Dag


def _check_task(scope: _Scope, task: ir.Task, place: str) -> None:
    component = scope.pipeline.components[task.component]
    for name, given in task.parameters.items():
        at = f"{place}.inputs.parameters.{name}"
        declared = component.inputs.parameters.get(name)
        _check_parameter(scope, given, declared, at)
        if given.selector:
            expressions.check(given.selector, f"{at}.parameterExpressionSelector", selector=True)
    for name, source in task.artifacts.items():
        _check_artifact(scope, source, component.inputs.artifacts.get(name), f"{place}.inputs.artifacts.{name}")
    if task.condition:
        expressions.check(task.condition, f"{place}.triggerPolicy.condition")
    _check_loop(component, task, place)
    _check_all_given(component, task, place)
    if task.retry and not 0 <= task.retry.max_count <= MAX_RETRIES:
        raise _wrong(f"{place}.retryPolicy.maxRetryCount", f"is {task.retry.max_count}; it may be 0 to {MAX_RETRIES}",
                     "Choose a number within the limit")


def _check_all_given(component: ir.Component, task: ir.Task, place: str) -> None:
    item = task.iterator.item_input if task.iterator else ""
    for name, spec in component.inputs.parameters.items():
        fills_itself = spec.optional or spec.type == ir.TASK_CONFIG or name == item
        if not fills_itself and name not in task.parameters:
            raise _wrong(f"{place}.inputs.parameters", f'lack "{name}", which "{component.name}" requires',
                         "Pass it, or make the input optional")
    for name, artifact in component.inputs.artifacts.items():
        if not artifact.optional and name != item and name not in task.artifacts:
            raise _wrong(f"{place}.inputs.artifacts", f'lack "{name}", which "{component.name}" requires',
                         "Pass it, or make the input optional")


def _check_loop(component: ir.Component, task: ir.Task, place: str) -> None:
    iterator = task.iterator
    if iterator is None:
        return
    at = f"{place}.{iterator.over}Iterator"
    inputs: Mapping[str, object] = (component.inputs.parameters if iterator.over == "parameter"
                                    else component.inputs.artifacts)
    given: Mapping[str, object] = task.parameters if iterator.over == "parameter" else task.artifacts
    if iterator.item_input not in inputs:
        raise _wrong(f"{at}.itemInput", f'is "{iterator.item_input}", which is not an input of "{component.name}"',
                     _RECOMPILE)
    if iterator.raw is None and not iterator.input:
        raise _wrong(f"{at}.items", "has neither raw items nor an input to run over", _RECOMPILE)
    if iterator.raw is None and iterator.input not in given:
        raise _wrong(f"{at}.items", f'runs over the input "{iterator.input}", which the task is not given', _RECOMPILE)
    if iterator.raw is not None and len(iterator.raw) > MAX_LOOP_ITEMS:
        raise _wrong(f"{at}.items.raw", f"has {len(iterator.raw)} items; the limit is {MAX_LOOP_ITEMS}",
                     "Nest loops, or split the list")
    if iterator.parallelism < 0:
        raise _wrong(f"{place}.iteratorPolicy.parallelismLimit", f"is {iterator.parallelism}", "Use 0 or more")


def _check_parameter(scope: _Scope, given: ir.ParameterInput, declared: ir.ParameterSpec | None, place: str) -> None:
    source, owner, dag = given.source, scope.owner, scope.dag
    actual: str = ""
    if isinstance(source, ir.TaskOutput):
        producer = _check_output(scope.pipeline, scope.dag, source, "parameters", place)
        if producer.dag is None and dag.tasks[source.producer].iterator is None:
            actual = producer.outputs.parameters[source.key].type
    elif isinstance(source, ir.ComponentInput):
        if source.name not in owner.inputs.parameters:
            raise _wrong(place, f'takes the input "{source.name}", which "{owner.name}" does not have',
                         _PASS_ITEM if _LOOP_ITEM in source.name else _RECOMPILE)
        actual = owner.inputs.parameters[source.name].type
        if actual == ir.STRING and _LOOP_ITEM in source.name:
            actual = ""  # The compiler calls items of lists within loops text, whatever they are.
    elif isinstance(source, ir.Constant) and declared and not given.selector and "{{$" not in str(source.value):
        _check_value(source.value, declared, place)
    if declared and actual and not given.selector and not _agrees(actual, declared.type):
        raise _wrong(place, f"gets a {actual} where \"{declared.type}\" is declared", "Make the types agree")


def _agrees(actual: str, declared: str) -> bool:
    if actual == declared or declared == ir.STRING:
        return True
    return {actual, declared} <= _NUMBERS or {actual, declared} <= _STRUCTS


def _check_artifact(scope: _Scope, source: ir.ArtifactSource, declared: ir.ArtifactSpec | None, place: str) -> None:
    owner = scope.owner
    if isinstance(source, ir.ComponentInput):
        if source.name not in owner.inputs.artifacts:
            raise _wrong(place, f'takes the artifact "{source.name}", which "{owner.name}" does not have', _RECOMPILE)
        return
    producer = _check_output(scope.pipeline, scope.dag, source, "artifacts", place)
    if declared is None or producer.dag is not None:
        return
    title = producer.outputs.artifacts[source.key].title
    if "system.Artifact" not in (title, declared.title) and title != declared.title:
        raise _wrong(place, f"gets a {title} where {declared.title} is declared", "Make the artifact types agree")


def _check_output(pipeline: ir.Pipeline, dag: ir.Dag, output: ir.TaskOutput, kind: str, place: str) -> ir.Component:
    task = dag.tasks.get(output.producer)
    if task is None:
        raise _wrong(place, f'takes an output of the task "{output.producer}", which is not in the same DAG',
                     _RECOMPILE)
    producer = pipeline.components.get(task.component)
    if producer is None:
        raise _wrong(place, f'takes an output of "{output.producer}", whose component "{task.component}" is missing',
                     _RECOMPILE)
    outputs: Mapping[str, object] = (producer.outputs.parameters if kind == "parameters"
                                     else producer.outputs.artifacts)
    if output.key not in outputs:
        raise _wrong(place, f'takes the output "{output.key}" of "{output.producer}", which has no such output among '
                     f"its {kind}", _RECOMPILE)
    return producer


def _check_acyclic(dag: ir.Dag, place: str) -> None:
    waiting = {name: len(set(task.upstream)) for name, task in dag.tasks.items()}
    dependants: dict[str, list[str]] = {}
    for name, task in dag.tasks.items():
        for producer in set(task.upstream):
            dependants.setdefault(producer, []).append(name)
    ready = [name for name, count in waiting.items() if not count]
    while ready:
        name = ready.pop()
        del waiting[name]
        for dependant in dependants.get(name, ()):
            waiting[dependant] -= 1
            if not waiting[dependant]:
                ready.append(dependant)
    if waiting:
        raise _wrong(f"{place}.tasks", "depend on each other in a cycle: " + ", ".join(sorted(waiting)[:10]),
                     "Remove one of the dependencies")


def _check_nesting(pipeline: ir.Pipeline) -> None:
    """No component may contain itself, at any depth, and the depth is bounded. Iterative: specs may be hostile."""
    depths: dict[str, int] = {}
    open_components: list[str] = []
    pending: list[tuple[str, bool]] = [("", False)]
    while pending:
        name, leaving = pending.pop()
        component = pipeline.components[name] if name else pipeline.root
        inner = [task.component for task in component.dag.tasks.values()] if component.dag else []
        if leaving:
            open_components.pop()
            depths[name] = 1 + max((depths[child] for child in inner), default=0)
            if depths[name] > MAX_NESTING_LEVELS:
                raise _wrong(f"components.{name}" if name else "root", f"is nested deeper than {MAX_NESTING_LEVELS} "
                             "levels", "Flatten the pipeline")
            continue
        if name in depths:
            continue
        if name in open_components:
            raise _wrong(f"components.{name}", "contains itself", "A component's DAG may not use the component")
        open_components.append(name)
        pending.append((name, True))
        pending += [(child, False) for child in dict.fromkeys(inner)]
