"""The shipped runtimes of frameworks: their own collectives, in two processes each, two trainings at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_training import JOBS, WAIT_SECONDS, logs_of, train_job, until

JAX = """
import os
import jax
jax.distributed.initialize(coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
                           num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
                           process_id=int(os.environ["JAX_PROCESS_ID"]))
from jax.experimental import multihost_utils
total = multihost_utils.process_allgather(jax.numpy.array([jax.process_index() + 1])).sum()
print("sum", int(total), "rank", jax.process_index(), "of", jax.process_count(), flush=True)
jax.distributed.shutdown()
"""
XGBOOST = """
import os
import numpy, xgboost
from xgboost import collective
from xgboost.tracker import RabitTracker
rank, world = int(os.environ["DMLC_TASK_ID"]), int(os.environ["DMLC_NUM_WORKER"])
port = int(os.environ["DMLC_TRACKER_PORT"])
tracker = None
if rank == 0:
    tracker = RabitTracker(host_ip="0.0.0.0", n_workers=world, port=port, sortby="task")
    tracker.start()
with collective.CommunicatorContext(dmlc_tracker_uri=os.environ["DMLC_TRACKER_URI"], dmlc_tracker_port=port,
                                    dmlc_task_id=str(rank), dmlc_retry=20):
    total = collective.allreduce(numpy.array([rank + 1.0]), collective.Op.SUM)[0]
    rows = numpy.random.default_rng(rank).random((200, 4))
    data = xgboost.QuantileDMatrix(rows, label=rows.sum(axis=1))
    model = xgboost.train({"max_depth": 3, "objective": "reg:squarederror"}, data, num_boost_round=5)
    length = float(len(model.save_raw("json")))
    assert collective.allreduce(numpy.array([length]), collective.Op.MAX)[0] == length, "not the same trees"
print("sum", int(total), "rank", rank, "of", world, flush=True)
if tracker is not None:
    tracker.wait_for()
"""
"""As upstream's guide has it: the first node is the tracker too."""
TENSORFLOW = """
import json, os, socket
rank, job = int(os.environ["JOB_COMPLETION_INDEX"]), socket.gethostname().rsplit("-node-", 1)[0]
peers = [f"{job}-node-0-{index}.{job}:2222" for index in range(2)]
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": peers}, "task": {"type": "worker", "index": rank}})
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()

@tf.function
def step():
    def one():
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(rank + 1.0))
    return strategy.run(one)

total = strategy.experimental_local_results(step())[0]
print("sum", int(total), "rank", rank, "of", strategy.num_replicas_in_sync, flush=True)
"""
"""This API sets no TF_CONFIG; a Pod's name and index say all that is in it."""
MLX = """
import mlx.core as mx
world = mx.distributed.init(backend="mpi", strict=True)
total = mx.distributed.all_sum(mx.array([world.rank() + 1.0])).item()
print("sum", int(total), "rank", world.rank(), "of", world.size(), flush=True)
"""
PROGRAMS = {"mlx-distributed": MLX, "jax-distributed": JAX, "xgboost-distributed": XGBOOST,
            "tensorflow-distributed": TENSORFLOW}


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
@pytest.mark.parametrize("runtime", [
    pytest.param(name, marks=[] if name == "jax-distributed" else [pytest.mark.proof]) for name in PROGRAMS])
def test_processes_meet_and_two_trainings_at_once_do_not_clash(new_platform: Callable[[], Platform],
                                                               runtime: str) -> None:
    platform = new_platform().start()
    launcher = ["mpirun"] if runtime == "mlx-distributed" else []
    for name in ("one", "two"):
        platform.kube("POST", JOBS, train_job(
            name, {"numNodes": 2, "command": [*launcher, "python3", "-c", PROGRAMS[runtime]]}, runtime))
    for name in ("one", "two"):
        ended = until(platform, name, "Complete", "Failed")
        assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(platform, name)
        said = sorted(line for line in logs_of(platform, name).splitlines() if line.startswith("sum"))
        assert said == ["sum 3 rank 0 of 2", "sum 3 rank 1 of 2"]
