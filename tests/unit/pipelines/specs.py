"""Small pipelines to test with, built as the kfp compiler would write them, without the compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]


def parameters(**types: Any) -> Spec:
    """An inputDefinitions or outputDefinitions; a value is a type, or a whole ParameterSpec."""
    return {"parameters": {name: {"parameterType": kind} if isinstance(kind, str) else kind
                           for name, kind in types.items()}}


def component(name: str, *, inputs: Spec | None = None, outputs: Spec | None = None) -> Spec:
    """A component that the executor ``exec-<name>`` runs."""
    return {"executorLabel": f"exec-{name}", "inputDefinitions": inputs or {}, "outputDefinitions": outputs or {}}


def sub_dag(tasks: Mapping[str, Spec], *, inputs: Spec | None = None, outputs: Spec | None = None,
            gives: Spec | None = None) -> Spec:
    """A component that is a DAG; ``gives`` says where its outputs come from."""
    return {"dag": {"tasks": dict(tasks), "outputs": gives or {}}, "inputDefinitions": inputs or {},
            "outputDefinitions": outputs or {}}


def task(component_name: str, *, inputs: Mapping[str, Any] | None = None, after: Sequence[str] = (),
         **more: Any) -> Spec:
    return {"componentRef": {"name": component_name}, "dependentTasks": list(after),
            "inputs": {"parameters": dict(inputs or {})}, **more}


def constant(value: Any) -> Spec:
    return {"runtimeValue": {"constant": value}}


def output_of(producer: str, key: str = "Output") -> Spec:
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def input_of_parent(name: str) -> Spec:
    return {"componentInputParameter": name}


def selector(producer: str, key: str = "Output") -> Spec:
    return {"producerSubtask": producer, "outputParameterKey": key}


def loop_over(items: str, item: str = "item", *, parallelism: int = 0) -> Spec:
    """The fields of a task that loops over raw JSON items."""
    found: Spec = {"parameterIterator": {"itemInput": item, "items": {"raw": items}}}
    if parallelism:
        found["iteratorPolicy"] = {"parallelismLimit": parallelism}
    return found


RUN_ALWAYS: Spec = {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}


def when(condition: str) -> Spec:
    return {"triggerPolicy": {"condition": condition}}


def pipeline(tasks: Mapping[str, Spec], components: Mapping[str, Spec], *, inputs: Spec | None = None,
             outputs: Spec | None = None, gives: Spec | None = None, **executors: Spec) -> Spec:
    """A whole spec; every executor that a component names is there, an echo unless given."""
    made = {}
    for found in components.values():
        label = found.get("executorLabel")
        if label:
            made[label] = {"container": {"image": "busybox", "command": ["echo"], "args": ["{{$}}"]}}
    made.update({name.replace("_", "-"): spec for name, spec in executors.items()})
    return {
        "pipelineInfo": {"name": "test-pipeline"},
        "schemaVersion": "2.1.0",
        "components": dict(components),
        "deploymentSpec": {"executors": made},
        "root": sub_dag(tasks, inputs=inputs, outputs=outputs, gives=gives),
    }


STRING_OUT = parameters(Output="STRING")
