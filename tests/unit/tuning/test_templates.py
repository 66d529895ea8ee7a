"""Rendering of trial templates, by the cases of upstream's manifest generator; and the runs made of them."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.tuning import templates
from lightship.domains.tuning.errors import BadTemplate
from lightship.domains.tuning.experiment import children
from lightship.domains.tuning.suggestion.book import Assignment
from lightship.domains.tuning.trial import children as trials
from lightship.kube.objects import Key, Object
from tests.unit.tuning import place

KEY = Key("space", "sweep-abc")
PARAMETERS = [{"name": "rate", "reference": "lr"}, {"name": "layers", "reference": "num-layers"}]
VALUES = {"lr": "0.05", "num-layers": "5"}


def template(*command: str, **metadata: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": {
        "containers": [{"name": "main", "command": list(command)}]}}}}


def command_of(run: Object) -> list[str]:
    found: list[str] = run["spec"]["template"]["spec"]["containers"][0]["command"]
    return found


def test_values_take_their_places() -> None:
    run = templates.render(template("--lr=${trialParameters.rate}", "${trialParameters.layers}"), PARAMETERS, KEY,
                           VALUES)
    assert command_of(run) == ["--lr=0.05", "5"]
    assert run["metadata"] == {"name": "sweep-abc", "namespace": "space"}


def test_a_value_cannot_change_the_shape() -> None:
    hostile = '1", "--evil'
    run = templates.render(template("${trialParameters.rate}", "${trialParameters.layers}"), PARAMETERS, KEY,
                           VALUES | {"lr": hostile})
    assert command_of(run) == [hostile, "5"]
    chained = templates.render(template("${trialParameters.rate} ${trialParameters.layers}"), PARAMETERS, KEY,
                               VALUES | {"lr": "${trialParameters.layers}"})
    assert command_of(chained) == ["${trialParameters.layers} 5"]


def test_text_is_replaced_before_it_is_read() -> None:
    text = "apiVersion: v1\nkind: Run\nspec:\n  layers: ${trialParameters.layers}\n  lr: '${trialParameters.rate}'\n"
    run = templates.render(text, PARAMETERS, KEY, VALUES)
    assert run["spec"] == {"layers": 5, "lr": "0.05"}


def test_the_trials_own_metadata() -> None:
    references = {"name": "${trialSpec.Name}", "space": "${trialSpec.Namespace}", "kind": "${trialSpec.Kind}",
                  "version": "${trialSpec.APIVersion}", "note": "${trialSpec.Annotations[a/b]}",
                  "tag": "${trialSpec.Labels[team]}"}
    parameters = [{"name": name, "reference": reference} for name, reference in references.items()]
    run = templates.render(template(*("${trialParameters." + name + "}" for name in references),
                                    annotations={"a/b": "noted"}, labels={"team": "red"}), parameters, KEY, {})
    assert command_of(run) == ["sweep-abc", "space", "Job", "batch/v1", "noted", "red"]
    assert all(templates.is_metadata(reference) for reference in references.values())


@pytest.mark.parametrize(("reference", "says"), [
    ("${trialSpec.Labels[none]}", "failed to fetch Label: none"),
    ("${trialSpec.Annotations[none]}", "failed to fetch Annotation: none"),
    ("${trialSpec.Uid}", "illegal reference of trial metadata"), ("${trialSpec.Labels}", "illegal reference"),
    ("unknown", "no assigned parameter"),
])
def test_a_wrong_reference(reference: str, says: str) -> None:
    with pytest.raises(BadTemplate, match=says):
        templates.render(template("${trialParameters.x}"), [{"name": "x", "reference": reference}], KEY, {})


def test_an_assignment_that_is_not_used() -> None:
    with pytest.raises(BadTemplate, match="no trialParameter refers to the parameter 'num-layers'"):
        templates.render(template("${trialParameters.rate}"), PARAMETERS[:1], KEY, VALUES)


@pytest.mark.parametrize("text", ["[1]", "a: [", "x", ""])
def test_text_that_is_no_object(text: str) -> None:
    with pytest.raises(BadTemplate):
        templates.read(text)


def trial(run: Object, **template: Any) -> Object:
    experiment = place.experiment(template={"trialSpec": run, "trialParameters": [{"name": "rate", "reference": "lr"}]}
                                  | template)
    made = children.make_trial(experiment, Assignment(name="sweep-abc", assignments={"lr": "1"}), run)
    made["metadata"]["uid"] = "trial-uid"
    return made


def test_every_pod_of_a_run_is_labelled() -> None:
    pod = {"metadata": {"labels": {"mine": "x"}}, "spec": {"containers": [
        {"name": "main", "args": ["${trialParameters.rate}"], "env": [{"name": "A", "value": "1"}]}, {"name": "side"}]}}
    run = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": {
        "Master": {"replicas": 1, "template": pod}, "Worker": {"template": {"spec": {"containers": [{"name": "w"}]}}}}}}
    made = trials.make_run(trial(run), {"uid": "o"})
    ours = {"katib.kubeflow.org/trial": "sweep-abc", "katib.kubeflow.org/experiment": "sweep"}
    master, worker = (made["spec"]["pytorchReplicaSpecs"][role]["template"] for role in ("Master", "Worker"))
    assert made["metadata"]["labels"] == ours and made["metadata"]["ownerReferences"] == [{"uid": "o"}]
    assert master["metadata"]["labels"] == {"mine": "x"} | ours and worker["metadata"]["labels"] == ours
    main, side = master["spec"]["containers"]
    assert main["env"] == [{"name": "A", "value": "1"}, {"name": "KATIB_TRIAL_NAME", "value": "sweep-abc"}]
    assert side == {"name": "side"} and worker["spec"]["containers"] == [{"name": "w"}]


def test_a_train_jobs_pods_are_labelled_through_its_runtime() -> None:
    run = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {
        "runtimeRef": {"name": "torch-distributed"}, "trainer": {"args": ["${trialParameters.rate}"]}}}
    made = trials.make_run(trial(run, primaryContainerName="node"), {"uid": "o"}, ("dataset-initializer", "node"))
    patch = made["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert [one["name"] for one in patch] == ["dataset-initializer", "node"]
    assert all(one["template"]["spec"]["template"]["metadata"]["labels"]["katib.kubeflow.org/trial"] == "sweep-abc"
               for one in patch)
    assert made["spec"]["trainer"]["env"] == [{"name": "KATIB_TRIAL_NAME", "value": "sweep-abc"}]


def test_checkpoints_are_handed_on() -> None:
    experiment = place.experiment(algorithm={"algorithmName": "pbt", "algorithmSettings": [
        {"name": "suggestion_trial_dir", "value": "/ckpt"}]})
    child = children.make_trial(experiment, Assignment(
        name="sweep-child", assignments={"lr": "1"}, labels={"pbt.suggestion.katib.kubeflow.org/parent": "sweep-old"}),
        experiment["spec"]["trialTemplate"]["trialSpec"])
    pod = trials.make_run(child, {})["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "suggestion-volume", "persistentVolumeClaim": {"claimName": "sweep-pbt"}}]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "suggestion-volume", "mountPath": "/ckpt", "subPath": "sweep/sweep-child"}]
    assert pod["initContainers"][0]["command"][-2:] == ["sweep-old", "sweep-child"]


@pytest.mark.parametrize("odd", [
    {"metadata": "x"}, {"metadata": {"labels": ["a"]}}, {"metadata": {"annotations": {"a": 1}}}, {"spec": []}])
def test_odd_shapes_are_no_runs(odd: Object) -> None:
    with pytest.raises(BadTemplate, match="makes no object"):
        templates.render({"apiVersion": "v1", "kind": "Run"} | odd, [], KEY, {})


@pytest.mark.parametrize("odd", [
    {"metadata": "x", "spec": {"containers": []}}, {"metadata": {"labels": []}, "spec": {"containers": ["x"]}},
    {"spec": {"containers": [{"name": "main", "env": "x"}]}}, {"spec": {"containers": [None]}}])
def test_odd_pods_are_left_to_whoever_makes_them(odd: Object) -> None:
    run = {"apiVersion": "x/v1", "kind": "Odd", "spec": {"a": "${trialParameters.rate}", "template": odd}}
    trials.make_run(trial(run, successCondition="a", failureCondition="b"), {})
