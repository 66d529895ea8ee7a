"""Tables of the Trial reconciler: objects in; writes, status and events out, and what every reconciler owes."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.algorithms.search import Rule
from lightship.domains.tuning.experiment import children
from lightship.domains.tuning.suggestion.book import Assignment
from lightship.domains.tuning.trial import children as trials
from lightship.domains.tuning.trial import reconciler
from lightship.domains.tuning.trial.runs import Runs
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, JOBS
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock
from lightship.testing.reconciler_table import Build, Outcome, ReconcilerTable
from tests.unit.tuning import place

KEY = Key("default", "sweep-a")
KINDS = (*place.KINDS, EVENTS)
RUNNING = {"conditions": [{"type": "Created", "status": "True", "reason": "TrialCreated"},
                          {"type": "Running", "status": "True", "reason": "TrialRunning"}]}


def build(measurements: place.Measurements) -> Build:
    def made(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
        deps = place.deps(manager, clock, place.Algorithm(), measurements)
        return reconciler.controller(deps, Runs(deps.client, deps.informer, lambda key: None))

    return made


def table(measurements: place.Measurements | None = None) -> ReconcilerTable:
    return ReconcilerTable(build=build(measurements or place.Measurements()), kinds=KINDS)


def trial(*, status: Any = None, **template: Any) -> Object:
    experiment = place.experiment(template=template)
    made = children.make_trial(experiment, Assignment(name="sweep-a", assignments={"lr": "0.25"}),
                               experiment["spec"]["trialTemplate"]["trialSpec"])
    made["metadata"]["uid"] = "trial-uid"
    return made | ({"status": status} if status else {})


def run_of(trial: Object, status: Any = None) -> Object:
    return trials.make_run(trial, trials.owner(trial)) | ({"status": status} if status else {})


def state(outcome: Outcome) -> dict[str, str]:
    return place.state_of(outcome.object(kinds.TRIALS, "sweep-a"))


async def test_a_new_one_makes_its_run() -> None:
    outcome = await table().run(KEY, trial())
    assert outcome.words == ["create jobs default/sweep-a", "patch trials/status default/sweep-a"]
    assert state(outcome) == {"Created": "TrialCreated", "Running": "TrialRunning"}
    run = outcome.object(JOBS, "sweep-a")
    assert place.rate_of(run) == "0.25" and run["metadata"]["ownerReferences"][0]["uid"] == "trial-uid"


async def test_a_success_is_measured_and_its_run_goes() -> None:
    made = trial(status=RUNNING)
    outcome = await table().run(KEY, made, run_of(made, place.ended(reason="Done", message="well")))
    assert outcome.words == ["patch trials/status default/sweep-a", "delete jobs default/sweep-a"]
    assert state(outcome) == {"Created": "TrialCreated", "Succeeded": "TrialSucceeded. Job reason: Done"}
    status = outcome.object(kinds.TRIALS, "sweep-a")["status"]
    assert status["conditions"][-1]["message"] == "Trial has succeeded. Job message: well"
    assert status["observation"] == {"metrics": [{"name": "loss", "latest": "0.25", "min": "0.25", "max": "0.25"}]}
    assert status["completionTime"] and outcome.events == (
        "Normal JobSucceeded Trial has succeeded. Job message: well",)


async def test_a_run_may_be_retained() -> None:
    made = trial(status=RUNNING, retain=True)
    outcome = await table().run(KEY, made, run_of(made, place.ended()))
    assert outcome.words == ["patch trials/status default/sweep-a"]


async def test_a_failure() -> None:
    made = trial(status=RUNNING)
    outcome = await table().run(KEY, made, run_of(made, place.ended("Failed", reason="BackoffLimitExceeded")))
    assert state(outcome)["Failed"] == "TrialFailed. Job reason: BackoffLimitExceeded"
    assert "delete jobs default/sweep-a" in outcome.words


@pytest.mark.parametrize("value", [None, "unavailable"])
async def test_a_metric_that_never_came(value: str | None) -> None:
    made = trial(status=RUNNING)
    outcome = await table(place.Measurements(told={"sweep-a": value})).run(KEY, made, run_of(made, place.ended()))
    assert state(outcome) == {"Created": "TrialCreated", "MetricsUnavailable": "MetricsUnavailable"}


async def test_a_met_rule_stops_it() -> None:
    made = trial(status=RUNNING)
    made["spec"]["earlyStoppingRules"] = [{"name": "loss", "value": "0.1", "comparison": "greater", "startStep": 1}]
    rule = Rule(name="loss", value="0.1", comparison="greater", start_step=1)
    outcome = await table(place.Measurements(stops={"sweep-a": rule})).run(KEY, made, run_of(made))
    assert state(outcome) == {"Created": "TrialCreated", "EarlyStopped": "TrialEarlyStopped"}
    assert outcome.object(kinds.TRIALS, "sweep-a")["status"]["observation"]
    assert outcome.words == ["patch trials/status default/sweep-a", "delete jobs default/sweep-a"]


async def test_a_run_that_another_has_is_left_alone() -> None:
    made = trial()
    other = run_of(made) | {"metadata": {"name": "sweep-a", "namespace": "default"}}
    outcome = await table().run(KEY, made, other)
    assert outcome.words == ["patch trials/status default/sweep-a"]
    said = outcome.object(kinds.TRIALS, "sweep-a")["status"]["conditions"][-1]
    assert said["type"] == "Failed" and 'Job "default/sweep-a" is there and belongs to nobody' in said["message"]


async def test_a_run_that_its_experiment_made_is_taken_over() -> None:
    made = trial()
    early = trials.make_run(made, made["metadata"]["ownerReferences"][0])
    outcome = await table().run(KEY, made, early)
    assert outcome.words == ["patch jobs default/sweep-a", "patch trials/status default/sweep-a"]
    assert outcome.object(JOBS, "sweep-a")["metadata"]["ownerReferences"][0]["kind"] == "Trial"


async def test_a_deleted_one_takes_its_observations_along() -> None:
    measurements = place.Measurements()
    made = trial(status=RUNNING)
    made["metadata"]["deletionTimestamp"] = place.CREATED
    outcome = await table(measurements).run(KEY, made)
    assert outcome.words == ["patch trials default/sweep-a"] and "sweep-a" in measurements.forgotten
    assert not outcome.all(kinds.TRIALS)


async def test_an_end_that_was_cut_short_is_finished() -> None:
    done = {"conditions": [{"type": names.SUCCEEDED, "status": "True", "reason": "TrialSucceeded"}]}
    made = trial(status=done)
    outcome = await table().run(KEY, made, run_of(made, place.ended()))
    assert outcome.words == ["delete jobs default/sweep-a"]


async def test_what_ended_is_not_run_again() -> None:
    done = {"conditions": [{"type": names.SUCCEEDED, "status": "True", "reason": "TrialSucceeded"}]}
    outcome = await table().run(KEY, trial(status=done))
    assert not outcome.words
