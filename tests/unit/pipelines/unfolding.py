"""Unfolding a run in a test without Pods: a program says how each step ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from lightship.domains.pipelines import dag, parse
from lightship.domains.pipelines.nodes import Node, Outcome
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactRow, TaskIO
from tests.unit.pipelines.specs import Spec

Program = Callable[[Node], Outcome]


def gives(**parameters: Any) -> Outcome:
    return Outcome(state=rows.SUCCEEDED, outputs=TaskIO(parameters=parameters))


def fails(error: str = "exit code 1") -> Outcome:
    return Outcome(state=rows.FAILED, error=error)


def artifact(name: str) -> ArtifactRow:
    return ArtifactRow(artifact_id=name, name=name, uri=f"minio://b/{name}", digest=f"sha256:{name}")


def begun(spec: Spec, parameters: Mapping[str, Any] | None = None, **limits: int) -> dag.Dag:
    unfolded = dag.Dag(parse.spec(spec), run_id="run", limits=dag.Limits(**limits))
    unfolded.begin(parameters or {})
    return unfolded


def unfold(spec: Spec, program: Program, parameters: Mapping[str, Any] | None = None, *,
           order: random.Random | None = None) -> dag.Dag:
    """Run to the end; ``order`` settles ready steps in a random order."""
    unfolded = begun(spec, parameters)
    while unfolded.ready:
        paths = list(unfolded.ready)
        path = order.choice(paths) if order else paths[0]
        unfolded.settle(path, program(unfolded.ready[path]))
    return unfolded


def states(unfolded: dag.Dag) -> dict[str, str]:
    return {path: node.state for path, node in unfolded.nodes.items()}
