"""Each page from its rows. Pure; ``routes`` reads the rows and calls me."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from lightship.artifacts.store import Entry
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.records.pipeline_rows import ArtifactRow, TaskIO, TaskRow
from lightship.records.rows import Run
from lightship.web.page import parts
from lightship.web.page.html import Child, Markup, link, tag

STEPS_LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class Home:
    """What the first page shows. ``older`` is the token of the next runs, or empty."""

    runs: Sequence[Run]
    older: str
    models: Sequence[Mapping[str, Any]]
    endpoints: Sequence[Object]
    now: datetime


def home(shown: Home) -> Markup:
    runs = parts.table(
        ("Run", "State", "Pipeline", "Started", "Took"),
        ((link(f"/runs/{quote(run.id)}", run.display_name), parts.state(run.state), run.pipeline_name,
          parts.time(run.created_at), parts.took(run.created_at, run.finished_at, shown.now)) for run in shown.runs),
        empty=("No runs yet. ", tag("code", "lightship demo"), " makes one."), label="Runs")
    models = parts.table(
        ("Model", "Version", "State", "Made", "From", "Lies at"),
        ((row["model"], row["name"], parts.state(row["state"]), parts.time(row["created_at"]),
          link(f"/runs/{quote(row['run_id'])}", "its run") if row["run_id"] else None,
          tag("code", row["uri"]) if row["uri"] else None) for row in shown.models),
        empty="No model versions yet. A pipeline's step or the model-registry client registers them.", label="Models")
    endpoints = parts.table(
        ("Endpoint", "State", "Namespace", "URL"),
        (_endpoint(obj) for obj in shown.endpoints),
        empty="No endpoints yet. Create an InferenceService to serve a model.", label="Endpoints")
    older = tag("p", link(f"/?after={quote(shown.older)}", "Older runs")) if shown.older else None
    return parts.frame(
        "Lightship", tag("h1", "Lightship", class_="hidden"),
        tag("section", tag("h2", "Runs"), runs, older), tag("section", tag("h2", "Models"), models),
        tag("section", tag("h2", "Endpoints"), endpoints), home=True)


def run(row: Run, tasks: Sequence[TaskRow], now: datetime) -> Markup:
    steps = _in_order([task for task in tasks if task.type != "ROOT"])
    listed = steps[:STEPS_LIMIT]
    return parts.frame(
        row.display_name, tag("h1", row.display_name),
        parts.facts((
            ("State", parts.state(row.state)), ("Error", row.error), ("Pipeline", row.pipeline_name),
            ("Started", parts.time(row.created_at)), ("Took", parts.took(row.created_at, row.finished_at, now)),
            ("Namespace", row.namespace), ("Id", tag("code", row.id)), ("Parameters", _parameters(row.parameters)))),
        tag("section", tag("h2", "Steps"), parts.table(
            ("Step", "State", "Took", "Inputs", "Outputs"), (_step(task, now) for task in listed),
            empty="No step has begun yet.", label="Steps"),
            tag("p", f"{len(steps) - len(listed)} more steps are not shown.") if len(steps) > len(listed) else None))


def artifact(row: ArtifactRow, files: Sequence[Entry], made_by: tuple[str, str]) -> Markup:
    base = f"/apis/v2beta1/artifacts/{quote(row.artifact_id)}:download"
    single = len(files) == 1 and files[0].uri == row.uri.rstrip("/")
    listed = parts.table(
        ("File", "Size"),
        ((link(base if single else f"{base}?path={quote(_within(entry, row), safe='')}",
               row.name if single else _within(entry, row)), parts.size(entry.size_bytes)) for entry in files),
        empty="Nothing lies there any more, or it is not kept in this store.", label="Files")
    return parts.frame(
        row.name, tag("h1", row.name),
        parts.facts((
            ("Type", row.type_title),
            ("Made by", link(f"/runs/{quote(made_by[0])}", "its run") if made_by[0] else None),
            ("Lies at", tag("code", row.uri)), ("Digest", tag("code", row.digest) if row.digest else None),
            ("Size", parts.size(row.size_bytes) if row.size_bytes else None),
            ("Metadata", _parameters(row.metadata)))),
        tag("section", tag("h2", "Files"), listed))


def _endpoint(obj: Object) -> Sequence[Child]:
    status = objects.status(obj)
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions") or []
    ready = next((each for each in conditions if each.get("type") == "Ready"), {})
    up = ready.get("status") == "True"
    why = "" if up else str(ready.get("message") or ready.get("reason") or "not looked at yet")
    url = str(status.get("url") or "")
    return (objects.name(obj), (parts.state("Ready" if up else "Not ready"), tag("small", why) if why else None),
            objects.namespace(obj), link(url, url) if url else None)


def _step(task: TaskRow, now: datetime) -> Sequence[Child]:
    depth = min(max(task.path.count("/") - 1, 0), 8)
    name = task.display_name or task.name
    if task.index is not None:
        name = f"{name} [{task.index}]" if not name.endswith("]") else name
    said = tag("small", task.error, class_="error") if task.error else None
    pod = tag("small", task.pod) if task.pod else None
    return (tag("span", name, pod, class_=f"step depth-{depth}"), (parts.state(task.state), said),
            parts.took(task.started_at, task.finished_at, now), _io(task.inputs), _io(task.outputs))


def _io(io: TaskIO) -> Child:
    items = [tag("li", key, ": ", parts.value(value)) for key, value in io.parameters.items()]
    items += [tag("li", link(f"/artifacts/{quote(row.artifact_id)}", key))
              for key, rows in io.artifacts.items() for row in rows]
    return tag("ul", *items) if items else None


def _parameters(given: Mapping[str, Any]) -> Child:
    return tag("ul", *(tag("li", key, ": ", parts.value(value)) for key, value in given.items())) if given else None


def _in_order(tasks: Sequence[TaskRow]) -> list[TaskRow]:
    """As they came about: children after their parent, siblings by when they were made, iterations by number."""
    made = {task.path: task.created_at for task in tasks}

    def key(task: TaskRow) -> list[tuple[float, str]]:
        parts = task.path.split("/")
        places = ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
        return [(made[place].timestamp() if place in made else 0.0, _padded(part))
                for place, part in zip(places, parts, strict=True)]

    return sorted(tasks, key=key)


def _padded(part: str) -> str:
    name, _, index = part.partition("[")
    return f"{name}[{index.rstrip(']').zfill(9)}" if index else name


def _within(entry: Entry, row: ArtifactRow) -> str:
    return entry.uri.removeprefix(row.uri.rstrip("/")).strip("/")
