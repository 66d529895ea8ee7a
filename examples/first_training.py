"""A first training on several nodes: a function of yours, run on two nodes by Kubeflow's SDK, its logs read.

Needs: kubeflow==0.5.0
Run it: lightship up --detach; lightship status -o json | python examples/first_training.py
"""

import json
import sys

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer import CustomTrainer, TrainerClient

NODES = 2


def train(steps: int) -> None:
    """Runs on every node: nothing outside of it is there. With torch-distributed, torch's ranks would meet here."""
    import os

    node = os.environ["JOB_COMPLETION_INDEX"]
    for step in range(steps):
        print(f"node {node}, step {step}: loss {1 / (1 + step):.3f}")


def main() -> None:
    platform = json.load(sys.stdin)
    client = TrainerClient(KubernetesBackendConfig(config_file=platform["kubeconfig"], namespace="default"))
    name = client.train(runtime=client.get_runtime("plain-distributed"),
                        trainer=CustomTrainer(func=train, func_args={"steps": 3}, num_nodes=NODES))
    job = client.wait_for_job_status(name, timeout=120)
    print(f"{name}: {job.status}")
    said = [line for node in range(NODES) for line in client.get_job_logs(name, step=f"node-{node}")]
    print("\n".join(said))
    client.delete_job(name)
    if job.status != "Complete" or len(said) != 3 * NODES:
        sys.exit(1)


if __name__ == "__main__":
    main()
