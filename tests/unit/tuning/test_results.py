"""Results: who is best, the plots' numbers, and that a page shows everything and trusts nothing."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from typing import Any

import pytest

from lightship.domains.tuning.commands import progress
from lightship.domains.tuning.results import page, table
from lightship.kube.objects import Object

NASTY = "<script>alert(1)</script>"


def experiment(goal: str = "minimize", **objective: Any) -> Object:
    return {"metadata": {"name": "bowl", "namespace": "team", "uid": "u"}, "spec": {
        "objective": {"type": goal, "objectiveMetricName": "loss"} | objective,
        "algorithm": {"algorithmName": "tpe"}, "maxTrialCount": 9,
        "parameters": [
            {"name": "lr", "parameterType": "double",
             "feasibleSpace": {"min": "0.001", "max": "1", "distribution": "logUniform"}},
            {"name": "kind", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", NASTY]}}]},
        "status": {"conditions": [{"type": "Created", "status": "True"},
                                  {"type": "Running", "status": "True", "reason": "ExperimentRunning"}]}}


def trial(number: int, loss: str | None, *, state: str = "Succeeded", lr: str = "0.1", kind: str = "sgd",
          **metrics: str) -> Object:
    values = ({} if loss is None else {"loss": loss}) | metrics
    observed = [{"name": name, "latest": value, "min": value, "max": value} for name, value in values.items()]
    return {"metadata": {"name": f"bowl-{number}", "creationTimestamp": "2026-01-01T00:00:00Z",
                         "resourceVersion": str(100 + number)},
            "spec": {"parameterAssignments": [{"name": "lr", "value": lr}, {"name": "kind", "value": kind}]},
            "status": {"startTime": "2026-01-01T00:00:01Z", "completionTime": f"2026-01-01T00:00:0{number + 1}Z",
                       "observation": {"metrics": observed},
                       "conditions": [{"type": state, "status": "True", "message": f"Trial {state}"}]}}


TRIALS = [trial(1, "3"), trial(2, "1", lr="0.01", size="7"), trial(3, None, state="Failed"), trial(4, "nan"),
          trial(5, "2", state="EarlyStopped", kind=NASTY), trial(6, None, state="Running")]


def test_the_best_is_first_and_what_has_no_value_last() -> None:
    results = table.of(experiment(), TRIALS)
    assert [(row.rank, row.view.name) for row in results.rows] == [
        (1, "bowl-2"), (2, "bowl-5"), (3, "bowl-1"), (None, "bowl-3"), (None, "bowl-4"), (None, "bowl-6")]
    assert results.best is not None and results.best.seconds == 2
    assert table.of(experiment("maximize"), TRIALS).rows[0].view.name == "bowl-1"
    assert table.of(experiment(), []).best is None


def test_json_holds_the_best_every_trial_and_the_plots() -> None:
    found = json.loads(json.dumps(table.as_json(table.of(experiment(), TRIALS)), allow_nan=False))
    assert found["best"]["trial"] == "bowl-2" and found["best"]["parameters"] == {"lr": "0.01", "kind": "sgd"}
    assert found["state"] == "Running" and len(found["trials"]) == 6
    assert [(one["number"], one["value"], one["best"]) for one in found["plots"]["history"]] == [
        (1, 3, 3), (2, 1, 1), (5, 2, 1)]
    axes = found["plots"]["parallelCoordinates"]["axes"]
    assert [tick["text"] for tick in axes[0]["ticks"]] == ["0.001", "0.00562", "0.0316", "0.178", "1"]
    assert [tick["at"] for tick in axes[0]["ticks"]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    first, *_ = found["plots"]["parallelCoordinates"]["lines"]
    assert first["trial"] == "bowl-2" and first["at"] == pytest.approx([1 / 3, 0.25])


def test_csv_has_a_line_a_trial() -> None:
    lines = list(csv.reader(io.StringIO(table.as_csv(table.of(experiment(), TRIALS)))))
    assert lines[0] == ["rank", "trial", "state", "parameter:lr", "parameter:kind", "metric:loss", "metric:size",
                        "started", "completed", "seconds"]
    assert lines[1][:7] == ["1", "bowl-2", "Succeeded", "0.01", "sgd", "1", "7"]
    assert len(lines) == 7


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_page_shows_everything_and_needs_and_trusts_nothing() -> None:
    reader = _Read()
    reader.feed(page.html(table.of(experiment(), TRIALS)))
    assert "script" not in reader.tags and reader.links == []
    assert NASTY in reader.text  # as text
    assert {f"bowl-{number}" for number in range(1, 7)} <= set(reader.text.split("\n"))
    assert reader.tags.count("circle") == 3 and reader.tags.count("path") == 1 + 3
    empty = _Read()
    empty.feed(page.html(table.of(experiment(), [])))
    assert "No trial has a value of the objective yet." in empty.text


def test_several_objectives_have_a_front() -> None:
    both = experiment(additionalObjectives=[{"type": "maximize", "objectiveMetricName": "speed"}])
    trials = [trial(1, "3", speed="9"), trial(2, "1", speed="1"), trial(3, "2", speed="0.5")]
    results = table.of(both, trials)
    assert list(results.front) == ["bowl-2", "bowl-1"]
    assert "On the Pareto front of loss, speed: bowl-2, bowl-1" in page.html(results)


def test_progress_says_counts_pace_and_the_best_so_far() -> None:
    running = experiment()
    best = {"bestTrialName": "bowl-2", "parameterAssignments": [{"name": "lr", "value": "0.01"}],
            "observation": {"metrics": [{"name": "loss", "latest": "1", "min": "0.5", "max": "3"}]}}
    running["status"] |= {"trialsSucceeded": 4, "trialsRunning": 2, "trialMetricsUnavailable": 1,
                          "currentOptimalTrial": best}
    running["spec"]["objective"]["metricStrategies"] = [{"name": "loss", "value": "min"}]
    pace = progress.Pace()
    assert pace.of(running, 10.0) is None
    running["status"]["trialsSucceeded"] = 8
    assert progress.line(running, pace.of(running, 12.0)) == (
        "9/9 trials: 8 succeeded, 2 running, 1 without metrics; 2.0 trials/s; best loss=0.5 (lr=0.01)")
    assert not progress.ended(running)
    running["status"]["conditions"].append(
        {"type": "Succeeded", "status": "True", "reason": "ExperimentGoalReached", "message": "the goal"})
    assert progress.ended(running)
    assert list(progress.summary(running))[:3] == ["succeeded: the goal", "best trial bowl-2: loss=0.5", "  lr = 0.01"]
