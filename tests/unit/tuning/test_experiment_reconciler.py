"""Tables of the Experiment reconciler: objects in; writes, status and events out, and what every reconciler owes."""

from __future__ import annotations

from typing import Any

import pytest

from lightship import errors
from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.experiment import children, reconciler
from lightship.domains.tuning.suggestion import book as books
from lightship.domains.tuning.suggestion.book import Assignment, Book
from lightship.domains.tuning.trial import runs
from lightship.domains.tuning.trial.runs import Runs
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, EVENTS, JOBS, PERSISTENT_VOLUME_CLAIMS
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock
from lightship.testing.reconciler_table import Build, Outcome, ReconcilerTable
from tests.unit.tuning import place

SWEEP = Key("default", "sweep")
KINDS = (*place.KINDS, CONFIGMAPS, EVENTS, PERSISTENT_VOLUME_CLAIMS)


def build(algorithm: place.Algorithm) -> Build:
    def made(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
        deps = place.deps(manager, clock, algorithm, place.Measurements())
        return reconciler.controller(deps, Runs(deps.client, deps.informer, lambda key: None))

    return made


def table(algorithm: place.Algorithm | None = None) -> ReconcilerTable:
    return ReconcilerTable(build=build(algorithm or place.Algorithm()), kinds=KINDS)


def name_of(number: int) -> str:
    return names.trial("sweep", "sweep-uid", number)


def trial(number: int, type: str = "", value: str = "0.5", second: int = 0) -> Object:
    """A Trial as it is at some point of its life; ``type`` is the condition that is true."""
    experiment = place.experiment()
    made = children.make_trial(experiment, Assignment(name=name_of(number), assignments={"lr": value}),
                               experiment["spec"]["trialTemplate"]["trialSpec"])
    status: dict[str, Any] = {"conditions": [{"type": type, "status": "True", "reason": type}]} if type else {}
    if type in names.TRIAL_ENDS:
        status["completionTime"] = f"2026-01-01T00:00:{second:02}.000000Z"
    if type in (names.SUCCEEDED, names.EARLY_STOPPED):
        status["observation"] = {"metrics": [{"name": "loss", "min": value, "max": value, "latest": value}]}
    return made | {"status": status}


def suggestion(*trials: Object, told: int = 0, **more: Any) -> Object:
    """The Suggestion that has given out these Trials."""
    given = tuple(Assignment(name=one["metadata"]["name"], assignments={"lr": "0.5"}) for one in trials)
    made = children.make_suggestion(place.experiment(), len(given))
    status = books.written(Book(assignments=given, told=told, issued=len(given), count=len(given), **more))
    return made | {"status": status | {"conditions": [
        {"type": type, "status": "True", "reason": f"Suggestion{type}"} for type in ("Created", "Running")]}}


def status_of(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = outcome.object(kinds.EXPERIMENTS, "sweep")["status"]
    return found


def reasons(outcome: Outcome) -> dict[str, str]:
    return place.state_of(outcome.object(kinds.EXPERIMENTS, "sweep"))


async def test_a_new_one_asks_and_makes_its_first_trials() -> None:
    outcome = await table().run(SWEEP, place.experiment())
    made = [f"create trials default/{name_of(number)}" for number in range(3)]
    assert outcome.words == ["create suggestions default/sweep", "patch suggestions/status default/sweep", *made,
                             "patch experiments/status default/sweep"]
    status = status_of(outcome)
    assert reasons(outcome) == {"Created": "ExperimentCreated", "Running": "ExperimentRunning"}
    assert (status["trials"], status["trialsPending"], status["startTime"]) == (3, 3, "2026-01-01T00:00:00Z")
    assert outcome.object(kinds.SUGGESTIONS, "sweep")["spec"]["requests"] == 3


async def test_the_next_trial_costs_four_writes() -> None:
    """Counts of work: what was asked for, what came, the Trial, and how far it is. Its run is the Trial's matter."""
    trials = [trial(0, names.SUCCEEDED), trial(1, names.RUNNING), trial(2, names.RUNNING)]
    outcome = await table().run(SWEEP, place.experiment(), suggestion(*trials), *trials)
    assert outcome.words == [
        "patch suggestions default/sweep", "patch suggestions/status default/sweep",
        f"create trials default/{name_of(3)}", "patch experiments/status default/sweep"]


async def test_two_ends_are_told_one_after_another() -> None:
    algorithm = place.Algorithm()
    trials = [trial(0, names.SUCCEEDED, "0.1", 2), trial(1, names.FAILED, "", 1), trial(2, names.RUNNING)]
    outcome = await table(algorithm).rest(SWEEP, place.experiment(), suggestion(*trials), *trials)
    assert algorithm.asked == [1, 1]
    status = status_of(outcome)
    assert status["succeededTrialList"] == [name_of(0)] and status["failedTrialList"] == [name_of(1)]
    assert status["currentOptimalTrial"]["bestTrialName"] == name_of(0)
    assert outcome.object(kinds.SUGGESTIONS, "sweep")["status"]["progress"]["told"] == 2


async def test_no_more_than_the_budget() -> None:
    trials = [trial(0, names.SUCCEEDED), trial(1, names.SUCCEEDED, second=1), trial(2, names.RUNNING)]
    outcome = await table().rest(SWEEP, place.experiment(maxTrialCount=3), suggestion(*trials), *trials)
    assert status_of(outcome)["trials"] == 3 and not any("create trials" in one for one in outcome.words)


@pytest.mark.parametrize(("spec", "ends", "reason"), [
    ({"objective": {"type": "minimize", "objectiveMetricName": "loss", "goal": 0.5}, "maxFailedTrialCount": 1},
     (names.SUCCEEDED, names.FAILED), {"Succeeded": names.GOAL_REACHED}),
    ({"maxFailedTrialCount": 2, "maxTrialCount": 2}, (names.FAILED, names.METRICS_UNAVAILABLE),
     {"Failed": names.EXPERIMENT_FAILED}),
    ({"maxFailedTrialCount": 0, "maxTrialCount": 2}, (names.SUCCEEDED, names.SUCCEEDED),
     {"Succeeded": names.MAX_TRIALS_REACHED}),
    ({"maxTrialCount": 2}, (names.EARLY_STOPPED, names.KILLED), {"Succeeded": names.MAX_TRIALS_REACHED}),
])
async def test_the_order_of_ends(spec: dict[str, Any], ends: tuple[str, str], reason: dict[str, str]) -> None:
    trials = [trial(number, type, second=number) for number, type in enumerate(ends)]
    outcome = await table().run(SWEEP, place.experiment(parallelTrialCount=2, **spec), suggestion(*trials), *trials)
    assert {type: why for type, why in reasons(outcome).items() if type in ("Succeeded", "Failed")} == reason
    assert status_of(outcome)["completionTime"]
    assert "Succeeded" in place.state_of(outcome.object(kinds.SUGGESTIONS, "sweep"))


async def test_what_the_algorithm_has_no_more_of_ends_it() -> None:
    trials = [trial(0, names.SUCCEEDED), trial(1, names.SUCCEEDED, second=1)]
    outcome = await table(place.Algorithm(most=2)).rest(
        SWEEP, place.experiment(parallelTrialCount=2), suggestion(*trials), *trials)
    assert reasons(outcome)["Succeeded"] == names.SUGGESTION_END_REACHED


async def test_an_algorithm_that_gives_nothing_is_no_standstill() -> None:
    outcome = await table(place.Algorithm(short=3)).rest(SWEEP, place.experiment())
    assert reasons(outcome)["Failed"] == names.EXPERIMENT_FAILED


async def test_an_algorithm_that_waits_is_asked_again_when_a_trial_ends() -> None:
    algorithm = place.Algorithm(short=1)
    trials = [trial(0, names.RUNNING), trial(1, names.RUNNING)]
    await table(algorithm).rest(SWEEP, place.experiment(), suggestion(*trials), *trials)
    assert algorithm.asked == [1]


async def test_an_algorithm_that_fails_says_why() -> None:
    problem = errors.Unsupported("tpe needs optuna", remedy="Install lightship[tuning]")
    outcome = await table(place.Algorithm(problem=problem)).rest(SWEEP, place.experiment())
    failed = outcome.object(kinds.SUGGESTIONS, "sweep")["status"]["conditions"][-1]
    assert failed["type"] == "Failed" and "Install lightship[tuning]" in failed["message"]
    assert "tpe needs optuna" in status_of(outcome)["conditions"][-1]["message"]


async def test_fewer_at_once_takes_the_youngest_back() -> None:
    trials = [trial(number, names.RUNNING) for number in range(3)]
    outcome = await table().rest(SWEEP, place.experiment(parallelTrialCount=1), suggestion(*trials), *trials)
    listed = outcome.object(kinds.SUGGESTIONS, "sweep")["status"]
    assert [one["name"] for one in listed["suggestions"]] == [name_of(0)] and listed["suggestionCount"] == 1
    deleted = {f"delete trials default/{name_of(number)}" for number in (1, 2)}
    assert deleted < set(outcome.words)


async def test_names_are_never_given_twice() -> None:
    trials = [trial(0, names.RUNNING)]
    taken_back = suggestion(*trials)
    taken_back["status"]["progress"]["issued"] = 3
    outcome = await table().rest(SWEEP, place.experiment(), taken_back, *trials)
    assert {one["metadata"]["name"] for one in outcome.all(kinds.TRIALS)} == {name_of(0), name_of(3), name_of(4)}


async def test_a_deleted_trial_is_made_again() -> None:
    trials = [trial(number, names.RUNNING) for number in range(3)]
    outcome = await table().run(SWEEP, place.experiment(), suggestion(*trials), *trials[1:])
    assert f"create trials default/{name_of(0)}" in outcome.words


async def test_a_deleted_suggestion_is_made_again_of_the_trials() -> None:
    trials = [trial(0, names.SUCCEEDED), trial(1, names.RUNNING), trial(2, names.RUNNING)]
    outcome = await table().rest(SWEEP, place.experiment(), *trials)
    assert {one["metadata"]["name"] for one in outcome.all(kinds.TRIALS)} == {name_of(number) for number in range(4)}
    assert not any(one.startswith("delete trials") for one in outcome.words)
    assert outcome.object(kinds.SUGGESTIONS, "sweep")["status"]["suggestionCount"] == 4


async def test_what_left_the_list_and_was_deleted_takes_no_place() -> None:
    trials = [trial(number, names.RUNNING) for number in range(2)]
    long = suggestion(*trials)
    long["status"] |= {"suggestionCount": 30}
    long["status"]["progress"]["issued"] = 30
    outcome = await table().rest(SWEEP, place.experiment(), long, *trials)
    assert {one["metadata"]["name"] for one in outcome.all(kinds.TRIALS)} == {name_of(0), name_of(1), name_of(30)}


async def test_one_without_a_budget_that_only_fails_slows_down() -> None:
    endless = place.experiment()
    del endless["spec"]["maxTrialCount"]
    trials = [trial(number, names.FAILED) for number in range(12)]
    outcome = await table().rest(SWEEP, endless, suggestion(*trials), *trials)
    assert not any("create trials" in one for one in outcome.words) and outcome.result.requeue_after_seconds == 2
    assert "Running" in reasons(outcome)


async def test_a_raised_budget_restarts_one_that_used_it_up() -> None:
    trials = [trial(0, names.SUCCEEDED), trial(1, names.SUCCEEDED, second=1)]
    done = {"conditions": [{"type": "Created", "status": "True", "reason": "ExperimentCreated"},
                           {"type": "Succeeded", "status": "True", "reason": names.MAX_TRIALS_REACHED}],
            "trials": 2, "completionTime": "2026-01-01T00:00:02Z"}
    outcome = await table().rest(SWEEP, place.experiment(
        maxTrialCount=4, parallelTrialCount=2, resumePolicy="FromVolume", status=done), suggestion(*trials, told=2),
        *trials)
    assert reasons(outcome) == {"Created": "ExperimentCreated", "Restarting": "ExperimentRestarting",
                                "Running": "ExperimentRunning"}
    assert status_of(outcome)["trials"] == 4 and not status_of(outcome).get("completionTime")


async def test_one_that_may_not_resume_stays_ended() -> None:
    done = {"conditions": [{"type": "Succeeded", "status": "True", "reason": names.MAX_TRIALS_REACHED}], "trials": 0}
    outcome = await table().rest(SWEEP, place.experiment(maxTrialCount=4, parallelTrialCount=2, status=done))
    assert not outcome.all(kinds.TRIALS)


async def test_a_config_map_that_is_gone_fails_it() -> None:
    source = {"configMapName": "none", "configMapNamespace": "default", "templatePath": "job.yaml"}
    made = place.experiment(template={"configMap": source, "successCondition": "a", "failureCondition": "b"})
    del made["spec"]["trialTemplate"]["trialSpec"]
    outcome = await table().rest(SWEEP, made)
    assert 'ConfigMap "default/none" is not there' in status_of(outcome)["conditions"][-1]["message"]


async def test_another_experiments_suggestion_is_waited_for() -> None:
    old = suggestion()
    old["metadata"]["ownerReferences"][0]["uid"] = "older"
    with pytest.raises(errors.Conflict, match="belongs to another"):
        await table().run(SWEEP, place.experiment(), old)


async def test_ten_thousand_at_once_run_some_at_a_time() -> None:
    outcome = await table().rest(SWEEP, place.experiment(parallelTrialCount=10_000, maxTrialCount=10_000))
    trials = len(outcome.all(kinds.TRIALS))
    assert trials == books.LIMIT_PARALLEL_TRIALS
    assert f"{trials} of 10000 Trials run at a time" in status_of(outcome)["conditions"][-1]["message"]


async def test_the_run_of_a_kind_that_is_read_with_its_trial_is_made_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_FIRST", frozenset({("batch", "Job")}))
    outcome = await table().rest(SWEEP, place.experiment(maxTrialCount=1, parallelTrialCount=1))
    made = [one for one in outcome.words if one.startswith("create")]
    assert made[1:] == [f"create jobs default/{name_of(0)}", f"create trials default/{name_of(0)}"]
    assert outcome.object(JOBS, name_of(0))["metadata"]["ownerReferences"][0]["kind"] == "Experiment"


async def test_several_objectives_have_a_front() -> None:
    def measured(number: int, loss: str, accuracy: str) -> Object:
        made = trial(number, names.SUCCEEDED, loss, number)
        made["spec"]["objective"] = several["spec"]["objective"]
        made["status"]["observation"]["metrics"].append(
            {"name": "accuracy", "min": accuracy, "max": accuracy, "latest": accuracy})
        return made

    several = place.experiment(maxTrialCount=3, objective={
        "type": "minimize", "objectiveMetricName": "loss", "additionalObjectives": [
            {"type": "maximize", "objectiveMetricName": "accuracy"}]})
    trials = [measured(0, "0.1", "0.5"), measured(1, "0.2", "0.9"), measured(2, "0.3", "0.8")]
    outcome = await table().rest(SWEEP, several, suggestion(*trials), *trials)
    assert [one["trialName"] for one in status_of(outcome)["paretoFront"]] == [name_of(0), name_of(1)]
    assert status_of(outcome)["currentOptimalTrial"]["bestTrialName"] == name_of(0)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "unavailable", "high"])
async def test_a_value_that_cannot_be_compared_reaches_no_goal(value: str) -> None:
    trials = [trial(0, names.SUCCEEDED, value), trial(1, names.SUCCEEDED, "0.4", 1)]
    goal = {"type": "minimize", "objectiveMetricName": "loss", "goal": 0.1}
    outcome = await table().rest(SWEEP, place.experiment(objective=goal, maxTrialCount=2, parallelTrialCount=2),
                                 suggestion(*trials), *trials)
    assert reasons(outcome)["Succeeded"] == names.MAX_TRIALS_REACHED
    assert status_of(outcome)["currentOptimalTrial"]["bestTrialName"] == name_of(1)
