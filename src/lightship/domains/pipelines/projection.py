"""From nodes to task rows and back: what the records hold of a run, and a run taken up again from them. Pure.

``reconciler`` calls me. The unfolded ``dag.Dag`` is the truth about structure and flow, the rows about what happened;
rows of DAGs and loops are projections, written for readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import structs

from lightship.domains.pipelines import dag, names, nodes
from lightship.domains.pipelines.nodes import Node, Outcome
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactEvent, TaskIO, TaskRow

_OUTCOMES = rows.FINAL - {rows.SKIPPED}
"""What a leaf that may run can come to: being skipped follows from others, never from its own row."""


def row(node: Node, known: TaskRow | None, *, run_id: str, namespace: str, now: datetime) -> TaskRow:
    """The node's row as of ``now``: what the node says, over what the row already holds (times, attempts, Pod)."""
    state = node.state
    if known is not None and state == rows.PENDING and known.state == rows.RUNNING:
        state = rows.RUNNING
    begun = state not in (rows.PENDING, rows.SKIPPED)
    if known is None:
        known = TaskRow(
            task_id=names.task_id(run_id, node.path), run_id=run_id, namespace=namespace, path=node.path,
            parent_path=node.parent.path if node.parent else "", name=node.name, display_name=node.display_name,
            type=node.type, state=state, index=node.index, created_at=now,
        )
    return structs.replace(
        known,
        type=node.type,
        state=state,
        inputs=_inputs(node),
        outputs=TaskIO(parameters=node.out_parameters, artifacts=node.out_artifacts),
        error=node.error or ("" if node.ended else known.error),
        started_at=known.started_at or (now if begun else None),
        finished_at=known.finished_at or (now if node.ended else None),
    )


def _inputs(node: Node) -> TaskIO:
    """What went into the node; of an iteration only what is its own.

    A thousand iterations over a list would keep that list a thousand times: what the loop hands down is in its own row.
    """
    parameters, artifacts = node.parameters, node.artifacts
    if node.type == nodes.ITERATION and node.parent is not None:
        loop = node.parent
        parameters = {key: value for key, value in parameters.items() if not _handed_down(key, value, loop.parameters)}
        artifacts = {key: value for key, value in artifacts.items() if not _handed_down(key, value, loop.artifacts)}
    return TaskIO(parameters=parameters, artifacts=artifacts)


def _handed_down(key: str, value: Any, theirs: Mapping[str, Any]) -> bool:
    return key in theirs and theirs[key] is value


def reset(known: TaskRow) -> TaskRow:
    """The row of a task that is to be done anew."""
    return structs.replace(
        known, state=rows.PENDING, inputs=rows.NO_IO, outputs=rows.NO_IO, attempt=0, retries=0, retry_at=None, pod="",
        error="", cache_key="", cached_from="", started_at=None, finished_at=None)


def events(row: TaskRow) -> Iterable[ArtifactEvent]:
    """The lineage of a leaf that has ended."""
    for kind, io in ((rows.INPUT, row.inputs), (rows.OUTPUT, row.outputs)):
        for key, artifacts in io.artifacts.items():
            for artifact in artifacts:
                yield ArtifactEvent(task_id=row.task_id, artifact_id=artifact.artifact_id, type=kind, key=key)


def replay(run: dag.Dag, known: Mapping[str, TaskRow]) -> None:
    """Settle every ready leaf whose row says that it ended, until none is left. The order does not matter."""
    progress = True
    while progress:
        progress = False
        for path in list(run.ready):
            row = known.get(path)
            if path in run.ready and row is not None and row.state in _OUTCOMES and row.type in nodes.LEAVES:
                run.settle(path, Outcome(state=row.state, outputs=row.outputs, error=row.error))
                progress = True
