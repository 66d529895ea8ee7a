"""An Experiment and its Trials as one table, the best first, and as the JSON and CSV that people keep of it. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.algorithms import space
from lightship.domains.tuning.algorithms.search import Objective, Search
from lightship.domains.tuning.experiment import pareto, search
from lightship.domains.tuning.trial import view
from lightship.domains.tuning.trial.view import View
from lightship.kube import objects, times
from lightship.kube.objects import Object

_COUNTED = (names.SUCCEEDED, names.EARLY_STOPPED)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One Trial. ``number`` counts Trials as they were made, ``rank`` those with a value, the best first."""

    number: int
    view: View
    created: str
    started: str
    message: str
    value: float | None
    rank: int | None = None

    @property
    def seconds(self) -> float | None:
        if not (self.started and self.view.completed):
            return None
        return (times.parse(self.view.completed) - times.parse(self.started)).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Results:
    """``rows`` are by rank, then those without a value as they were made. ``front`` names the Pareto front's Trials."""

    name: str
    namespace: str
    state: str
    reason: str
    goal: float | None
    search: Search
    rows: Sequence[Row]
    front: Sequence[str]

    @property
    def objectives(self) -> Sequence[Objective]:
        return self.search.objectives

    @property
    def best(self) -> Row | None:
        return self.rows[0] if self.rows and self.rows[0].rank else None

    @property
    def parameters(self) -> Sequence[str]:
        """The parameters' names; what the Trials were assigned where the Experiment names none, as with DARTS."""
        named = [one.name for one in self.search.parameters]
        return named or sorted({name for row in self.rows for name in row.view.assignments})

    @property
    def metrics(self) -> Sequence[str]:
        """The objectives' metrics, then whatever else was observed."""
        first = [one.metric for one in self.objectives]
        return first + sorted({name for row in self.rows for name in row.view.texts} - set(first))

    def chronological(self) -> Sequence[Row]:
        return sorted(self.rows, key=lambda row: row.number)


def of(experiment: Object, trials: Sequence[Object]) -> Results:
    """The results as they stand, while the Experiment runs, too."""
    asked = search.make(experiment)
    lead = asked.objectives[0]
    made = sorted(trials, key=lambda trial: (str(objects.meta(trial).get("creationTimestamp") or ""),
                                             _number(objects.meta(trial).get("resourceVersion")), objects.name(trial)))
    rows = [_row(number, trial, lead) for number, trial in enumerate(made, 1)]
    sign = -1 if lead.goal_type == "maximize" else 1
    ranked = sorted((row for row in rows if row.value is not None),
                    key=lambda row: (sign * (row.value or 0.0), row.view.completed, row.number))
    front = pareto.front([row.view for row in ranked], asked.objectives) if len(asked.objectives) > 1 else []
    status = objects.status(experiment)
    state = str(next((one.get("type") for one in reversed(status.get("conditions") or ())
                      if one.get("status") == "True"), "Created"))
    goal = (objects.spec(experiment).get("objective") or {}).get("goal")
    return Results(
        name=objects.name(experiment), namespace=objects.namespace(experiment), state=state,
        reason=marks.reason_of(status, state), goal=None if goal is None else float(goal), search=asked,
        rows=[*(_ranked(row, rank) for rank, row in enumerate(ranked, 1)), *(row for row in rows if row.value is None)],
        front=[one.name for one in front])


def as_json(results: Results) -> dict[str, Any]:
    """Everything, plots included as numbers."""
    best = results.best
    return {
        "experiment": results.name, "namespace": results.namespace, "state": results.state, "reason": results.reason,
        "algorithm": results.search.algorithm,
        "objectives": [{"metric": one.metric, "type": one.goal_type} for one in results.objectives],
        "goal": results.goal, "best": None if best is None else _trial(best),
        "paretoFront": list(results.front),
        "trials": [_trial(row) for row in results.rows],
        "plots": {"history": history(results), "parallelCoordinates": coordinates(results)},
    }


def as_csv(results: Results) -> str:
    """A line a Trial, the best first."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["rank", "trial", "state", *(f"parameter:{name}" for name in results.parameters),
                     *(f"metric:{name}" for name in results.metrics), "started", "completed", "seconds"])
    for row in results.rows:
        assignments, texts = row.view.assignments, row.view.texts
        writer.writerow([row.rank or "", row.view.name, row.view.state,
                         *(assignments.get(name, "") for name in results.parameters),
                         *(texts.get(name, "") for name in results.metrics),
                         row.started, row.view.completed, "" if row.seconds is None else f"{row.seconds:g}"])
    return stream.getvalue()


def history(results: Results) -> list[dict[str, Any]]:
    """Trials with a value as they were made, each with the best value up to it."""
    found: list[dict[str, Any]] = []
    best: float | None = None
    better = max if results.objectives[0].goal_type == "maximize" else min
    for row in results.chronological():
        if row.value is not None:
            best = row.value if best is None else better(best, row.value)
            found.append({"number": row.number, "trial": row.view.name, "value": row.value, "best": best})
    return found


def coordinates(results: Results) -> dict[str, Any]:
    """Axes from 0 to 1, as the search has them, and where each Trial with a value lies on them."""
    lines = []
    axes = space.axes(results.search.parameters)
    for row in results.rows:
        at = space.units(axes, row.view.assignments)
        if row.value is not None and at is not None:
            lines.append({"trial": row.view.name, "rank": row.rank, "value": row.value, "at": list(at)})
    return {"axes": [{"parameter": axis.name, "ticks": _ticks(axis)} for axis in axes], "lines": lines}


LIMIT_TICKS = 12


def _ticks(axis: space.Axis) -> list[dict[str, Any]]:
    """What is written beside an axis: each of few steps or choices, else five places of it."""
    steps = axis.steps
    if steps is not None and steps < LIMIT_TICKS and axis.even:
        return [{"text": axis.at(index), "at": axis.unit(axis.at(index))} for index in range(steps + 1)]
    texts = dict.fromkeys(axis.text(share / 4) for share in range(5))
    return [{"text": text if axis.choices or axis.whole else f"{float(text):.3g}", "at": axis.unit(text)}
            for text in texts]


def _row(number: int, trial: Object, lead: Objective) -> Row:
    one = view.of(trial)
    status = objects.status(trial)
    value = one.values.get(lead.metric) if one.state in _COUNTED else None
    said = next((str(each.get("message") or "") for each in reversed(status.get("conditions") or ())
                 if each.get("status") == "True"), "")
    return Row(number=number, view=one, created=str(objects.meta(trial).get("creationTimestamp") or ""),
               started=str(status.get("startTime") or ""), message=said,
               value=value if value is not None and math.isfinite(value) else None)


def _ranked(row: Row, rank: int) -> Row:
    return Row(number=row.number, view=row.view, created=row.created, started=row.started, message=row.message,
               value=row.value, rank=rank)


def _number(text: Any) -> int:
    return int(text) if str(text or "").isdecimal() else 0


def _trial(row: Row) -> dict[str, Any]:
    return {"trial": row.view.name, "number": row.number, "rank": row.rank, "state": row.view.state,
            "value": row.value, "parameters": dict(row.view.assignments), "metrics": _metrics(row.view.texts),
            "started": row.started or None, "completed": row.view.completed or None, "seconds": row.seconds,
            "message": row.message}


def _metrics(texts: Mapping[str, str]) -> dict[str, str]:
    return dict(texts)
