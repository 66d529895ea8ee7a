"""A TrainJob and its runtime as a JobSet: upstream's cases of variables, counts, resources, initializers, patches."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.training.errors import BadSnapshot
from lightship.domains.training.train_job import lower
from lightship.kube import objects
from lightship.kube.objects import Object
from tests.unit.training.objects_of import cluster_runtime, runtime, step, train_job

INDEX = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}


def job_of(job_set: Object, name: str = "node") -> dict[str, Any]:
    return next(job for job in job_set["spec"]["replicatedJobs"] if job["name"] == name)


def pod_of(job_set: Object, name: str = "node") -> dict[str, Any]:
    return dict(job_of(job_set, name)["template"]["spec"]["template"]["spec"])


def container_of(job_set: Object, name: str = "node") -> dict[str, Any]:
    return dict(pod_of(job_set, name)["containers"][0])


def env_of(job_set: Object, name: str = "node") -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container_of(job_set, name).get("env", [])}


def test_torch_nodes_get_what_torchrun_reads() -> None:
    made = lower.make_job_set(train_job({"numNodes": 3, "env": [{"name": "LR", "value": "1"}]}), cluster_runtime())
    assert env_of(made) == {"LR": "1", "PET_NNODES": "3", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": INDEX,
                            "PET_MASTER_ADDR": "run-node-0-0.run", "PET_MASTER_PORT": "29500"}
    assert container_of(made)["ports"] == [{"containerPort": 29500}]
    spec = job_of(made)["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], job_of(made)["replicas"]) == (3, 3, 1)
    assert made["metadata"]["name"] == "run" and objects.controller_of(made)["uid"] == "run-uid"  # type: ignore[index]


@pytest.mark.parametrize(("trainer", "in_runtime", "processes"), [
    ({}, None, "1"),
    ({"numProcPerNode": 4}, None, "4"),
    ({"resourcesPerNode": {"requests": {"cpu": "3"}, "limits": {"cpu": "8"}}}, None, "3"),
    ({"resourcesPerNode": {"limits": {"cpu": "2500m"}}}, None, "3"),
    ({"resourcesPerNode": {"limits": {"cpu": 1.0}}}, None, "1"),
    ({"resourcesPerNode": {"limits": {"example.com/gpu": "2", "cpu": "9"}}}, None, "auto"),
    ({"resourcesPerNode": {"limits": {"example.com/gpu": "2"}}, "numProcPerNode": 5}, None, "5"),
    ({}, {"limits": {"cpu": "6"}}, "6"),
    ({}, {"requests": {"nvidia.com/gpu": "1"}}, "auto"),
])
def test_torch_processes_of_a_node(trainer: dict[str, Any], in_runtime: Any, processes: str) -> None:
    mine = runtime(step("node", "trainer", resources=in_runtime), policy={"torch": {}})
    assert env_of(lower.make_job_set(train_job(trainer), mine))["PET_NPROC_PER_NODE"] == processes


@pytest.mark.parametrize(("name", "trainer", "expected"), [
    ("jax-distributed", {"numNodes": 2}, {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": INDEX,
                                          "JAX_COORDINATOR_ADDRESS": "run-node-0-0.run:29500"}),
    ("xgboost-distributed", {"numNodes": 2}, {"DMLC_TRACKER_URI": "run-node-0-0.run", "DMLC_TRACKER_PORT": "29500",
                                              "DMLC_TASK_ID": INDEX, "DMLC_NUM_WORKER": "2"}),
    ("xgboost-distributed", {"numNodes": 2, "resourcesPerNode": {"limits": {"nvidia.com/gpu": 4}}},
     {"DMLC_TRACKER_URI": "run-node-0-0.run", "DMLC_TRACKER_PORT": "29500", "DMLC_TASK_ID": INDEX,
      "DMLC_NUM_WORKER": "8"}),
    ("plain-distributed", {"numNodes": 2, "env": [{"name": "A", "value": "b"}]}, {"A": "b"}),
    ("tensorflow-distributed", {"numNodes": 2}, {}),
    *((name, None, {}) for name in ("torch-distributed", "jax-distributed", "xgboost-distributed")),
])
def test_variables_of_other_frameworks(name: str, trainer: Any, expected: dict[str, Any]) -> None:
    made = lower.make_job_set(train_job(trainer, runtime=name), cluster_runtime(name))
    assert env_of(made) == expected
    assert job_of(made)["template"]["spec"]["completions"] == (2 if trainer else 1)


def test_the_trainer_says_what_runs_and_the_runtime_what_is_left() -> None:
    mine = runtime(step("node", "trainer", resources={"limits": {"cpu": "1", "memory": "1Gi"}}), policy={"numNodes": 2})
    trainer = {"image": "python:3.11", "command": ["python"], "args": ["-V"],
               "resourcesPerNode": {"limits": {"cpu": "2"}}}
    made = lower.make_job_set(train_job(trainer, runtime="mine", kind="TrainingRuntime"), mine)
    assert container_of(made) == {
        "name": "node", "image": "python:3.11", "command": ["python"], "args": ["-V"],
        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}
    assert job_of(made)["template"]["spec"]["parallelism"] == 2
    assert made["metadata"]["labels"] == {"of": "runtime"}


def test_initializers_get_their_source_and_secret() -> None:
    mine = runtime(step("dataset-initializer", "dataset-initializer"), step("model-initializer", "model-initializer"),
                   step("node", "trainer", dependsOn=[{"name": "dataset-initializer", "status": "Complete"}]),
                   policy={"numNodes": 1})
    job = train_job({}, initializer={
        "dataset": {"storageUri": "s3://b/d", "env": [{"name": "X", "value": "1"}], "secretRef": {"name": "key"}},
        "model": {"storageUri": "hf://o/m"}})
    made = lower.make_job_set(job, mine)
    assert env_of(made, "dataset-initializer") == {"STORAGE_URI": "s3://b/d", "X": "1"}
    assert container_of(made, "dataset-initializer")["envFrom"] == [{"secretRef": {"name": "key"}}]
    assert env_of(made, "model-initializer") == {"STORAGE_URI": "hf://o/m"}
    assert job_of(made)["dependsOn"] == [{"name": "dataset-initializer", "status": "Complete"}]


def test_patches_are_laid_over_the_runtime_in_their_order() -> None:
    mine = runtime(step("first"), step("node", "trainer"), policy={"numNodes": 1})
    pod = {"serviceAccountName": "trainer", "nodeSelector": {"a": "1"}, "tolerations": [{"key": "t"}],
           "volumes": [{"name": "data", "emptyDir": {}}],
           "containers": [{"name": "node", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}

    def patch(manager: str, pod: dict[str, Any], **labels: str) -> dict[str, Any]:
        job = {"name": "node", "template": {"spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}}}
        return {"manager": manager, "trainingRuntimeSpec": {"template": {
            "metadata": {"labels": labels}, "spec": {"replicatedJobs": [job]}}}}

    job = train_job({}, runtimePatches=[patch("a.io/x", pod, team="a"),
                                        patch("b.io/y", {"nodeSelector": {"b": "2"}}, team="b")])
    made = lower.make_job_set(job, mine)
    assert [one["name"] for one in made["spec"]["replicatedJobs"]] == ["first", "node"]
    there = pod_of(made)
    assert there["serviceAccountName"] == "trainer" and there["nodeSelector"] == {"a": "1", "b": "2"}
    assert there["tolerations"] == [{"key": "t"}] and there["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert container_of(made)["image"] == "busybox"
    assert container_of(made)["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert made["metadata"]["labels"] == {"of": "runtime", "team": "b"}


def test_other_containers_get_torchs_variables_where_the_runtime_says_so() -> None:
    checking = step("node", "trainer")
    checking["template"]["spec"]["template"]["spec"]["initContainers"] = [{"name": "check", "image": "busybox"}]
    mine = runtime(checking, policy={"torch": {"envInjection": {"targets": [
        {"jobName": "node", "containerNames": ["check"]}]}}})
    made = lower.make_job_set(train_job({"numNodes": 2}), mine)
    names = [variable["name"] for variable in pod_of(made)["initContainers"][0]["env"]]
    assert names == ["PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"]


def test_lowering_changes_neither_of_its_sources() -> None:
    job, mine = train_job({"numNodes": 2, "env": [{"name": "A", "value": "b"}]}), cluster_runtime()
    before = str(job), str(mine)
    first = lower.make_job_set(job, mine)
    assert (str(job), str(mine)) == before and lower.make_job_set(job, mine) == first


def test_a_snapshot_is_read_as_it_was_made_and_no_other_is() -> None:
    job, mine = train_job({}), cluster_runtime()
    kept = lower.make_snapshot(job, mine)
    assert lower.make_job_set(job, lower.read_snapshot(job, kept)) == lower.make_job_set(job, mine)
    with pytest.raises(BadSnapshot, match="belongs to another"):
        lower.read_snapshot(job | {"metadata": job["metadata"] | {"uid": "later"}}, kept)
    with pytest.raises(BadSnapshot, match="holds no runtime"):
        lower.read_snapshot(job, kept | {"data": {}})
    with pytest.raises(BadSnapshot, match="another runtime"):
        lower.read_snapshot(train_job({}, runtime="jax-distributed"), kept)
