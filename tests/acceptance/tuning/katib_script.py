"""What a user of the ``kubeflow-katib`` SDK does: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

import sys
import time

from kubeflow import katib
from kubernetes import client

IMAGE = "python:3.11"
IMAGE_WITH_SDK = "example.com/katib-sdk:0.19"


def objective(parameters):
    import time

    print(f"the rate is {parameters['rate']}", flush=True)
    for step in range(1, 4):
        print(f"step={step} loss={(float(parameters['rate']) - 0.3) ** 2 / step}", flush=True)
        time.sleep(0.01)


def pushing(parameters):
    import kubeflow.katib as katib

    katib.report_metrics({"loss": float(parameters["rate"]) * 2, "other": 0.5})
    katib.report_metrics({"loss": float(parameters["rate"])})


def trial_spec(command: str) -> dict:
    container = client.V1Container(name="training", image=IMAGE, command=["sh", "-c", command])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container], restart_policy="Never"))
    job = client.V1Job(api_version="batch/v1", kind="Job", spec=client.V1JobSpec(template=template))
    return client.ApiClient().sanitize_for_serialization(job)


def experiment(name: str) -> katib.V1beta1Experiment:
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1", kind="Experiment",
        metadata=client.V1ObjectMeta(name=name, namespace="default"),
        spec=katib.V1beta1ExperimentSpec(
            max_trial_count=3, parallel_trial_count=2, max_failed_trial_count=1, resume_policy="LongRunning",
            objective=katib.V1beta1ObjectiveSpec(type="minimize", objective_metric_name="loss"),
            algorithm=katib.V1beta1AlgorithmSpec(algorithm_name="random"),
            parameters=[katib.V1beta1ParameterSpec(
                name="rate", parameter_type="double",
                feasible_space=katib.V1beta1FeasibleSpace(min="0.1", max="0.9"))],
            trial_template=katib.V1beta1TrialTemplate(
                primary_container_name="training", retain=True,
                trial_parameters=[katib.V1beta1TrialParameterSpec(name="rate", reference="rate")],
                trial_spec=trial_spec("echo loss=${trialParameters.rate}"))))


def tuned(c: katib.KatibClient) -> None:
    c.tune(name="tuned", objective=objective, base_image=IMAGE, max_trial_count=4, parallel_trial_count=2,
           parameters={"rate": katib.search.double(min=0.1, max=0.9)}, objective_metric_name="loss",
           additional_metric_names=["step"], objective_type="minimize", retain_trials=True,
           resources_per_trial={"cpu": "100m", "memory": "128Mi"})
    ended = c.wait_for_experiment_condition("tuned", timeout=120, polling_interval=1)
    assert c.is_experiment_succeeded("tuned") and ended.status.trials_succeeded == 4, ended.status
    best = c.get_optimal_hyperparameters("tuned")
    rate = float(best.parameter_assignments[0].value)
    losses = {metric.name: metric for metric in best.observation.metrics}
    assert abs(float(losses["loss"].min) - (rate - 0.3) ** 2 / 3) < 1e-12, best
    assert losses["step"].latest == "3", best
    logs = list(c.get_job_logs("tuned", best.best_trial_name))
    assert logs[0] == f"the rate is {best.parameter_assignments[0].value}" and len(logs) == 4, logs
    assert list(c.get_job_logs("tuned", best.best_trial_name, follow=True)) == logs
    details = c.get_success_trial_details("tuned")
    assert len(details) == 4 and all(one["metrics"] for one in details), details
    c.delete_experiment("tuned")


def created(c: katib.KatibClient) -> None:
    c.create_experiment(experiment("created"))
    c.wait_for_experiment_condition("created", timeout=120, polling_interval=1)
    assert c.get_experiment("created").status.trials_succeeded == 3
    c.edit_experiment_budget("created", max_trial_count=5)
    limit = time.monotonic() + 60
    while c.get_experiment("created").status.trials_succeeded != 5:  # it may have restarted and ended between two looks
        assert time.monotonic() < limit, c.get_experiment("created").status
        time.sleep(0.2)
    assert c.is_experiment_succeeded("created") and len(c.list_trials("created")) == 5
    assert "created" in {one.metadata.name for one in c.list_experiments()}
    assert c.get_suggestion("created").status.suggestion_count == 5
    c.delete_experiment("created")


def pushed(c: katib.KatibClient) -> None:
    c.tune(name="pushed", objective=pushing, base_image=IMAGE_WITH_SDK, max_trial_count=2, parallel_trial_count=2,
           parameters={"rate": katib.search.double(min=0.1, max=0.9)}, objective_metric_name="loss",
           objective_type="minimize", metrics_collector_config={"kind": "Push"})
    c.wait_for_experiment_condition("pushed", timeout=300, polling_interval=1)
    assert c.is_experiment_succeeded("pushed"), c.get_experiment("pushed").status
    for trial in c.list_trials("pushed"):
        rate = float(trial.spec.parameter_assignments[0].value)
        loss, = trial.status.observation.metrics
        assert (float(loss.min), float(loss.max), float(loss.latest)) == (rate, rate * 2, rate), trial.status
    c.delete_experiment("pushed")


def main() -> None:
    c = katib.KatibClient()
    tuned(c)
    created(c)
    pushed(c)
    print("all done")


if __name__ == "__main__":
    sys.exit(main())
