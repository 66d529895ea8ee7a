"""Experiments on a real platform: they end, resume after a kill, restart by a raised budget; and bad ones say why."""

from __future__ import annotations

import random
import sys
import time
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.tuning.sweeps import Sweeps, states, sweep

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)

New = Callable[[], Platform]


def test_it_finds_the_best_and_keeps_nothing_that_ran(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    sweeps.create(sweep("plain"))
    status = sweeps.wait("plain")["status"]
    assert status["trialsSucceeded"] == 6 and states({"status": status})["Succeeded"] == "ExperimentMaxTrialsReached"
    trials = sweeps.trials("plain")
    losses = {one["metadata"]["name"]: float(one["status"]["observation"]["metrics"][0]["min"]) for one in trials}
    assert status["currentOptimalTrial"]["bestTrialName"] == min(losses, key=lambda name: losses[name])
    assert sweeps.get("plain", "suggestions")["status"]["suggestionCount"] == 6
    platform.kube("DELETE", f"{sweeps.path}/experiments/plain")
    limit = time.monotonic() + 30
    while sweeps.trials("plain"):
        assert time.monotonic() < limit, "its Trials did not go with it"
        time.sleep(0.1)


def test_a_goal_ends_it_early(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    goal = {"type": "maximize", "objectiveMetricName": "loss", "goal": 0.0}
    sweeps.create(sweep("goal", objective=goal, maxTrialCount=50))
    found = sweeps.wait("goal")
    assert states(found)["Succeeded"] == "ExperimentGoalReached" and found["status"]["trials"] < 50


def test_a_raised_budget_goes_on_where_it_ended(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    sweeps.create(sweep("longer", resumePolicy="LongRunning"))
    before = {one["metadata"]["name"]: one["status"]["completionTime"] for one in
              (sweeps.wait("longer"), *sweeps.trials("longer"))}
    sweeps.patch("longer", {"maxTrialCount": 10})
    limit = time.monotonic() + 60
    while sweeps.get("longer")["status"].get("trialsSucceeded") != 10:
        assert time.monotonic() < limit, sweeps.get("longer")
        time.sleep(0.1)
    found = sweeps.wait("longer")
    assert {"Restarting", "Succeeded"} <= states(found).keys()
    after = {one["metadata"]["name"]: one["status"]["completionTime"] for one in sweeps.trials("longer")}
    assert before.items() - {("longer", before["longer"])} <= after.items()


@pytest.mark.parametrize(("name", "experiment", "reason", "says"), [
    ("no-metric", sweep("no-metric", "echo nothing to see of ${trialParameters.rate}", maxFailedTrialCount=1),
     "Failed", "max failed count"),
    ("never-right", sweep("never-right", "echo loss=nan ${trialParameters.rate}", maxTrialCount=3), "Succeeded", ""),
    ("fails", sweep("fails", "echo ${trialParameters.rate}; exit 3", maxFailedTrialCount=2), "Failed",
     "max failed count"),
    ("hides", sweep("hides", "(setsid sh -c 'while :; do sleep 1; done' &) ; echo loss=${trialParameters.rate}",
                    maxTrialCount=3), "Succeeded", ""),
])
def test_what_goes_wrong_ends_in_a_condition(platform: Platform, name: str, experiment: dict[str, Any], reason: str,
                                             says: str) -> None:
    sweeps = Sweeps(platform)
    sweeps.create(experiment)
    found = sweeps.wait(name)
    assert reason in states(found), found["status"]
    assert says in found["status"]["conditions"][-1]["message"]


def test_a_run_that_cannot_be_made_says_why(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    odd = {"apiVersion": "odd.example/v1", "kind": "Odd", "spec": {"rate": "${trialParameters.rate}"}}
    made = sweep("odd", maxFailedTrialCount=1)
    made["spec"]["trialTemplate"] |= {"trialSpec": odd, "successCondition": "status.ok",
                                      "failureCondition": "status.no"}
    sweeps.create(made)
    assert "Failed" in states(sweeps.wait("odd"))
    said = [one["message"] for trial in sweeps.trials("odd") for one in trial["status"]["conditions"]]
    assert any("Odd of odd.example/v1 is not served here" in one for one in said), said


def test_a_role_binding_is_no_trial(platform: Platform) -> None:
    """Whoever may create Experiments gets by it no more than Katib's controller may create."""
    sweeps = Sweeps(platform)
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {
        "annotations": {"rate": "${trialParameters.rate}"}}, "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": []}
    made = sweep("escalate", maxFailedTrialCount=1)
    made["spec"]["trialTemplate"] |= {"trialSpec": binding, "successCondition": "status.ok",
                                      "failureCondition": "status.no"}
    sweeps.create(made)
    assert "Failed" in states(sweeps.wait("escalate"))
    said = [one["message"] for trial in sweeps.trials("escalate") for one in trial["status"]["conditions"]]
    assert any("Bind a ClusterRole that allows it" in one for one in said), said


def test_a_bad_one_is_refused_with_its_field(platform: Platform) -> None:
    bad = sweep("bad", parameters=[{"name": "lr", "parameterType": "double",
                                    "feasibleSpace": {"min": "2", "max": "1"}}])
    with pytest.raises(urllib.error.HTTPError) as caught:
        Sweeps(platform).create(bad)
    body = caught.value.read().decode()
    assert caught.value.code == 422 and "spec.parameters[0].feasibleSpace.max" in body, body


def test_a_population_hands_its_checkpoints_on(platform: Platform) -> None:
    """Each member counts the generations before it in a file that it finds where its parent left it."""
    sweeps = Sweeps(platform)
    script = ('cd /ckpt; n=$(cat steps 2>/dev/null || echo 0); n=$((n + 1)); echo $n > steps; '
              'echo "steps=$n loss=0.${trialParameters.rate}"')
    made = sweep("population", script, parallelTrialCount=5, maxTrialCount=15, resumePolicy="FromVolume",
                 parameters=[{"name": "lr", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}}],
                 algorithm={"algorithmName": "pbt", "algorithmSettings": [
                     {"name": "suggestion_trial_dir", "value": "/ckpt"}, {"name": "n_population", "value": "5"},
                     {"name": "truncation_threshold", "value": "0.4"}]})
    made["spec"]["objective"]["additionalMetricNames"] = ["steps"]
    sweeps.create(made)
    assert "Succeeded" in states(sweeps.wait("population"))
    steps = {one["metadata"]["name"]: int({metric["name"]: metric["latest"] for metric in one["status"]["observation"][
        "metrics"]}["steps"]) for one in sweeps.trials("population")}
    parents = {one["metadata"]["name"]: one["metadata"]["labels"].get("pbt.suggestion.katib.kubeflow.org/parent")
               for one in sweeps.trials("population")}
    assert max(steps.values()) == 3 and sorted(steps.values()).count(1) == 5, (steps, parents)
    assert all(steps[name] == steps[parent] + 1 for name, parent in parents.items() if parent)


TRAIN_JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainjobs"
FINE_TUNES = "/apis/example.com/v1/namespaces/default/finetunes"


def test_no_reader_sees_a_trial_without_its_train_job(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    made = sweep("never-alone", maxTrialCount=4, parallelTrialCount=2)
    made["spec"]["trialTemplate"] |= {"retain": True, "primaryContainerName": "node", "trialSpec": {
        "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {
            "runtimeRef": {"name": "plain-distributed"}, "trainer": {
                "numNodes": 2, "image": "busybox:1.37", "command": ["sh", "-c", "echo loss=${trialParameters.rate}"]}}}}
    sweeps.create(made)
    ended, reads = False, 0
    while not ended:
        ended = bool(states(sweeps.get("never-alone")).keys() & {"Succeeded", "Failed"})
        for trial in sweeps.trials("never-alone"):
            platform.kube("GET", f"{TRAIN_JOBS}/{trial['metadata']['name']}")  # raises where it is not there
            reads += 1
    status = sweeps.get("never-alone")["status"]
    assert status["trialsSucceeded"] == 4 and reads, status
    owners = [one["metadata"]["ownerReferences"][0]["kind"] for one in platform.kube("GET", TRAIN_JOBS)["items"]
              if one["metadata"].get("labels", {}).get("katib.kubeflow.org/experiment") == "never-alone"]
    assert owners == ["Trial"] * 4


def test_trials_of_a_kind_that_a_user_defined(platform: Platform) -> None:
    """Its own controller is the test; its state is a phase; the rights to make it are the user's to give."""
    sweeps = Sweeps(platform)
    open_schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    platform.kube("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
        "metadata": {"name": "finetunes.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "finetunes", "kind": "FineTune"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": open_schema}]}})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    platform.kube("POST", f"{rbac}/clusterroles", {"metadata": {"name": "fine-tunes"}, "rules": [
        {"apiGroups": ["example.com"], "resources": ["finetunes"], "verbs": ["*"]}]})
    platform.kube("POST", f"{rbac}/clusterrolebindings", {
        "metadata": {"name": "fine-tunes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fine-tunes"},
        "subjects": [{"kind": "ServiceAccount", "name": "tuning", "namespace": "kubeflow"}]})
    made = sweep("tuned", maxTrialCount=2, parallelTrialCount=1, metricsCollectorSpec={"collector": {"kind": "Push"}})
    made["spec"]["trialTemplate"] |= {
        "successCondition": 'status.[@this].#(phase=="Succeeded")#',
        "failureCondition": 'status.[@this].#(phase=="Failed")#',
        "trialSpec": {"apiVersion": "example.com/v1", "kind": "FineTune", "rate": "${trialParameters.rate}"}}
    sweeps.create(made)
    limit = time.monotonic() + 60
    while not states(sweeps.get("tuned")).keys() & {"Succeeded", "Failed"}:
        assert time.monotonic() < limit, sweeps.get("tuned")
        for run in platform.kube("GET", FINE_TUNES)["items"]:
            if "status" not in run:
                platform.kube("PATCH", f"{FINE_TUNES}/{run['metadata']['name']}", {"status": {"phase": "Succeeded"}},
                              "application/merge-patch+json")
        time.sleep(0.05)
    status = sweeps.get("tuned")["status"]
    assert status["trialMetricsUnavailable"] == 2, status  # nobody reported any


