"""What a user of the ``kubeflow`` SDK does with MPI: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

import sys

from kubeflow.trainer import CustomTrainer, TrainerClient


def train(rate: float):
    import os

    from mpi4py import MPI

    world = MPI.COMM_WORLD
    total = world.allreduce(world.rank + 1)
    print("sum", total, "rank", world.rank, "of", world.size, "rate", rate, "greets", os.environ.get("GREETING"),
          flush=True)


def main() -> None:
    client = TrainerClient()
    runtime = client.get_runtime("deepspeed-distributed")
    assert runtime.trainer.framework == "deepspeed" and runtime.trainer.command[0] == "mpirun", runtime
    name = client.train(runtime=runtime, trainer=CustomTrainer(
        func=train, func_args={"rate": 0.5}, num_nodes=2, env={"GREETING": "hello"}))
    job = client.wait_for_job_status(name, timeout=120)
    assert job.status == "Complete" and job.num_nodes == 2, job
    assert {step.name for step in job.steps} == {"node-0"}, job.steps  # the nodes are gone with the launcher's end
    lines = sorted(line for line in client.get_job_logs(name) if line.startswith("sum"))
    assert [line.partition(" greets")[0] for line in lines] == [
        f"sum 3 rank {rank} of 2 rate 0.5" for rank in range(2)], lines
    client.delete_job(name)
    print("all done")


if __name__ == "__main__":
    sys.exit(main())
