"""How an Experiment stands, in a line, and how it ended, in a few. Pure; ``tune`` calls me."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.experiment import status
from lightship.domains.tuning.trial import view
from lightship.kube import objects
from lightship.kube.objects import Object

_ENDED = ("trialsSucceeded", "trialsFailed", "trialsKilled", "trialsEarlyStopped", "trialMetricsUnavailable")
_COUNTS = (("trialsSucceeded", "succeeded"), ("trialsRunning", "running"), ("trialsPending", "pending"),
           ("trialsFailed", "failed"), ("trialsKilled", "killed"), ("trialsEarlyStopped", "early stopped"),
           ("trialMetricsUnavailable", "without metrics"))
LIMIT_PARAMETERS_SHOWN = 8


def ended(experiment: Object) -> bool:
    """Whether it is over: one whose budget was just raised is about to go on."""
    return status.ended(experiment) and not status.restarts(experiment)


def succeeded(experiment: Object) -> bool:
    return marks.is_true(objects.status(experiment), names.SUCCEEDED)


@dataclass(kw_only=True)
class Pace:
    """Trials a second, since the first look at the Experiment."""

    first_ended: int = -1
    first_seconds: float = 0.0

    def of(self, experiment: Object, seconds: float) -> float | None:
        count = _ended(objects.status(experiment))
        if self.first_ended < 0:
            self.first_ended, self.first_seconds = count, seconds
        if count <= self.first_ended or seconds <= self.first_seconds:
            return None
        return (count - self.first_ended) / (seconds - self.first_seconds)


def line(experiment: Object, pace: float | None) -> str:
    """Counts, pace, and the best so far: ``12/200 trials: 10 succeeded, 2 running; 15.2 trials/s; best loss=0.1``."""
    as_is, spec = objects.status(experiment), objects.spec(experiment)
    most = spec.get("maxTrialCount")
    counts = ", ".join(f"{as_is[field]} {word}" for field, word in _COUNTS if as_is.get(field))
    parts = [f"{_ended(as_is)}{f'/{most}' if most is not None else ''} trials{f': {counts}' if counts else ''}"]
    if pace is not None:
        parts.append(f"{pace:.1f} trials/s")
    found = best(experiment)
    if found is not None:
        parts.append(f"best {_metric(experiment, found)} ({_assignments(found)})")
    return "; ".join(parts)


def summary(experiment: Object) -> Iterator[str]:
    """How it ended, the best Trial, and where to read more."""
    as_is = objects.status(experiment)
    type = names.SUCCEEDED if succeeded(experiment) else names.FAILED
    said = next((str(one.get("message") or "") for one in as_is.get("conditions") or ()
                 if one.get("type") == type and one.get("status") == "True"), "")
    yield f"{type.lower()}: {said or marks.reason_of(as_is, type)}"
    found = best(experiment)
    if found is not None:
        yield f"best trial {found.get('bestTrialName')}: {_metric(experiment, found)}"
        for one in found.get("parameterAssignments") or ():
            yield f"  {one.get('name')} = {one.get('value')}"
    key = objects.key(experiment)
    yield f"all trials: lightship trials {key.name} -n {key.namespace} (-o html > {key.name}.html for plots)"


def best(experiment: Object) -> Mapping[str, Any] | None:
    found = objects.status(experiment).get("currentOptimalTrial") or {}
    return found if found.get("bestTrialName") else None


def _ended(as_is: Mapping[str, Any]) -> int:
    return sum(int(as_is.get(field) or 0) for field in _ENDED)


def _metric(experiment: Object, found: Mapping[str, Any]) -> str:
    """The objective of the best Trial, by the strategy that counts."""
    objective = objects.spec(experiment).get("objective") or {}
    name = str(objective.get("objectiveMetricName") or "")
    strategies = {one.get("name"): str(one.get("value")) for one in objective.get("metricStrategies") or ()}
    for metric in (found.get("observation") or {}).get("metrics") or ():
        if metric.get("name") == name:
            return f"{name}={view.value_of(metric, strategies.get(name, 'latest'))}"
    return f"{name}=?"


def _assignments(found: Mapping[str, Any]) -> str:
    pairs = [f"{one.get('name')}={one.get('value')}" for one in found.get("parameterAssignments") or ()]
    more = ["..."] if len(pairs) > LIMIT_PARAMETERS_SHOWN else []
    return ", ".join([*pairs[:LIMIT_PARAMETERS_SHOWN], *more])
