"""What a run's REST shape says of its steps: names, states, times. Pure; ``view`` and ``summary`` read me."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

WAITING, RUNNING, SUCCEEDED, CACHED, SKIPPED, FAILED, CANCELED = (
    "waiting", "running", "succeeded", "cached", "skipped", "failed", "canceled")
GOOD = (SUCCEEDED, CACHED)
FINAL_RUN_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
STEPS = ("ingest", "statistics", "validate", "transform", "train", "evaluate", "register", "deploy", "predict")
_STATES = {"PENDING": WAITING, "RUNNING": RUNNING, "SUCCEEDED": SUCCEEDED, "CACHED": CACHED, "SKIPPED": SKIPPED,
           "FAILED": FAILED, "CANCELED": CANCELED, "CANCELING": CANCELED}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that does work; the three trainings are three. Times are aware; ``end`` is None while it runs."""

    name: str
    label: str
    state: str
    begin: datetime | None = None
    end: datetime | None = None
    pod: str = ""
    message: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or has run so far; None before it began and for what the cache gave."""
        if self.begin is None or self.state in (WAITING, CACHED, SKIPPED):
            return None
        return max(0.0, ((self.end or now) - self.begin).total_seconds())


def steps(run: Mapping[str, Any]) -> list[Step]:
    """The run's steps in the order of the pipeline; one that has no task yet is waiting."""
    found: dict[str, list[Step]] = {}
    for task in tasks(run):
        name = base_name(task)
        if name in STEPS and task.get("type", "RUNTIME") == "RUNTIME":
            found.setdefault(name, []).append(_step(name, task))
    ordered: list[Step] = []
    for name in STEPS:
        ordered += sorted(found.get(name, []), key=lambda step: step.label) or [
            Step(name=name, label=name, state=WAITING)]
    return ordered


def tasks(run: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The run's tasks: ``tasks`` in upstream's newer model, ``run_details.task_details`` in today's."""
    listed: Sequence[Mapping[str, Any]] = run.get("tasks") or (run.get("run_details") or {}).get("task_details") or []
    return listed


def base_name(task: Mapping[str, Any]) -> str:
    return str(task.get("name") or task.get("display_name") or "").split("[")[0].split("/")[-1]


def _step(name: str, task: Mapping[str, Any]) -> Step:
    state = _STATES.get(str(task.get("state")), WAITING)
    if str(task.get("cached_from") or ""):
        state = CACHED
    inputs, outputs = parameters(task.get("inputs")), parameters(task.get("outputs"))
    which = next((value for key, value in inputs.items() if "algorithm" in key), "")
    label = f"{name} {which}".strip()
    error = task.get("error") or task.get("state_metadata") or {}
    message = str(error.get("message", "")) if isinstance(error, Mapping) else str(error)
    return Step(
        name=name, label=label, state=state, begin=_time(task.get("start_time")), end=_time(task.get("end_time")),
        pod=_pod(task), message=message, outputs=outputs)


def parameters(io: Any) -> dict[str, Any]:
    """Parameters by name, from a mapping or from upstream's list of ``{parameter_key, value}``."""
    listed = (io or {}).get("parameters") or {} if isinstance(io, Mapping) else {}
    if isinstance(listed, Mapping):
        return dict(listed)
    return {str(each.get("parameter_key") or each.get("name")): each.get("value") for each in listed}


def _pod(task: Mapping[str, Any]) -> str:
    if task.get("pod_name"):
        return str(task["pod_name"])
    pods = task.get("pods") or task.get("child_tasks") or []
    named = [str(each.get("name") or each.get("pod_name") or "") for each in pods if isinstance(each, Mapping)]
    return named[-1] if named else ""


def _time(text: Any) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return None if moment.year <= 1970 else moment
