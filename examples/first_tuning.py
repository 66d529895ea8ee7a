"""A first tuning: Kubeflow's SDK runs your function with parameters that a search suggests, and shows the best.

Needs: kubeflow==0.5.0
Run it: lightship up --detach; lightship status -o json | python examples/first_tuning.py
Then look: lightship trials NAME -o html > trials.html
"""

import json
import sys

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.optimizer import Objective, OptimizerClient, RandomSearch, Search, TrainJobTemplate, TrialConfig
from kubeflow.trainer import CustomTrainer, TrainerClient

NAMESPACE, TRIALS = "default", 8


def train(rate: str) -> None:
    """What it prints as NAME=VALUE is a metric. The SDK hands parameters over as texts."""
    print(f"loss={(float(rate) - 0.3) ** 2}")


def main() -> None:
    platform = json.load(sys.stdin)
    backend = KubernetesBackendConfig(config_file=platform["kubeconfig"], namespace=NAMESPACE)
    client, trainer = OptimizerClient(backend), TrainerClient(backend)
    template = TrainJobTemplate(trainer=CustomTrainer(func=train), runtime=trainer.get_runtime("plain-distributed"))
    name = client.optimize(
        trial_template=template, search_space={"rate": Search.uniform(min=0.0, max=1.0)},
        objectives=[Objective(metric="loss", direction="minimize")], algorithm=RandomSearch(random_state=1),
        trial_config=TrialConfig(num_trials=TRIALS, parallel_trials=4))
    job = client.wait_for_job_status(name, timeout=300, polling_interval=1)
    best = client.get_best_results(name)
    print(f"{name}: {job.status}, {len(job.trials)} trials; the best has rate {best.parameters['rate']}")
    client.delete_job(name)
    if job.status != "Complete" or abs(float(best.parameters["rate"]) - 0.3) > 0.3:
        sys.exit(1)


if __name__ == "__main__":
    main()
