"""What replicas of v1 jobs read to find each other: upstream's cases as tables, and those that it leaves to be run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightship.domains.training.v1 import children
from lightship.kube.objects import Object
from tests.unit.training.v1_objects import env_of, job_object, read


def pod(obj: Object, type: str, index: int = 0) -> Object:
    return children.make_pod(read(obj), type, index)


def variables(obj: Object, type: str, index: int = 0) -> dict[str, Any]:
    return env_of(pod(obj, type, index))


TF = [
    # workers, parameter servers, evaluators, task, TF_CONFIG: of one replica alone, none
    ({"Worker": 1}, "Worker", 0, None),
    ({"PS": 1}, "PS", 0, None),
    ({"Worker": 1, "PS": 1}, "Worker", 0,
     '{"cluster":{"ps":["run-ps-0.default.svc:2222"],"worker":["run-worker-0.default.svc:2222"]},'
     '"task":{"type":"worker","index":0},"environment":"cloud"}'),
    ({"Worker": 1, "PS": 1, "Evaluator": 1}, "Worker", 0,
     '{"cluster":{"evaluator":["run-evaluator-0.default.svc:2222"],"ps":["run-ps-0.default.svc:2222"],'
     '"worker":["run-worker-0.default.svc:2222"]},"task":{"type":"worker","index":0},"environment":"cloud"}'),
    ({"Worker": 1, "Chief": 1}, "Chief", 0,
     '{"cluster":{"chief":["run-chief-0.default.svc:2222"],"worker":["run-worker-0.default.svc:2222"]},'
     '"task":{"type":"chief","index":0},"environment":"cloud"}'),
]


@pytest.mark.parametrize(("replicas", "type", "index", "expected"), TF)
def test_tensorflow_tasks_know_the_cluster_where_there_is_one(replicas: Any, type: str, index: int,
                                                              expected: str | None) -> None:
    assert variables(job_object("TFJob", replicas), type, index).get("TF_CONFIG") == expected


@pytest.mark.parametrize(("type", "index", "cluster"), [
    ("Worker", 0, {"worker": {"0": "run-worker-0.default.svc:2222"},
                   "ps": ["run-ps-0.default.svc:2222", "run-ps-1.default.svc:2222"]}),
    ("PS", 0, {"worker": {}, "ps": ["run-ps-0.default.svc:2222"]}),
])
def test_tensorflow_workers_that_come_and_go_know_only_themselves(type: str, index: int, cluster: Any) -> None:
    job = job_object("TFJob", {"Worker": 1, "PS": 2}, enableDynamicWorker=True)
    assert json.loads(variables(job, type, index)["TF_CONFIG"]) == {
        "cluster": cluster, "task": {"type": type.lower(), "index": index}}


def test_only_tensorflows_own_container_gets_the_cluster_and_a_port_of_its_own_counts() -> None:
    template = {"spec": {"containers": [
        {"name": "side", "image": "busybox"},
        {"name": "tensorflow", "image": "busybox", "ports": [{"name": "tfjob-port", "containerPort": 3333}]}]}}
    made = pod(job_object("TFJob", {"Worker": {"replicas": 2, "template": template}}), "Worker")
    assert not env_of(made, "side")
    assert json.loads(env_of(made, "tensorflow")["TF_CONFIG"])["cluster"]["worker"][1] == (
        "run-worker-1.default.svc:3333")


MASTER = {"PYTHONUNBUFFERED": "1", "MASTER_PORT": "23456", "PET_MASTER_PORT": "23456", "MASTER_ADDR": "run-master-0",
          "PET_MASTER_ADDR": "run-master-0"}


@pytest.mark.parametrize(("spec", "type", "index", "expected"), [
    ({}, "Master", 0, MASTER | {"WORLD_SIZE": "3", "RANK": "0", "PET_NODE_RANK": "0", "PET_NPROC_PER_NODE": "auto",
                                "PET_NNODES": "3"}),
    ({}, "Worker", 1, MASTER | {"WORLD_SIZE": "3", "RANK": "2", "PET_NODE_RANK": "2", "PET_NPROC_PER_NODE": "auto",
                                "PET_NNODES": "3"}),
    *(({"nprocPerNode": given}, "Worker", 0,
       MASTER | {"WORLD_SIZE": world, "RANK": "1", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": given,
                 "PET_NNODES": "3"}) for given, world in (("4", "12"), ("cpu", "3"), ("gpu", "3"), ("auto", "3"))),
])
def test_pytorch_ranks_with_a_master(spec: Any, type: str, index: int, expected: Any) -> None:
    assert variables(job_object("PyTorchJob", {"Master": 1, "Worker": 2}, **spec), type, index) == expected


def test_pytorch_workers_without_a_master_have_no_rank_by_the_job() -> None:
    assert variables(job_object("PyTorchJob", {"Worker": 2}), "Worker", 1) == {
        "PYTHONUNBUFFERED": "1", "PET_NPROC_PER_NODE": "auto", "PET_NNODES": "2"}


FULL = {"minReplicas": 1, "maxReplicas": 3, "rdzvBackend": "c10d", "rdzvPort": 1234, "rdzvHost": "localhost",
        "rdzvId": "rdzv-id", "maxRestarts": 3, "rdzvConf": [{"key": "rdzv-conf-name", "value": "rdzv-conf-value"},
                                                            {"key": "rdzv-conf-name-1", "value": "rdzv-conf-value-1"}]}


@pytest.mark.parametrize(("policy", "expected"), [
    (FULL, {"PET_MAX_RESTARTS": "3", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "localhost:1234",
            "PET_RDZV_ID": "rdzv-id", "PET_NNODES": "1:3",
            "PET_RDZV_CONF": "rdzv-conf-name=rdzv-conf-value,rdzv-conf-name-1=rdzv-conf-value-1"}),
    ({}, {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "run-worker-0:23456", "PET_NNODES": "2:2"}),
    ({"maxReplicas": 4}, {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "run-worker-0:23456", "PET_NNODES": "4:4"}),
    ({"minReplicas": 1}, {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "run-worker-0:23456", "PET_NNODES": "1:1"}),
    ({"rdzvBackend": "etcd", "standalone": True}, {
        "PET_RDZV_BACKEND": "etcd", "PET_RDZV_ENDPOINT": "run-worker-0:23456", "PET_NNODES": "2:2",
        "PET_STANDALONE": ""}),
])
def test_elastic_pytorch_workers_meet_at_the_first(policy: Any, expected: Any) -> None:
    found = variables(job_object("PyTorchJob", {"Worker": 2}, elasticPolicy=policy), "Worker")
    assert found == {"PYTHONUNBUFFERED": "1", "PET_NPROC_PER_NODE": "auto"} | expected


def test_the_old_field_for_an_elastic_nodes_processes_is_taken() -> None:
    found = variables(job_object("PyTorchJob", {"Worker": 2}, elasticPolicy={"nProcPerNode": 2}), "Worker")
    assert found["PET_NPROC_PER_NODE"] == "2"


@pytest.mark.parametrize(("replicas", "type", "waits"), [
    ({"Worker": 1}, "Worker", 0), ({"Master": 1, "Worker": 1}, "Worker", 1), ({"Master": 1, "Worker": 1}, "Master", 0)])
def test_pytorch_workers_wait_for_the_name_of_a_master(replicas: Any, type: str, waits: int) -> None:
    made = pod(job_object("PyTorchJob", replicas), type)
    found = made["spec"].get("initContainers") or []
    assert [one["name"] for one in found] == ["init-pytorch"] * waits
    assert all("run-master-0" in one["command"][2] for one in found)


XGB = {"MASTER_PORT": "9999", "MASTER_ADDR": "run-master-0", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(("replicas", "type", "index", "expected"), [
    ({"Master": 1}, "Master", 0, XGB | {"WORLD_SIZE": "1", "RANK": "0"}),
    ({"Master": 1, "Worker": 2}, "Master", 0, XGB | {
        "WORLD_SIZE": "3", "RANK": "0", "WORKER_PORT": "9999", "WORKER_ADDRS": "run-worker-0,run-worker-1"}),
    ({"Master": 1, "Worker": 2}, "Worker", 1, XGB | {
        "WORLD_SIZE": "3", "RANK": "2", "WORKER_PORT": "9999", "WORKER_ADDRS": "run-worker-0,run-worker-1"}),
])
def test_xgboost_ranks_and_lightgbms_list(replicas: Any, type: str, index: int, expected: Any) -> None:
    assert variables(job_object("XGBoostJob", replicas), type, index) == expected


PADDLE = {"PYTHONUNBUFFERED": "1", "PADDLE_JOB_ID": "run"}
OWN = {"POD_IP_DUMMY": {"fieldRef": {"fieldPath": "status.podIP"}}, "PADDLE_MASTER": "$(POD_IP_DUMMY):36543"}


@pytest.mark.parametrize(("replicas", "type", "index", "expected"), [
    ({"Worker": 2}, "Worker", 0, OWN | {"PADDLE_NNODES": "2"}),
    ({"Worker": 2}, "Worker", 1, {"PADDLE_MASTER": "run-worker-0:36543", "PADDLE_NNODES": "2"}),
    ({"Master": 2, "Worker": 2}, "Master", 0, OWN | {"PADDLE_NNODES": "4", "PADDLE_SERVER_NUM": "1"}),
    ({"Master": 2, "Worker": 2}, "Master", 1, {
        "PADDLE_MASTER": "run-master-0:36543", "PADDLE_NNODES": "4", "PADDLE_SERVER_NUM": "1"}),
    ({"Master": 1, "Worker": 2}, "Worker", 0, {
        "PADDLE_MASTER": "run-master-0:36543", "PADDLE_NNODES": "3", "PADDLE_TRAINER_NUM": "1"}),
])
def test_paddle_collective_and_parameter_servers(replicas: Any, type: str, index: int, expected: Any) -> None:
    assert variables(job_object("PaddleJob", replicas), type, index) == PADDLE | expected


@pytest.mark.parametrize(("replicas", "index", "expected"), [
    (1, 0, {"NUM_PROCESSES": "1", "PROCESS_ID": "0"}), (3, 2, {"NUM_PROCESSES": "3", "PROCESS_ID": "2"})])
def test_jax_processes(replicas: int, index: int, expected: Any) -> None:
    assert variables(job_object("JAXJob", {"Worker": replicas}), "Worker", index) == {
        "PYTHONUNBUFFERED": "1", "COORDINATOR_PORT": "6666", "COORDINATOR_ADDRESS": "run-worker-0"} | expected


def test_a_users_own_variables_come_first_and_upstreams_win() -> None:
    template = {"spec": {"containers": [{"name": "jax", "image": "busybox", "env": [
        {"name": "PROCESS_ID", "value": "mine"}, {"name": "A", "value": "b"}]}]}}
    made = pod(job_object("JAXJob", {"Worker": {"template": template}}), "Worker")
    assert [one["name"] for one in made["spec"]["containers"][0]["env"]][:2] == ["PROCESS_ID", "A"]
    assert env_of(made)["PROCESS_ID"] == "0"


@pytest.mark.parametrize(("policy", "of_pod"), [("ExitCode", "Never"), ("Never", "Never"), ("Always", "Always"),
                                                ("OnFailure", "OnFailure")])
def test_the_nodes_restart_policy(policy: str, of_pod: str) -> None:
    assert pod(job_object("TFJob", {"Worker": {"restartPolicy": policy}}), "Worker")["spec"]["restartPolicy"] == of_pod


@pytest.mark.parametrize(("kind", "replicas", "masters"), [
    ("PyTorchJob", {"Master": 1, "Worker": 2}, {"run-master-0"}), ("PyTorchJob", {"Worker": 2}, {"run-worker-0"}),
    ("TFJob", {"Chief": 1, "Worker": 2, "PS": 1}, {"run-chief-0"}), ("TFJob", {"Worker": 2, "PS": 1}, {"run-worker-0"}),
    ("XGBoostJob", {"Master": 1, "Worker": 2}, {"run-master-0"}), ("PaddleJob", {"Worker": 2}, set()),
    ("JAXJob", {"Worker": 2}, {"run-worker-0"})])
def test_which_replica_is_the_master(kind: str, replicas: Any, masters: set[str]) -> None:
    """Tuning watches it, and log readers ask for it."""
    job = read(job_object(kind, replicas))
    made = [children.make_pod(job, type, index) for type, one in job.replicas.items() for index in range(one.count)]
    found = {one["metadata"]["name"] for one in made
             if one["metadata"]["labels"].get("training.kubeflow.org/job-role") == "master"}
    assert found == masters


def test_labels_and_services_are_upstreams() -> None:
    template = {"metadata": {"labels": {"team": "a"}, "annotations": {"x": "y"}}, "spec": {"containers": [
        {"name": "pytorch", "image": "busybox", "ports": [{"name": "metrics", "containerPort": 9000}]}]}}
    obj = job_object("PyTorchJob", {"Worker": {"replicas": 2, "template": template}})
    own = {"training.kubeflow.org/job-name": "run", "training.kubeflow.org/operator-name": "pytorchjob-controller",
           "training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "1"}
    made = pod(obj, "Worker", 1)
    assert made["metadata"]["labels"] == own | {"team": "a"} and made["metadata"]["annotations"] == {"x": "y"}
    service = children.make_service(read(obj), "Worker", 1)
    assert service["metadata"]["name"] == "run-worker-1"
    assert service["spec"] == {"clusterIP": "None", "selector": own, "ports": [
        {"name": "metrics", "port": 9000}, {"name": "pytorchjob-port", "port": 23456}]}


@pytest.mark.parametrize(("kind", "name", "port"), [
    ("TFJob", "tfjob-port", 2222), ("PyTorchJob", "pytorchjob-port", 23456), ("XGBoostJob", "xgboostjob-port", 9999),
    ("PaddleJob", "master", 36543), ("JAXJob", "jaxjob-port", 6666)])
def test_the_main_containers_port_is_there_once(kind: str, name: str, port: int) -> None:
    types = {"Master": 1, "Worker": 1} if kind == "XGBoostJob" else {"Worker": 1}
    obj = job_object(kind, types)
    assert pod(obj, "Worker")["spec"]["containers"][0]["ports"] == [{"name": name, "containerPort": port}]
    assert children.make_service(read(obj), "Worker", 0)["spec"]["ports"] == [{"name": name, "port": port}]