@pytest.mark.parametrize(("kills", "algorithm", "parallel"), [
    (1, "random", 3), pytest.param(8, "random", 3, marks=pytest.mark.proof),
    pytest.param(4, "tpe", 1, marks=pytest.mark.slow)])  # the next of TPE depend on the order of ends, which one fixes
def test_a_killed_platform_goes_on_and_repeats_nothing(new_platform: New, kills: int, algorithm: str,
                                                       parallel: int) -> None:
    """The same seed and the same order of ends give the same Trials: an Experiment without kills has them, too."""
    platform, chance = new_platform().start(), random.Random(20_261)
    sweeps = Sweeps(platform)
    experiment = sweep("killed", "sleep 0.2; echo loss=${trialParameters.rate}", maxTrialCount=kills * 4,
                       parallelTrialCount=parallel, algorithm={"algorithmName": algorithm, "algorithmSettings": [
                           {"name": "random_state", "value": "7"}]})
    sweeps.create(experiment)
    seen: dict[str, Any] = {}
    for _ in range(kills):
        time.sleep(chance.uniform(0.3, 0.9))
        seen |= {one["metadata"]["name"]: one["status"] for one in sweeps.trials("killed")
                 if states(one).keys() & {"Succeeded", "Failed"}}
        platform.kill()
        platform.start()
    status = sweeps.wait("killed")["status"]
    final = {one["metadata"]["name"]: one["status"] for one in sweeps.trials("killed")}
    assert status["trialsSucceeded"] == kills * 4 == len(final), status
    assert {name: final[name] for name in seen} == seen, "what had ended was changed"
    sweeps.create(experiment | {"metadata": {"name": "unharmed"}})
    sweeps.wait("unharmed")
    given = [[one["parameterAssignments"] for one in sweeps.get(name, "suggestions")["status"]["suggestions"]]
             for name in ("killed", "unharmed")]
    assert given[0] == given[1]
