"""One node of an unfolded run. Data only; ``dag`` moves it, ``projection`` makes rows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightship.domains.pipelines import ir
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactRow, TaskIO

ROOT = "ROOT"
DAG = "DAG"
CONDITION = "CONDITION"
CONDITION_BRANCH = "CONDITION_BRANCH"
EXIT_HANDLER = "EXIT_HANDLER"
LOOP = "LOOP"
ITERATION = "ITERATION"
RUNTIME = "RUNTIME"
IMPORTER = "IMPORTER"

LEAVES = frozenset({RUNTIME, IMPORTER})
"""The types that do work; all others are made of them."""

WAITING = "WAITING"
"""Not a state of rows: upstream tasks have not ended yet, so the node is not in the records."""

GOOD = frozenset({rows.SUCCEEDED, rows.CACHED})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a leaf ended."""

    state: str
    outputs: TaskIO = rows.NO_IO
    error: str = ""


class Node:
    """Mutable, owned by one ``dag.Dag``. ``task`` is None for the root; an iteration has its loop's task."""

    __slots__ = ("artifacts", "children", "component", "cut", "error", "index", "items", "name", "open_children",
                 "out_artifacts", "out_parameters", "parameters", "parent", "path", "running", "started", "state",
                 "task", "type", "waiting_for")

    def __init__(self, path: str, type: str, component: ir.Component, task: ir.Task | None = None,
                 parent: Node | None = None) -> None:
        self.path = path
        self.name = task.name if task is not None else path
        self.type = type
        self.component = component
        self.task = task
        self.parent = parent
        self.index: int | None = None
        """Which iteration of its loop it is, if it is one."""
        self.state = WAITING
        self.error = ""
        self.parameters: Mapping[str, Any] = {}
        self.artifacts: Mapping[str, tuple[ArtifactRow, ...]] = {}
        self.out_parameters: dict[str, Any] = {}
        self.out_artifacts: dict[str, tuple[ArtifactRow, ...]] = {}
        self.children: dict[str, Node] = {}
        self.cut = False
        """Whether the end of the run came before this, or part of it, could begin."""
        self.waiting_for = 0
        """Upstream tasks that have not ended."""
        self.open_children = 0
        """Children that have not ended, for DAGs and loops."""
        self.items: list[Any] = []
        """What a loop runs over."""
        self.started = 0
        """Iterations begun, for loops."""
        self.running = 0
        """Iterations begun and not ended, for loops."""

    @property
    def ended(self) -> bool:
        return self.state in rows.FINAL

    @property
    def good(self) -> bool:
        return self.state in GOOD

    @property
    def outlives(self) -> bool:
        """Whether it is, or is within, what runs however its upstream ends: the end of the run does not stop it."""
        node: Node | None = self
        while node is not None:
            if node.task is not None and node.task.run_always:
                return True
            node = node.parent
        return False

    @property
    def display_name(self) -> str:
        if self.index is not None:
            return f"{self.task.display_name if self.task else self.name}[{self.index}]"
        return self.task.display_name if self.task else self.name

    @property
    def retry(self) -> ir.Retry | None:
        """The nearest retry policy: the task's own, or that of the pipeline task it is nested in."""
        node: Node | None = self
        while node is not None:
            if node.task is not None and node.task.retry is not None:
                return node.task.retry
            node = node.parent
        return None


def type_of(task: ir.Task, component: ir.Component, executor: object) -> str:
    """What a task is; the compiler tells sub-DAGs apart by their names only."""
    if component.dag is None:
        return IMPORTER if isinstance(executor, ir.Importer) else RUNTIME
    if task.name.startswith("condition-branches-"):
        return CONDITION_BRANCH
    if task.condition:
        return CONDITION
    return EXIT_HANDLER if task.name.startswith("exit-handler-") else DAG


def outer(node: Node) -> Node:
    """The node whose parent is the DAG that ``node`` is written in: of an iteration of a single step, the loop."""
    return node.parent if node.index is not None and node.parent is not None else node
