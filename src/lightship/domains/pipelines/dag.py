"""A run, unfolded: which tasks there are, which may run now, and what flows between them. Pure and deterministic.

``reconciler`` owns one ``Dag`` a run: it begins it with the run's parameters, takes leaves from ``ready``, settles each
with its outcome, and writes the rows of ``changed``. After a restart the same outcomes, replayed in any order that
``ready`` offers, give the same ``Dag``. The cost of settling a task does not grow with the size of the run.

Rules, as upstream has them: a task runs once all its upstream tasks have succeeded, or have ended, for exit tasks and
those that ignore upstream failures; what it does not run for is SKIPPED, and so is a task whose condition is false and
everything that needs it. A DAG fails when a child failed, after all its children ended. A run that is stopped still
runs the exit tasks of what has begun. A loop gives lists: one value for each iteration that produced one. Of nested
loops they are lists of lists, as the SDK types them; artifacts are flattened, for there are no lists of lists of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightship.domains.pipelines import expressions, inputs, ir, names, nodes, values
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.nodes import Node, Outcome
from lightship.domains.pipelines.placeholders import NO_JOB, Job
from lightship.records import pipeline_rows as rows


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one run."""

    max_tasks: int = 20_000
    max_iterations: int = 10_000
    """Of one loop."""


