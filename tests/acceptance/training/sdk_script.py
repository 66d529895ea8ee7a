"""What a user of the ``kubeflow`` SDK does with a training: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

import sys

from kubeflow.trainer import CustomTrainer, TrainerClient
from kubeflow.trainer.options import ActiveDeadlineSeconds


def train(steps: int, rate: float):
    import os

    index = os.environ["JOB_COMPLETION_INDEX"]
    for step in range(steps):
        print(f"node {index} step {step} loss {1.0 / (1 + step * rate)}", flush=True)
    print("node", index, "is done", flush=True)


def hang():
    import time

    print("hanging", flush=True)
    time.sleep(3600)


def main() -> None:
    client = TrainerClient()
    runtimes = {runtime.name: runtime for runtime in client.list_runtimes()}
    assert {"torch-distributed", "plain-distributed", "jax-distributed", "xgboost-distributed"} <= runtimes.keys()
    assert runtimes["torch-distributed"].trainer.framework == "torch"
    runtime = client.get_runtime("plain-distributed")

    name = client.train(runtime=runtime, trainer=CustomTrainer(
        func=train, func_args={"steps": 3, "rate": 0.5}, num_nodes=2, resources_per_node={"cpu": 1, "memory": "64Mi"},
        env={"GREETING": "hello"}))
    job = client.wait_for_job_status(name, timeout=60)
    assert job.status == "Complete" and job.num_nodes == 2, job
    assert sorted(step.name for step in job.steps) == ["node-0", "node-1"], job.steps
    assert {step.status for step in job.steps} == {"Succeeded"}, job.steps
    for place in (0, 1):
        lines = list(client.get_job_logs(name, step=f"node-{place}"))
        assert lines == [f"node {place} step {step} loss {1.0 / (1 + step * 0.5)}" for step in range(3)] + [
            f"node {place} is done"], lines
    assert list(client.get_job_logs(name, follow=True))[-1] == "node 0 is done"
    reasons = {event.reason for event in client.get_job_events(name)}
    assert "AllJobsCompleted" in reasons and "Scheduled" in reasons, reasons
    assert name in {job.name for job in client.list_jobs(runtime=runtime)}

    failing = client.train(runtime=runtime, trainer=CustomTrainer(func=hang), options=[ActiveDeadlineSeconds(3)])
    ended = client.wait_for_job_status(failing, status={"Failed"}, timeout=60)
    assert ended.status == "Failed", ended

    for made in (name, failing):
        client.delete_job(made)
    assert not {job.name for job in client.list_jobs()} & {name, failing}
    print("all done")


if __name__ == "__main__":
    sys.exit(main())
