"""``lightship lineage``: what an artifact was made from, and what was made from it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightship import errors
from lightship.cli import connection, exits
from lightship.cli.connection import Platform
from lightship.domains.pipelines.commands import finding, tree
from lightship.domains.pipelines.commands.follow import RUNS

PATH = "/apis/v2beta1/lineage"
LIMIT_LEVELS = 100
SHOWN_ID_CHARACTERS = 8
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DESCRIPTION = """\
Show what an artifact was made from, and what was made from it. ARTIFACT is its id, or RUN/STEP/OUTPUT:

  lightship lineage last/train/model
  lightship lineage nightly/for-loop-1[0]/train/model --direction upstream
  lightship lineage last/train/model -o dot | dot -Tsvg > lineage.svg
"""


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lineage = verbs.add_parser("lineage", help="show where an artifact comes from and what came of it",
                               description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    lineage.add_argument("artifact", metavar="ARTIFACT", help="an artifact's id, or RUN/STEP/OUTPUT")
    lineage.add_argument("--direction", choices=("both", "upstream", "downstream"), default="both",
                         help="what it was made from, what was made from it, or both (default)")
    lineage.add_argument("--levels", type=int, default=LIMIT_LEVELS, metavar="N",
                         help=f"at most so many steps away (default {LIMIT_LEVELS})")
    lineage.add_argument("-o", "--output", choices=("tree", "json", "dot"), default="tree", help="how to show it")
    connection.add(lineage)
    lineage.set_defaults(handler=connection.handler(_lineage))


async def _lineage(platform: Platform, arguments: argparse.Namespace) -> int:
    artifact_id = await _artifact(platform, arguments.artifact)
    found = await platform.kfp(f"{PATH}/{artifact_id}", {"direction": arguments.direction,
                                                        "levels": str(arguments.levels)})
    if arguments.output == "json":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        write = dot if arguments.output == "dot" else text
        sys.stdout.write("".join(f"{line}\n" for line in write(found, arguments.direction)))
    return exits.OK


async def _artifact(platform: Platform, wanted: str) -> str:
    """The artifact's id. Raises ``errors.NotFound``."""
    if _ID.fullmatch(wanted):
        return wanted
    run, _, rest = wanted.partition("/")
    step, _, output = rest.rpartition("/")
    if not run or not step or not output:
        raise errors.InvalidInput(f"{wanted!r} names no artifact", remedy="write its id, or RUN/STEP/OUTPUT")
    shape = await platform.kfp(f"{RUNS}/{await finding.run_id(platform, run)}")
    node = tree.step_of(tree.of_run(shape), step)
    task = next(task for task in shape.get("tasks") or () if task["task_id"] == node.task_id)
    outputs = {each["artifact_key"]: each["artifacts"] for each in (task.get("outputs") or {}).get("artifacts") or ()}
    if not outputs.get(output):
        known = ", ".join(sorted(outputs)) or "no artifacts"
        raise errors.NotFound(f'the step "{node.path}" has no output artifact "{output}"', remedy=f"it has {known}")
    return str(outputs[output][0]["artifact_id"])


@dataclass(frozen=True)
class _Graph:
    """The answer by what belongs together."""

    artifacts: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Any]]
    makers: Mapping[str, list[str]]
    """Artifact to the tasks that put it out."""
    users: Mapping[str, list[str]]
    taken: Mapping[str, list[tuple[str, str]]]
    """Task to its inputs, each the name that the task has for it and the artifact."""
    made: Mapping[str, list[tuple[str, str]]]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> _Graph:
        makers: dict[str, list[str]] = {}
        users: dict[str, list[str]] = {}
        taken: dict[str, list[tuple[str, str]]] = {}
        made: dict[str, list[tuple[str, str]]] = {}
        for link in found.get("links") or ():
            ends, of_task = (makers, made) if link["type"] == "OUTPUT" else (users, taken)
            ends.setdefault(link["artifact_id"], []).append(link["task_id"])
            of_task.setdefault(link["task_id"], []).append((str(link.get("key") or ""), link["artifact_id"]))
        return cls({each["artifact_id"]: each for each in found.get("artifacts") or ()},
                   {each["task_id"]: each for each in found.get("tasks") or ()}, makers, users, taken, made)

    def artifact(self, artifact_id: str, key: str = "") -> str:
        known = self.artifacts.get(artifact_id) or {}
        kind = str(known.get("type") or "artifact").removeprefix("system.")
        digest = f"  {known['digest'][:19]}" if known.get("digest") else ""
        return f"{key or known.get('name') or 'artifact'} ({kind} {artifact_id[:SHOWN_ID_CHARACTERS]}){digest}"

    def task(self, task_id: str) -> str:
        known = self.tasks.get(task_id) or {}
        path = str(known.get("scope_path") or known.get("display_name") or task_id).removeprefix("root/")
        state = str(known.get("state") or "").lower()
        return f"{path} in {known.get('run_display_name') or known.get('run_id') or 'a run'}, {state}"


def text(found: Mapping[str, Any], direction: str) -> Iterator[str]:
    """The lines of a tree: the artifact, what it was made from, what was made from it. Pure."""
    graph, start = _Graph.of(found), str(found["artifact_id"])
    known = graph.artifacts.get(start) or {}
    yield graph.artifact(start)
    if known.get("uri"):
        yield f"  {known['uri']}"
    for wanted, title, nothing in (("upstream", "made by", "nothing that is recorded"),
                                   ("downstream", "used by", "nothing yet")):
        if direction not in ("both", wanted):
            continue
        lines = list(_branch(graph, start, wanted, 1, set()))
        yield f"{title}{'' if lines else ' ' + nothing}"
        yield from lines
    if found.get("truncated"):
        yield "... and more: narrow it with --direction or --levels"


def _branch(graph: _Graph, artifact_id: str, direction: str, depth: int, seen: set[str]) -> Iterator[str]:
    """Tasks next to an artifact, and the artifacts beyond each; what was shown before is only named again."""
    ends, beyond = (graph.makers, graph.taken) if direction == "upstream" else (graph.users, graph.made)
    for task_id in ends.get(artifact_id, ()):
        again = task_id in seen
        yield f"{'  ' * depth}{graph.task(task_id)}{' (above)' if again else ''}"
        if again:
            continue
        seen.add(task_id)
        for key, other in beyond.get(task_id, ()):
            yield f"{'  ' * (depth + 1)}{'from' if direction == 'upstream' else 'made'} {graph.artifact(other, key)}"
            yield from _branch(graph, other, direction, depth + 2, seen)


def dot(found: Mapping[str, Any], direction: str = "both") -> Iterator[str]:
    """The same as a graph for Graphviz. Pure."""
    graph = _Graph.of(found)
    yield "digraph lineage {"
    yield "  rankdir=LR; node [fontname=sans];"
    for artifact_id in graph.artifacts:
        bold = " penwidth=3" if artifact_id == found["artifact_id"] else ""
        yield f"  {_quoted(artifact_id)} [shape=box label={_quoted(graph.artifact(artifact_id))}{bold}];"
    for task_id in graph.tasks:
        yield f"  {_quoted(task_id)} [shape=ellipse label={_quoted(graph.task(task_id))}];"
    for link in found.get("links") or ():
        ends = (link["task_id"], link["artifact_id"])
        first, second = ends if link["type"] == "OUTPUT" else ends[::-1]
        yield f"  {_quoted(first)} -> {_quoted(second)} [label={_quoted(str(link.get('key') or ''))}];"
    yield "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