class Dag:
    """The unfolded run. ``root.state`` is the run's."""

    def __init__(self, pipeline: ir.Pipeline, *, run_id: str = "", job: Job = NO_JOB,
                 limits: Limits | None = None) -> None:
        self.pipeline = pipeline
        self.run_id = run_id
        self.job = job
        self.limits = limits or Limits()
        self.root = Node(names.ROOT, nodes.ROOT, pipeline.root)
        self.nodes: dict[str, Node] = {names.ROOT: self.root}
        self.ready: dict[str, Node] = {}
        """Leaves that may run and have not begun, in the order in which they became ready."""
        self.begun: dict[str, Node] = {}
        """Leaves that the caller has taken out of ``ready`` and not settled yet."""
        self.changed: dict[str, Node] = {names.ROOT: self.root}
        """Nodes that changed since the caller last cleared this."""
        self.stopped = ""
        """Why nothing begins any more but exit tasks; empty while all goes on."""
        self._recorded: Mapping[str, rows.TaskRow] = {}
        """Rows from before a restart, for a run that was stopped before it: what they say had begun begins again."""
        self._dependants: dict[int, dict[str, list[str]]] = {}
        self._work: deque[Node] = deque()

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Open the root with the run's parameters. Wrong ones fail the run."""
        try:
            self.root.parameters = inputs.of_root(self.pipeline, parameters)
        except StepError as cause:
            self._finish(self.root, rows.FAILED, str(cause))
        else:
            self._open(self.root)
        self._drain()

    def take(self, path: str) -> Node:
        """A ready leaf begins."""
        node = self.ready.pop(path)
        self.begun[path] = node
        return node

    def settle(self, path: str, outcome: Outcome) -> None:
        """A leaf, ready or begun, has ended."""
        node = self.begun.pop(path, None) or self.ready.pop(path)
        node.out_parameters = dict(outcome.outputs.parameters)
        node.out_artifacts = dict(outcome.outputs.artifacts)
        self._finish(node, outcome.state, outcome.error)
        self._drain()

    def stop(self, reason: str, recorded: Mapping[str, rows.TaskRow] | None = None) -> None:
        """Nothing begins any more, but exit tasks of what has begun. What has begun is the caller's to end.

        Called before ``begin`` with the rows ``recorded`` of a run that was taken up again.
        """
        self.stopped, self._recorded = reason, recorded or {}
        for node in self.nodes.values():
            if node.type == nodes.LOOP and node.state == rows.RUNNING and not node.outlives:
                self._cut_short(node)

    def end_ready(self) -> None:
        """In a stopped run: what was ready and had not begun is canceled."""
        for path, node in list(self.ready.items()):
            if not node.outlives:
                del self.ready[path]
                self._finish(node, rows.CANCELED, self.stopped)
        self._drain()

    def _cut_short(self, loop: Node) -> None:
        """No further iteration begins."""
        left = len(loop.items) - loop.started
        loop.items = loop.items[:loop.started]
        loop.open_children -= left
        loop.cut = left > 0

    # How nodes open and end. ``_work`` holds ended nodes whose siblings and parents do not know yet: no recursion.

    def _drain(self) -> None:
        while self._work:
            node = self._work.popleft()
            parent = node.parent
            if parent is None or parent.ended:
                continue
            if parent.type == nodes.LOOP:
                parent.running -= 1
                self._start_iterations(parent)
            elif parent.component.dag is not None:
                for name in self._dependants_in(parent.component.dag).get(node.name, ()):
                    sibling = parent.children[name]
                    sibling.waiting_for -= 1
                    if not sibling.waiting_for:
                        self._activate(sibling)
            parent.open_children -= 1
            if not parent.open_children and not parent.ended:
                self._close(parent)

    def _finish(self, node: Node, state: str, error: str = "") -> None:
        node.state, node.error = state, error
        self.changed[node.path] = node
        self._work.append(node)

    def _open(self, node: Node) -> None:
        """Unfold the DAG of ``node`` into children."""
        assert node.component.dag is not None
        node.state = rows.RUNNING
        self.changed[node.path] = node
        tasks = node.component.dag.tasks
        if not tasks:
            self._close(node)
            return
        if len(self.nodes) + len(tasks) > self.limits.max_tasks:
            self._finish(node, rows.FAILED, f'"{node.path}" would give the run more than {self.limits.max_tasks} tasks')
            return
        node.open_children = len(tasks)
        for name, task in tasks.items():
            component = self.pipeline.component_of(task)
            kind = nodes.type_of(task, component, self.pipeline.executors.get(component.executor))
            child = Node(names.child(node.path, name), kind, component, task, node)
            child.waiting_for = len(task.upstream)
            node.children[name] = child
            self.nodes[child.path] = child
        for child in list(node.children.values()):
            if not child.waiting_for:
                self._activate(child)

    def _activate(self, node: Node) -> None:
        """All upstream tasks of ``node`` have ended: skip it, fail it, or let it begin."""
        task, parent = node.task, node.parent
        assert task is not None and parent is not None
        if self.stopped and not self._goes_on(node, task, parent):
            known = self._recorded.get(node.path)
            if known is None or known.state == rows.SKIPPED:
                node.cut = known is None or known.error == self.stopped
                self._finish(node, rows.SKIPPED, self.stopped if known is None else known.error)
                return
        if not task.run_always:
            for producer in task.upstream:
                if not parent.children[producer].good:
                    state = parent.children[producer].state
                    self._finish(node, rows.SKIPPED, f'"{producer}", which it needs, is {state}')
                    return
        try:
            node.parameters, node.artifacts = inputs.of_task(node, self.pipeline, self.job, self.run_id)
            if task.condition and not expressions.condition(task.condition, inputs.with_nulls(node), node.path,
                                                            inputs.described(node)):
                self._finish(node, rows.SKIPPED, "its condition is false")
                return
            if task.iterator is not None:
                self._open_loop(node, task.iterator)
                return
        except StepError as cause:
            self._finish(node, rows.FAILED, str(cause))
            return
        self._begin(node)

    def _goes_on(self, node: Node, task: ir.Task, parent: Node) -> bool:
        """Whether the node begins although the run is stopped: what has begun gets its exit task."""
        if not node.outlives:
            return False
        upstream = [parent.children[producer] for producer in task.upstream]
        return not upstream or parent.outlives or any(one.state != rows.SKIPPED for one in upstream)

    def _begin(self, node: Node) -> None:
        if node.component.dag is not None:
            self._open(node)
            return
        node.state = rows.PENDING
        self.changed[node.path] = node
        self.ready[node.path] = node

    def _open_loop(self, node: Node, iterator: ir.Iterator) -> None:
        node.type = nodes.LOOP
        if iterator.over == "artifact":
            node.items = list(node.artifacts.get(iterator.input, ()))
        elif iterator.raw is not None:
            node.items = list(iterator.raw)
        else:
            node.items = list(values.items(node.parameters.get(iterator.input),
                                           f'the input "{iterator.input}" of "{node.path}"'))
        count = len(node.items)
        if count > self.limits.max_iterations:
            raise StepError(f'"{node.path}" has {count} iterations; the limit is {self.limits.max_iterations}',
                            remedy="Nest loops, or split the list")
        node.state = rows.RUNNING
        node.open_children = count
        self.changed[node.path] = node
        self._start_iterations(node)
        if not node.open_children:
            self._close(node)

    def _start_iterations(self, node: Node) -> None:
        """Begin as many iterations as the loop's own limit allows."""
        assert node.task is not None and node.task.iterator is not None
        iterator = node.task.iterator
        limit = iterator.parallelism or len(node.items)
        while node.started < len(node.items) and node.running < limit:
            index = node.started
            if self.stopped and not node.outlives and names.iteration(node.path, index) not in self._recorded:
                self._cut_short(node)
                return
            node.started += 1
            node.running += 1
            is_leaf = node.component.dag is None
            executor = self.pipeline.executors.get(node.component.executor)
            kind = nodes.type_of(node.task, node.component, executor) if is_leaf else nodes.ITERATION
            child = Node(names.iteration(node.path, index), kind, node.component, node.task, node)
            child.index = index
            node.children[str(index)] = child
            self.nodes[child.path] = child
            try:
                child.parameters, child.artifacts = inputs.of_iteration(node, iterator, index)
            except StepError as cause:
                self._finish(child, rows.FAILED, str(cause))
            else:
                self._begin(child)

    def _close(self, node: Node) -> None:
        """All children of ``node`` have ended: so does it."""
        self._outputs(node)
        failed = next((child for child in node.children.values() if child.state == rows.FAILED), None)
        if failed is not None:
            why = failed.error.partition("\n")[0]
            self._finish(node, rows.FAILED, f'step "{failed.path}": {why}' if failed.type in nodes.LEAVES else why)
        elif node.cut or any(child.state == rows.CANCELED or child.cut for child in node.children.values()):
            self._finish(node, rows.CANCELED)
        else:
            self._finish(node, rows.SUCCEEDED)

    def _outputs(self, node: Node) -> None:
        """What ``node`` gives, as far as its children gave it."""
        if node.type in nodes.LEAVES:
            return
        if node.type == nodes.LOOP:
            iterations = [node.children[str(index)] for index in range(node.started)]
            node.out_parameters = {
                key: [child.out_parameters[key] for child in iterations if key in child.out_parameters]
                for key in node.component.outputs.parameters
            }
            node.out_artifacts = {
                key: tuple(artifact for child in iterations for artifact in child.out_artifacts.get(key, ()))
                for key in node.component.outputs.artifacts
            }
            return
        dag = node.component.dag
        assert dag is not None
        for key, selectors in dag.parameters.items():
            for selector in selectors:
                producer = node.children.get(selector.producer)
                if producer is not None and selector.key in producer.out_parameters:
                    node.out_parameters[key] = producer.out_parameters[selector.key]
                    break
        for key, selectors in dag.artifacts.items():
            for selector in selectors:
                producer = node.children.get(selector.producer)
                if producer is not None and selector.key in producer.out_artifacts:
                    node.out_artifacts[key] = producer.out_artifacts[selector.key]
                    break

    def _dependants_in(self, dag: ir.Dag) -> dict[str, list[str]]:
        known = self._dependants.get(id(dag))
        if known is None:
            known = {}
            for name, task in dag.tasks.items():
                for producer in task.upstream:
                    known.setdefault(producer, []).append(name)
            self._dependants[id(dag)] = known
        return known
