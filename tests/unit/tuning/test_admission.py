"""What an Experiment must be, by the cases of upstream's validator, and what may change of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lightship.domains.tuning.experiment import admission, defaults
from lightship.kube.objects import Object
from tests.unit.tuning import place

DONE = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "ExperimentMaxTrialsReached"}], "trials": 12}
GOAL = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "ExperimentGoalReached"}], "trials": 5}


def faults(obj: Object, old: Object | None = None) -> list[str]:
    return [f"{one.path}: {one.message}" for one in admission.validate(obj, old)]


def test_a_plain_one_is_accepted() -> None:
    assert not faults(place.experiment())
    assert not faults(place.experiment(), place.experiment())


def changed(**spec: Any) -> Callable[[], Object]:
    return lambda: place.experiment(**spec)


def space(type: str = "double", **feasible: Any) -> list[dict[str, Any]]:
    return [{"name": "lr", "parameterType": type, "feasibleSpace": feasible}]


@pytest.mark.parametrize(("make", "says"), [
    (lambda: place.experiment("1abc"), "metadata.name: name must consist of lower case"),
    (lambda: place.experiment("a" * 41), "may not be longer than 40 characters"),
    (changed(maxFailedTrialCount=-1), "spec.maxFailedTrialCount: should not be less than 0"),
    (changed(maxTrialCount=0), "spec.maxTrialCount: must be greater than 0"),
    (changed(parallelTrialCount=0), "spec.parallelTrialCount: must be greater than 0"),
    (changed(maxFailedTrialCount=13), "should be less than or equal to spec.maxTrialCount"),
    (changed(parallelTrialCount=13), "spec.parallelTrialCount: should be less than or equal to spec.maxTrialCount"),
    (changed(objective=None), "spec.objective: must be specified"),
    (changed(objective={"type": "best", "objectiveMetricName": "x"}), "must be minimize or maximize"),
    (changed(objective={"type": "minimize"}), "spec.objective.objectiveMetricName: must be specified"),
    (changed(objective={"type": "minimize", "objectiveMetricName": "x", "additionalMetricNames": ["x"]}),
     "should not contain spec.objective.objectiveMetricName"),
    (changed(algorithm=None), "spec.algorithm: must be specified"),
    (changed(algorithm={}), "spec.algorithm.algorithmName: must be specified"),
    (changed(algorithm={"algorithmName": "magic"}), "unknown algorithm name magic"),
    (changed(algorithm={"algorithmName": "enas"}), "enas is not served"),
    (changed(earlyStopping={"algorithmName": "soon"}), "spec.earlyStopping.algorithmName"),
    (changed(earlyStopping={"algorithmName": "medianstop",
                            "algorithmSettings": [{"name": "start_step", "value": "0"}]}),
     "start_step must be greater or equal than one"),
    (changed(resumePolicy="Maybe"), "invalid ResumePolicyType"),
    (changed(parameters=[]), "spec.parameters or spec.nasConfig must be specified"),
    (changed(nasConfig={"graphConfig": {}}), "only one of spec.parameters and spec.nasConfig"),
    (changed(parameters=space("float", min="0", max="1")), "parameterType: float is not supported"),
    (changed(parameters=space()), "feasibleSpace must be specified"),
    (changed(parameters=space(min="0")), "feasibleSpace.max or feasibleSpace.min must be specified"),
    (changed(parameters=space(min="2", max="1")), "1 is less than the min, 2"),
    (changed(parameters=space(min="nan", max="1")), "not a finite number"),
    (changed(parameters=space(min="0", max="1", list=["1"])), "feasibleSpace.list is not supported"),
    (changed(parameters=space("categorical", min="0", max="1")), "feasibleSpace .max, .min and .step is not supported"),
    (changed(parameters=space("double", min="0", max="1", distribution="odd")), "distribution: odd is not supported"),
    (changed(parameters=space(min="0", max="1") * 2), "parameter name lr can't be duplicated"),
    (changed(trialTemplate=None), "spec.trialTemplate: must be specified"),
    (changed(template={"primaryContainerName": ""}), "spec.trialTemplate.primaryContainerName: must be specified"),
    (changed(template={"trialParameters": None}), "spec.trialTemplate.trialParameters: must be specified"),
    (changed(template={"trialSpec": None, "successCondition": "a", "failureCondition": "b"}),
     "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified"),
    (changed(template={"configMap": {"configMapName": "x"}}), "only one of spec.trialTemplate.trialSpec"),
    (changed(template={"trialSpec": {"kind": "Odd", "apiVersion": "x/v1", "a": "${trialParameters.rate}"}}),
     "successCondition and failureCondition must be specified"),
    (changed(template={"successCondition": "a.@reverse"}), "successCondition: 'a.@reverse' uses the modifier"),
    (changed(template={"trialParameters": [{"name": "rate", "reference": "none"}]}),
     "parameter reference none does not exist in spec.parameters"),
    (changed(template={"trialParameters": [{"name": "{", "reference": "lr"}]}), "must not contain '{' or '}'"),
    (changed(template={"trialParameters": [{"name": "rate", "reference": "lr"}, {"name": "rate", "reference": "b"}]}),
     "parameter name rate can't be duplicated"),
    (changed(template={"trialParameters": [{"name": "rate", "reference": "lr"}, {"name": "two", "reference": "lr"}]}),
     "parameter reference lr can't be duplicated"),
    (changed(template={"trialParameters": [{"name": "other", "reference": "lr"}]}),
     "parameter name: other in spec.trialParameters not found in spec.trialTemplate"),
    (changed(template={"trialParameters": []}),
     "parameters: [${trialParameters.rate}] in spec.trialTemplate not found"),
    (changed(template={"trialSpec": place.job("${trialParameters.rate}") | {"metadata": {"name": "x"}}}),
     "metadata.name and metadata.namespace in spec.trialTemplate must be omitted"),
    (changed(metricsCollectorSpec={"collector": {"kind": "Odd"}}), "invalid metrics collector kind: Odd"),
    (changed(metricsCollectorSpec={"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "a"}}}),
     "file path where metrics file exists is required"),
    (changed(metricsCollectorSpec={"collector": {"kind": "Custom"}}), "metrics collector kind: Custom is required"),
    (changed(metricsCollectorSpec={"collector": {"kind": "PrometheusMetric"}, "source": {"httpGet": {"port": "x"}}}),
     "must be a positive integer value"),
    (changed(metricsCollectorSpec={"source": {"filter": {"metricsFormat": ["("]}}}), "invalid filter"),
    (changed(metricsCollectorSpec={"source": {"filter": {"metricsFormat": ["(a)"]}}}), "two"),
])
def test_what_is_refused(make: Callable[[], Object], says: str) -> None:
    found = faults(make())
    assert any(says in one for one in found), found


def test_the_budget_may_change_and_nothing_else() -> None:
    old = place.experiment(status={"trials": 5})
    assert not faults(place.experiment(maxTrialCount=20, parallelTrialCount=5, maxFailedTrialCount=2), old)
    assert faults(place.experiment(maxTrialCount=5), old) == [
        "spec.maxTrialCount: must be greater than status.trials count"]
    assert faults(place.experiment(algorithm={"algorithmName": "tpe"}), old) == [
        "spec: only spec.parallelTrialCount, spec.maxTrialCount and spec.maxFailedTrialCount are editable"]


def test_only_one_that_used_up_its_trials_starts_again() -> None:
    for policy in ("LongRunning", "FromVolume"):
        old = place.experiment(status=DONE, resumePolicy=policy)
        assert not faults(place.experiment(maxTrialCount=20, resumePolicy=policy), old)
        met = place.experiment(status=GOAL, resumePolicy=policy)
        assert any("Experiment can be restarted if" in one for one in faults(
            place.experiment(maxTrialCount=20, resumePolicy=policy), met))
    assert any("Experiment can be restarted if" in one for one in faults(
        place.experiment(maxTrialCount=20), place.experiment(status=DONE)))


def test_a_template_in_a_config_map() -> None:
    source = {"configMapName": "templates", "configMapNamespace": "kubeflow", "templatePath": "job.yaml"}
    made = place.experiment(template={"trialSpec": None, "configMap": source, "successCondition": "a",
                                      "failureCondition": "b"})
    del made["spec"]["trialTemplate"]["trialSpec"]
    assert not faults(made)
    related = admission.related(made)
    assert related is not None and related[1] == ("kubeflow", "templates")

    def with_text(text: str | None) -> list[str]:
        there = None if text is None else {"data": {"job.yaml": text}, "metadata": {
            "namespace": "kubeflow", "labels": {"katib.kubeflow.org/component": "trial-templates"}}}
        return [one.message for one in admission.validate_with(made, None, there)]

    assert not with_text("apiVersion: batch/v1\nkind: Job\na: ${trialParameters.rate}")
    assert "configMap not found" in with_text(None)[0]
    assert "not found in spec.trialTemplate" in with_text("kind: Job")[0]
    private = {"data": {"job.yaml": "kind: Job"}, "metadata": {"namespace": "kubeflow"}}
    assert [one.message for one in admission.validate_with(made, None, private)] == with_text(None)
    assert "APIVersion and Kind" in with_text("a: ${trialParameters.rate}")[0]


def test_defaults() -> None:
    spec = place.experiment()["spec"]
    assert spec["resumePolicy"] == "Never" and spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}
    assert spec["objective"]["metricStrategies"] == [{"name": "loss", "value": "min"}]
    assert spec["trialTemplate"]["successCondition"] == defaults.condition("Complete")
    assert spec["parameters"][0]["feasibleSpace"]["distribution"] == "uniform"
    train_job = place.experiment(template={"trialSpec": {"kind": "TrainJob", "apiVersion": "x/v1"}})["spec"]
    assert train_job["trialTemplate"]["primaryPodLabels"] == defaults.TRAIN_JOB_PRIMARY
    torch = place.experiment(template={"trialSpec": {"kind": "PyTorchJob", "apiVersion": "kubeflow.org/v1"}})["spec"]
    assert torch["trialTemplate"]["successCondition"] == defaults.condition("Succeeded")
    assert torch["trialTemplate"]["primaryPodLabels"] == {"training.kubeflow.org/job-role": "master"}
    file = place.experiment(metricsCollectorSpec={"collector": {"kind": "File"}})["spec"]["metricsCollectorSpec"]
    assert file["source"]["fileSystemPath"] == {"kind": "File", "path": "/var/log/katib/metrics.log", "format": "TEXT"}
    assert "parallelTrialCount" in defaults.default({"spec": {}})["spec"]


def test_several_objectives() -> None:
    several = {"type": "minimize", "objectiveMetricName": "loss", "additionalObjectives": [
        {"type": "maximize", "objectiveMetricName": "accuracy"}]}
    made = place.experiment(objective=several)
    assert not faults(made)
    assert made["spec"]["objective"]["metricStrategies"][1] == {"name": "accuracy", "value": "max"}
    same = several | {"additionalObjectives": [{"type": "maximize", "objectiveMetricName": "loss"}]}
    assert any("must differ from the other objectives'" in one for one in faults(place.experiment(objective=same)))
