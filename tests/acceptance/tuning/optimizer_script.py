"""What a user of the ``kubeflow`` SDK does with ``OptimizerClient``: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

import sys
import time

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.optimizer import Objective, OptimizerClient, RandomSearch, Search, TrainJobTemplate, TrialConfig
from kubeflow.trainer import CustomTrainer, TrainerClient


def train(rate: str, layers: str):
    import time

    print(f"rate {rate} layers {layers}", flush=True)
    for step in range(1, 4):
        print(f"loss={float(rate) * 10 / step} accuracy={int(layers) / 10}", flush=True)
        time.sleep(0.01)


def main() -> None:
    # A namespace of its own: list_jobs looks for the TrainJob of every Trial that it finds, of whatever kind it is.
    config = KubernetesBackendConfig(namespace="optimizing")
    client, trainer = OptimizerClient(backend_config=config), TrainerClient(backend_config=config)
    runtime = trainer.get_runtime("plain-distributed")
    template = TrainJobTemplate(trainer=CustomTrainer(func=train, num_nodes=1), runtime=runtime)
    seen = []
    name = client.optimize(
        trial_template=template,
        search_space={"rate": Search.uniform(min=0.1, max=0.5), "layers": Search.choice([2, 4])},
        objectives=[Objective(metric="loss", direction="minimize"), Objective(metric="accuracy")],
        algorithm=RandomSearch(random_state=42), trial_config=TrialConfig(num_trials=4, parallel_trials=2))
    while not client.get_job(name).trials:  # a Trial is never seen before its TrainJob, or this would raise
        time.sleep(0.01)
    job = client.wait_for_job_status(name, timeout=120, polling_interval=1, callbacks=[lambda one: seen.append(one)])
    assert job.status == "Complete" and len(job.trials) == 4, job
    assert len(seen) >= 1 and seen[-1].name == name
    assert {trial.trainjob.status for trial in job.trials} == {"Complete"}, job.trials

    best = client.get_best_results(name)
    rates = {trial.parameters["rate"] for trial in job.trials}
    assert best.parameters["rate"] == min(rates, key=float), (best, rates)
    metrics = {metric.name: metric for metric in best.metrics}
    assert abs(float(metrics["loss"].min) - float(best.parameters["rate"]) * 10 / 3) < 1e-12, best
    assert float(metrics["accuracy"].latest) == int(best.parameters["layers"]) / 10, best

    logs = list(client.get_job_logs(name))
    assert logs[0] == f"rate {best.parameters['rate']} layers {best.parameters['layers']}" and len(logs) == 4, logs
    other = job.trials[-1].name
    assert len(list(client.get_job_logs(name, trial_name=other, follow=True))) == 4
    events = client.get_job_events(name)
    assert events and {event.involved_object_kind for event in events} <= {"Experiment", "Trial"}, events
    assert name in {one.name for one in client.list_jobs()}

    client.delete_job(name)
    limit = time.monotonic() + 60
    while name in {one.name for one in client.list_jobs()} or trainer.list_jobs():
        assert time.monotonic() < limit, "what was deleted is still there"
        time.sleep(0.2)
    print("all done")


if __name__ == "__main__":
    sys.exit(main())
