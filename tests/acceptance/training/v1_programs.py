"""What replicas of v1 jobs run in the tests: each finds its peers by what upstream's operator would have told it."""

from __future__ import annotations

RANKS = """
import os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))

def until_there():
    for _ in range(600):
        try:
            return socket.create_connection(place, timeout=30)
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nobody is at %s:%d" % place)

if rank == 0:
    with socket.create_server(("0.0.0.0", place[1])) as listening:
        peers = [listening.accept()[0] for _ in range(world - 1)]
        total = 1 + sum(int(peer.recv(100)) for peer in peers)
        for peer in peers:
            peer.sendall(str(total).encode())
else:
    peer = until_there()
    peer.sendall(str(rank + 1).encode())
    total = int(peer.recv(100))
print("sum", total, "rank", rank, "of", world, flush=True)
"""
"""An all-reduce in plain Python, over upstream's names and ports."""

TASKS = """
import json, os, socket, threading, time
config = json.loads(os.environ["TF_CONFIG"])
task, cluster = config["task"], config["cluster"]
own = cluster[task["type"]][task["index"]]
peers = [one for type in cluster for one in cluster[type] if one != own]
listening = socket.create_server(("0.0.0.0", int(own.rpartition(":")[2])))
met = []

def answer():
    for _ in peers:
        connection = listening.accept()[0]
        met.append(connection.recv(300).decode())

answering = threading.Thread(target=answer)
answering.start()
for peer in peers:
    host, _, port = peer.rpartition(":")
    for attempt in range(600):
        try:
            socket.create_connection((host, int(port)), timeout=30).sendall(own.encode())
            break
        except OSError:
            time.sleep(0.05)
    else:
        raise SystemExit("nobody is at " + peer)
answering.join()
assert sorted(met) == sorted(peers), (met, peers)
print("met", len(met), "as", task["type"], task["index"], flush=True)
"""
"""Every task of a TFJob calls every other at the address in ``TF_CONFIG``."""

HIDING = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", sys.argv[1]])
    os._exit(0)
print("hidden", flush=True)
time.sleep(1000)
"""
"""Leaves a process in a session of its own, without the environment that it was given."""

TORCH = """
import torch, torch.distributed as dist
dist.init_process_group(backend="gloo")
value = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(value)
print("sum", int(value.item()), "rank", dist.get_rank(), "of", dist.get_world_size(), flush=True)
dist.barrier()
dist.destroy_process_group()
"""

ELASTIC = """
import time
import torch, torch.distributed as dist
dist.init_process_group(backend="gloo")
value = torch.tensor([1.0])
dist.all_reduce(value)
print("world", int(value.item()), flush=True)
if dist.get_world_size() < 2:
    time.sleep(1000)
dist.barrier()
dist.destroy_process_group()
"""
"""Waits until there are two."""

XGBOOST = """
import os, socket
import numpy, xgboost
from xgboost import collective
from xgboost.tracker import RabitTracker
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = {"dmlc_tracker_uri": os.environ["MASTER_ADDR"], "dmlc_tracker_port": int(os.environ["MASTER_PORT"])}
tracker = None
if rank == 0:
    tracker = RabitTracker(n_workers=world, host_ip=socket.gethostbyname(socket.gethostname()),
                           port=place["dmlc_tracker_port"], sortby="task")
    tracker.start()
with collective.CommunicatorContext(**place, dmlc_task_id=str(rank), dmlc_retry=20):
    total = collective.allreduce(numpy.array([rank + 1.0]), collective.Op.SUM)[0]
    rows = numpy.random.default_rng(rank).random((200, 4))
    data = xgboost.DMatrix(rows, label=rows.sum(axis=1))
    model = xgboost.train({"max_depth": 3, "objective": "reg:squarederror"}, data, num_boost_round=5)
    same = collective.allreduce(numpy.array([float(len(model.save_raw("json")))]), collective.Op.MAX)[0]
    assert same == len(model.save_raw("json")), "the ranks have learnt the same trees"
print("sum", int(total), "rank", rank, "of", world, flush=True)
if tracker is not None:
    tracker.wait_for()
"""

JAX = """
import os
import jax
jax.distributed.initialize(os.environ["COORDINATOR_ADDRESS"] + ":" + os.environ["COORDINATOR_PORT"],
                           int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"]))
from jax.experimental import multihost_utils
rank = jax.process_index()
total = multihost_utils.process_allgather(jax.numpy.array([rank + 1])).sum()
print("sum", int(total), "rank", rank, "of", jax.process_count(), flush=True)
jax.distributed.shutdown()
"""

TENSORFLOW = """
import json, os
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]

@tf.function
def step():
    def one():
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(rank + 1.0))
    return strategy.run(one)

total = strategy.experimental_local_results(step())[0]
print("sum", int(total), "rank", rank, "of", strategy.num_replicas_in_sync, flush=True)
"""

PADDLE = """
import paddle
import paddle.distributed as dist
dist.init_parallel_env()
value = paddle.to_tensor([dist.get_rank() + 1.0])
dist.all_reduce(value)
print("sum", int(value.item()), "rank", dist.get_rank(), "of", dist.get_world_size(), flush=True)
"""
