"""How an Experiment's status comes from its Trials. Pure; ``decide`` calls me.

Counts, lists and the order of ends are upstream's: the goal, then too many failures, then the last Trial of the budget,
then the end of what the algorithm has to suggest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.experiment import pareto, search
from lightship.domains.tuning.marks import Status
from lightship.domains.tuning.suggestion.book import Budget
from lightship.domains.tuning.trial.view import PENDING, View, finite
from lightship.kube import objects, times
from lightship.kube.objects import Object

LISTS = {names.RUNNING: ("runningTrialList", "trialsRunning"), PENDING: ("pendingTrialList", "trialsPending"),
         names.FAILED: ("failedTrialList", "trialsFailed"), names.SUCCEEDED: ("succeededTrialList", "trialsSucceeded"),
         names.KILLED: ("killedTrialList", "trialsKilled"),
         names.EARLY_STOPPED: ("earlyStoppedTrialList", "trialsEarlyStopped"),
         names.METRICS_UNAVAILABLE: ("metricsUnavailableTrialList", "trialMetricsUnavailable")}
"""By a Trial's state: the list and the count that it is in."""
_SAYS = {names.GOAL_REACHED: "Experiment has succeeded because Objective goal has reached",
         names.MAX_TRIALS_REACHED: "Experiment has succeeded because max trial count has reached",
         names.SUGGESTION_END_REACHED: "Experiment has succeeded because suggestion service has reached the end"}
SAYS_FAILED = "Experiment has failed because max failed count has reached"
SAYS_RUNNING = "Experiment is running"


def ended(experiment: Object) -> bool:
    status = objects.status(experiment)
    return marks.is_true(status, names.SUCCEEDED) or marks.is_true(status, names.FAILED)


def restartable(experiment: Object) -> bool:
    """Whether a raised budget starts it again: only one that used up its Trials."""
    return (marks.reason_of(objects.status(experiment), names.SUCCEEDED) == names.MAX_TRIALS_REACHED
            and objects.spec(experiment).get("resumePolicy") in names.RESUMABLE)


def restarts(experiment: Object) -> bool:
    """Whether it ended, and its budget has been raised since."""
    most = Budget.of(objects.spec(experiment)).most
    return restartable(experiment) and most > int(objects.status(experiment).get("trials") or 0)


def mark_created(status: Status, now: datetime) -> Status:
    if marks.is_true(status, names.CREATED):
        return status
    return marks.mark(status | {"startTime": status.get("startTime") or times.rfc3339(now)}, names.CREATED,
                      names.EXPERIMENT_CREATED, "Experiment is created", now)


def mark_restarting(status: Status, now: datetime) -> Status:
    kept = {name: value for name, value in status.items() if name != "completionTime"}
    return marks.mark(marks.without(kept, names.SUCCEEDED, names.FAILED), names.RESTARTING,
                      names.EXPERIMENT_RESTARTING, "Experiment is restarted", now)


def mark_running(status: Status, now: datetime, note: str = "") -> Status:
    says = f"{SAYS_RUNNING}. {note}" if note else SAYS_RUNNING
    return marks.mark(status, names.RUNNING, names.EXPERIMENT_RUNNING, says, now)


def mark_failed(status: Status, message: str, now: datetime) -> Status:
    ended = marks.mark(marks.stop_running(status, now), names.FAILED, names.EXPERIMENT_FAILED, message, now)
    return ended | {"completionTime": times.rfc3339(now)}


def mark_succeeded(status: Status, reason: str, now: datetime) -> Status:
    ended = marks.mark(marks.stop_running(status, now), names.SUCCEEDED, reason, _SAYS[reason], now)
    return ended | {"completionTime": times.rfc3339(now)}


def propagate_trials(status: Status, experiment: Object, views: Sequence[View]) -> Status:
    """Counts, lists and the best Trial. ``views`` are the ended ones in the order of completion, then the others."""
    lists: dict[str, list[str]] = {state: [] for state in LISTS}
    for view in views:
        lists[view.state].append(view.name)
    changed: Status = {"trials": len(views)}
    dropped = set()
    for state, (listed, counted) in LISTS.items():
        changed[counted] = len(lists[state])
        if lists[state]:
            changed[listed] = lists[state]
        else:
            dropped.add(listed)
    kept = {name: value for name, value in status.items() if name not in dropped}
    best = best_of(objects.spec(experiment), views)
    if best is not None:
        changed["currentOptimalTrial"] = {"bestTrialName": best.name, **_shown(best)}
    objectives = search.objectives(objects.spec(experiment).get("objective") or {})
    if len(objectives) > 1:
        changed["paretoFront"] = [{"trialName": view.name, **_shown(view)} for view in pareto.front(views, objectives)]
    return kept | changed


def mark_end(status: Status, experiment: Object, views: Sequence[View], now: datetime) -> Status:
    """The end that has come, if one has."""
    spec = objects.spec(experiment)
    failed = status.get("trialsFailed", 0) + status.get("trialMetricsUnavailable", 0)
    completed = failed + sum(status.get(name, 0) for name in ("trialsSucceeded", "trialsKilled", "trialsEarlyStopped"))
    most_failed, most = spec.get("maxFailedTrialCount"), Budget.of(spec).most
    if goal_reached(spec.get("objective") or {}, views):
        return mark_succeeded(status, names.GOAL_REACHED, now)
    if most_failed is not None and failed and failed >= most_failed:
        return mark_failed(status, SAYS_FAILED, now)
    if completed >= most:
        return mark_succeeded(status, names.MAX_TRIALS_REACHED, now)
    return status


def best_of(spec: Mapping[str, Any], views: Iterable[View]) -> View | None:
    """The best Trial by the leading objective: the first of equals; of values that are texts the latest."""
    objective = (spec.get("objective") or {})
    metric, most = str(objective.get("objectiveMetricName")), objective.get("type") == names.MAXIMIZE
    best, best_value = None, None
    for view in views:
        if metric in view.texts and metric not in view.values and view.texts[metric] != names.UNAVAILABLE:
            best = view
        value = finite(view, metric)
        if value is not None and (best_value is None or (value > best_value if most else value < best_value)):
            best, best_value = view, value
    return best


def goal_reached(objective: Mapping[str, Any], views: Iterable[View]) -> bool:
    """Whether some Trial has reached every goal there is."""
    wanted = [(str(one.get("objectiveMetricName")), one.get("type") == names.MAXIMIZE, float(one["goal"]))
              for one in (objective, *(objective.get("additionalObjectives") or ())) if one.get("goal") is not None]
    return bool(wanted) and any(all(_reaches(finite(view, metric), most, goal) for metric, most, goal in wanted)
                                for view in views)


def _reaches(value: float | None, most: bool, goal: float) -> bool:
    return value is not None and (value >= goal if most else value <= goal)


def _shown(view: View) -> dict[str, Any]:
    return {"parameterAssignments": [{"name": name, "value": value} for name, value in view.assignments.items()],
            "observation": {"metrics": [dict(metric) for metric in view.observation]}}
