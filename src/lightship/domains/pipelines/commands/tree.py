"""A run's REST shape as a tree of what ran: names, states, times. Pure; ``view``, ``runs`` and ``debug`` read me."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightship import errors

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
DONE = (*FINAL, "CACHED")
ROOT, LOOP, ITERATION, DAG = "ROOT", "LOOP", "ITERATION", "DAG"
_INNER = (ROOT, LOOP, ITERATION, DAG)
LIMIT_NAMED = 12


@dataclass(kw_only=True)
class Node:
    """A task with what lies below it. Times are aware; ``end`` is None while it goes on."""

    path: str
    """As people write it: without the root, such as ``for-loop-1[0]/train``."""
    label: str
    type: str
    state: str
    task_id: str = ""
    pod: str = ""
    message: str = ""
    attempt: int = 0
    begin: datetime | None = None
    end: datetime | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def is_step(self) -> bool:
        return not self.children and self.type not in _INNER

    @property
    def done(self) -> bool:
        return self.state in DONE

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or has run so far; None before it began and for what the cache gave."""
        if self.begin is None or self.state in ("PENDING", "CACHED", "SKIPPED"):
            return None
        return max(0.0, ((self.end or now) - self.begin).total_seconds())

    def steps(self) -> Iterator[Node]:
        """The steps here and below, in order."""
        if self.is_step:
            yield self
        for child in self.children:
            yield from child.steps()


def of_run(run: Mapping[str, Any]) -> Node:
    """The run's tree; what runs beside one another stands in the order of its beginning."""
    tasks: Sequence[Mapping[str, Any]] = run.get("tasks") or (run.get("run_details") or {}).get("task_details") or []
    nodes = {str(task.get("task_id")): _node(task) for task in tasks}
    root = Node(path="", label=str(run.get("display_name") or ""), type=ROOT, state=str(run.get("state") or "PENDING"),
                begin=_time(run.get("created_at")), end=_time(run.get("finished_at")),
                message=_message(run.get("error")))
    tops = {key for key, node in nodes.items() if node.type == ROOT}
    for task in tasks:
        key, parent = str(task.get("task_id")), str(task.get("parent_task_id") or "")
        if key in tops:
            continue
        above = nodes.get(parent)
        (root if above is None or parent in tops else above).children.append(nodes[key])
    for node in (root, *nodes.values()):
        node.children.sort(key=_order)
    return root


def _order(node: Node) -> tuple[bool, Any, int, str]:
    found = re.search(r"\[(\d+)\]$", node.path)
    if node.type == ITERATION or found:
        return (False, "", int(found[1]) if found else 0, node.path)
    return (node.begin is None, node.begin.isoformat() if node.begin else "", 0, node.path)


def _node(task: Mapping[str, Any]) -> Node:
    path = str(task.get("scope_path") or task.get("display_name") or "")
    pods = task.get("pods") or []
    last = pods[-1] if pods and isinstance(pods[-1], Mapping) else {}
    return Node(
        path=path.removeprefix("root/"), label=str(task.get("display_name") or task.get("name") or path),
        type=str(task.get("type") or "RUNTIME"), state=str(task.get("state") or "PENDING"),
        task_id=str(task.get("task_id") or ""), pod=str(task.get("pod_name") or last.get("name") or ""),
        message=_message(task.get("error")), attempt=int(task.get("attempt") or 0),
        begin=_time(task.get("start_time")), end=_time(task.get("end_time")))


def _message(error: Any) -> str:
    return str(error.get("message") or "") if isinstance(error, Mapping) else str(error or "")


def _time(text: Any) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return None if moment.year <= 1970 else moment


def step_of(root: Node, wanted: str) -> Node:
    """The step that a person means: its path, the end of its path, or its name. Raises ``errors.NotFound``."""
    steps = list(root.steps())
    for matches in (lambda step: wanted in (step.path, f"root/{step.path}", step.task_id, step.pod),
                    lambda step: step.path.endswith("/" + wanted),
                    lambda step: wanted == step.label):
        found = [step for step in steps if matches(step)]
        if len(found) == 1:
            return found[0]
        if found:
            raise errors.InvalidInput(f'{len(found)} steps are called "{wanted}"',
                                      remedy=f"name one of {_named(found)}")
    raise errors.NotFound(f'the run has no step "{wanted}"', remedy=f"it has {_named(steps)}")


def _named(steps: Sequence[Node]) -> str:
    names = [step.path for step in steps[:LIMIT_NAMED]]
    more = f" and {len(steps) - LIMIT_NAMED} more" if len(steps) > LIMIT_NAMED else ""
    return (", ".join(names) or "none yet") + more


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the tree as it is shown: a node, or what was folded away."""

    node: Node
    depth: int
    folded: str = ""
    """In place of the children: how far they are."""


def lines(root: Node, limit: int) -> list[Line]:
    """The tree in at most ``limit`` lines: what is finished and went well folds first, then waiting work."""
    for keep in (lambda node: True, _is_of_interest, _is_under_way, lambda node: node.state == "FAILED"):
        shown = list(_shown(root, 0, keep))
        if len(shown) <= limit:
            return shown
    return shown[:limit]


def _shown(node: Node, depth: int, keep: Any) -> Iterator[Line]:
    if node.type != ROOT:
        kept = [child for child in node.children if keep(child)]
        yield Line(node=node, depth=depth, folded=_progress(node) if len(kept) < len(node.children) else "")
        depth += 1
    for child in node.children:
        if keep(child) or node.type == ROOT:
            yield from _shown(child, depth, keep)


def _is_of_interest(node: Node) -> bool:
    return node.state not in ("SUCCEEDED", "CACHED", "SKIPPED")


def _is_under_way(node: Node) -> bool:
    return node.state in ("RUNNING", "FAILED", "CANCELING")


def _progress(node: Node) -> str:
    done = sum(child.done for child in node.children)
    return f"{done} of {len(node.children)}"
