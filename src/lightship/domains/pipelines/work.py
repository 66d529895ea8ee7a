"""One unfinished run in the engine's hands: its unfolded DAG, its rows, what is under way, what is to be written.

``reconciler`` makes one when it takes a run up and drops it when anything fails: the records can always rebuild it.
I do no I/O.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime

from msgspec import structs

from lightship.domains.pipelines import dag, execution, importing, names, nodes, projection
from lightship.domains.pipelines.nodes import Node, Outcome
from lightship.kube.objects import Key
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import Batch, CacheEntry, RunChange, RunRow, TaskRow

TRIMMED_AT_ONCE = 32
"""So many Pods of a run end before those that need not stay are looked for."""
LIMIT_ROWS_A_BATCH = 500
"""Rows of one transaction, unless more than these must be in it."""


class Work:
    """The state of one run between two passes."""

    def __init__(self, run: RunRow, unfolded: dag.Dag, known: Iterable[TaskRow]) -> None:
        self.run = run
        self.dag = unfolded
        self.job = unfolded.job
        self.rows = {row.path: row for row in known}
        self.queued: dict[str, str] = {}
        """Leaves that wait for a slot, with their cache keys ("" for none), in order."""
        self.canceling = run.state == rows.CANCELING
        self.expired = False
        """Whether the run is past its deadline."""
        self._stopping_since: datetime | None = None
        self.has_workspace = False
        """Whether the claim of its workspace was made since I was."""
        self.ended_pods: dict[str, None] = {}
        """Pods whose outcome is decided, to be released once it is written."""
        self.soft: dict[str, TaskRow] = {}
        """Rows whose change may wait for a more important one: that a Pod runs, why it does not start."""
        self.soft_since: float | None = None
        self._untrimmed = 0
        self._hard: dict[str, TaskRow] = {}
        self._done: list[TaskRow] = []

    @property
    def key(self) -> Key:
        return Key(self.run.namespace, self.run.run_id)

    @property
    def stopping(self) -> bool:
        return self.canceling or self.expired

    @property
    def active(self) -> list[str]:
        """Paths of the leaves that have an intent row and have not ended."""
        return [path for path in self.dag.begun if path not in self.queued]

    def holding(self, now: datetime) -> list[str]:
        """Those and the leaves that wait for a slot, but for what waits for its next attempt: that needs nothing."""
        return [path for path in self.dag.begun if path in self.queued or not _is_later(self.rows[path].retry_at, now)]

    def step(self, path: str) -> execution.Execution:
        node = self.dag.nodes[path]
        return execution.of(self.run, self.dag.pipeline, node, self.rows[path])

    def resume(self, now: datetime) -> None:
        """Take up where the rows left off: what ended has ended, and what has a Pod's name has begun.

        A run that was opened again (a later generation, still pending) keeps what ended well. All else begins anew, and
        what lay downstream of it, too: those rows are reset in the batch that says that the run runs, so that a crash
        finds either the old story or the new one.
        """
        if self.run.generation and self.run.state == rows.PENDING:
            self.dag.begin(self.run.parameters)
            kept = {path: row for path, row in self.rows.items() if row.state in nodes.GOOD}
            projection.replay(self.dag, kept)
            for path, row in list(self.rows.items()):
                node = self.dag.nodes.get(path)
                if node is None or not node.ended:
                    self._put(projection.reset(row))
            return
        self.left_seconds(now)
        if self.stopping:
            self._stopping_since = now
            self.dag.stop(self.stop_reason, self.rows)
        self.dag.begin(self.run.parameters)
        self._replay()
        if self.stopping:
            self.dag.end_ready()
            self._replay()  # exit tasks, whose upstream has now ended

    def left_seconds(self, now: datetime) -> float | None:
        """How long the run may still take, and None for as long as it likes. Notes when its time is over."""
        deadline, started = self.dag.pipeline.deadline_seconds, self.run.started_at
        if not deadline or started is None or self.canceling:
            return None
        left = deadline - (now - started).total_seconds()
        self.expired = left <= 0
        return left

    def _replay(self) -> None:
        projection.replay(self.dag, self.rows)
        for path in list(self.dag.ready):
            if path in self.rows and self.rows[path].pod:
                self.dag.take(path)

    def stop(self, now: datetime) -> None:
        """The run is to end: what waits for a slot does not begin. What has begun is ended by its verdict."""
        self._stopping_since = now
        self.dag.stop(self.stop_reason)
        for path in [path for path in self.queued if not self.dag.nodes[path].outlives]:
            del self.queued[path]
            self.dag.settle(path, Outcome(state=rows.CANCELED, error=self.stop_reason))
        self.dag.end_ready()

    def ends(self, path: str, now: datetime, exit_seconds: float) -> str:
        """Why the leaf, which has begun, is to be ended; empty where it is not."""
        if not self.stopping:
            return ""
        if not self.dag.nodes[path].outlives:
            return self.stop_reason
        left = self.exit_left_seconds(path, now, exit_seconds)
        return "" if left is None or left > 0 else (
            f"{self.stop_reason}, and a task that cleans up after that has {exit_seconds:g} seconds")

    def exit_left_seconds(self, path: str, now: datetime, exit_seconds: float) -> float | None:
        """How long the leaf may still run in a run that is to end: an exit task has a time of its own."""
        began = self.rows[path].started_at
        if self._stopping_since is None or began is None or not self.dag.nodes[path].outlives:
            return None
        return exit_seconds - (now - max(began, self._stopping_since)).total_seconds()

    def touch_row(self, path: str, now: datetime) -> None:
        """See to it that the leaf has a row."""
        if path not in self.rows:
            self._put(self._row(self.dag.nodes[path], now))

    def intend(self, path: str, cache_key: str, now: datetime) -> None:
        """An intent: the row of a first attempt, with its Pod's name. From now on the step's time runs."""
        row = structs.replace(self._row(self.dag.nodes[path], now), cache_key=cache_key, started_at=now)
        self._put(structs.replace(row, pod=self._pod_name(row)))

    def again(self, path: str, *, counts: bool, at: datetime, why: str) -> None:
        """An intent: the next attempt."""
        row = self.rows[path]
        self.ended_pods[row.pod] = None
        row = structs.replace(row, attempt=row.attempt + 1, retries=row.retries + counts, state=rows.PENDING,
                                  retry_at=at, error=f"attempt {row.attempt + 1}: {why}")
        self._put(structs.replace(row, pod=self._pod_name(row)))

    def settle(self, path: str, outcome: Outcome, now: datetime, *, cached_from: str = "",
               cache_key: str = "") -> None:
        """A leaf has ended; its row, and those of what ends or begins with it, are written with the next batch."""
        row = self.rows.get(path)
        if row is not None and row.pod:
            self.ended_pods[row.pod] = None
        self.queued.pop(path, None)
        self.soft.pop(path, None)
        self.dag.settle(path, outcome)
        row = self._row(self.dag.nodes[path], now)
        row = structs.replace(row, error=outcome.error, cached_from=cached_from or row.cached_from,
                                  cache_key=cache_key or row.cache_key)
        self._put(row)
        self._done.append(row)
        self.dag.changed.pop(path, None)

    def soften(self, path: str, now: float, *, state: str | None = None, note: str | None = None) -> None:
        """A change of a row that nobody waits for."""
        row = self.soft.get(path) or self.rows[path]
        changed = structs.replace(row, state=state or row.state, error=row.error if note is None else note)
        if changed != row:
            self.soft[path] = changed
            if self.soft_since is None:
                self.soft_since = now

    def batch(self, now: datetime) -> Batch:
        """Everything that has changed since the last one. Rows are taken as written; on failure drop me."""
        for row in self.soft.values():
            started = row.started_at or (now if row.state == rows.RUNNING else None)
            self._put(structs.replace(row, started_at=started))
        self.soft.clear()
        self.soft_since = None
        for path, node in self._to_write():
            known = self.rows.get(path)
            row = self._row(node, now)
            if row != known:
                self._put(row)
        written, done = tuple(self._hard.values()), self._done
        self._hard, self._done = {}, []
        artifacts = {artifact.artifact_id: artifact for row in done for listed in row.outputs.artifacts.values()
                     for artifact in listed}
        return Batch(
            namespace=self.run.namespace,
            run_id=self.run.run_id,
            run=self._run_change(now),
            tasks=written,
            artifacts=tuple(artifacts.values()),
            events=tuple(event for row in done for event in projection.events(row)),
            cache=tuple(CacheEntry(namespace=row.namespace, key=row.cache_key, task_id=row.task_id,
                                   run_id=row.run_id, outputs=row.outputs, created_at=now)
                        for row in done if row.cache_key and row.state == rows.SUCCEEDED),
        )

    def trim_due(self, ended: int) -> bool:
        """Whether it is time to look for Pods that need not stay, now that so many more have ended."""
        self._untrimmed += ended
        due = self._untrimmed >= TRIMMED_AT_ONCE or self.dag.root.ended
        if due:
            self._untrimmed = 0
        return due

    def _to_write(self) -> list[tuple[str, Node]]:
        """What changed; of leaves that only wait, so many that thousands do not hold up everybody else's writes."""
        chosen: list[tuple[str, Node]] = []
        later: dict[str, Node] = {}
        for path, node in self.dag.changed.items():
            waits = node.state == rows.PENDING and node.type in nodes.LEAVES and path not in self.rows
            if waits and len(chosen) >= LIMIT_ROWS_A_BATCH:
                later[path] = node
            else:
                chosen.append((path, node))
        self.dag.changed.clear()
        self.dag.changed.update(later)
        return chosen

    @property
    def has_hard_changes(self) -> bool:
        return bool(self._hard or self.dag.changed or self._next_state() != self.run.state)

    def moved(self, change: RunChange) -> None:
        """The run's own row was written."""
        self.run = dataclasses.replace(
            self.run, state=change.state, error=change.error, started_at=change.started_at or self.run.started_at,
            finished_at=change.finished_at or self.run.finished_at)

    def _next_state(self) -> str:
        root = self.dag.root
        if root.ended:
            if root.state != rows.SUCCEEDED and self.stopping:
                return rows.CANCELED if self.canceling else rows.FAILED
            return root.state
        return self.run.state if self.canceling else rows.RUNNING

    def _run_change(self, now: datetime) -> RunChange | None:
        state = self._next_state()
        if state == self.run.state:
            return None
        return RunChange(
            expected_state=self.run.state, state=state, error=self._error(),
            at=now, started_at=self.run.started_at or now, finished_at=now if state in rows.FINAL else None)

    @property
    def stop_reason(self) -> str:
        if self.canceling:
            return "the run was terminated"
        return f"the run's deadline of {self.dag.pipeline.deadline_seconds} seconds passed"

    def _error(self) -> str:
        root = self.dag.root
        if not root.ended or root.state == rows.SUCCEEDED:
            return ""
        return self.stop_reason if self.stopping else root.error

    def _row(self, node: Node, now: datetime) -> TaskRow:
        return projection.row(node, self.rows.get(node.path), run_id=self.run.run_id,
                              namespace=self.run.namespace, now=now)

    def _put(self, row: TaskRow) -> None:
        self.rows[row.path] = row
        self._hard[row.path] = row

    def _pod_name(self, row: TaskRow) -> str:
        return names.pod(self.run.run_id, row.name, names.attempt_id(row.task_id, self.run.generation, row.attempt))


def is_engines_own(work: Work, path: str) -> bool:
    """Whether the engine itself does the leaf's work, without a Pod."""
    node = work.dag.nodes[path]
    if node.type == nodes.IMPORTER:
        return not importing.downloads(work.dag.pipeline, node)
    executor = work.dag.pipeline.executors[node.component.executor]
    return getattr(executor, "image", "").startswith("argostub/")


def _is_later(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now
