"""MPI's policy: upstream's cases of hosts, slots, volumes and variables, and the shipped runtimes against its files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightship.domains.training import kinds, ssh_keys
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.runtimes import shipped
from lightship.domains.training.train_job import lower, mpi, reconciler
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS, EVENTS, JOB_SETS, SECRETS
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock
from lightship.testing.reconciler_table import ReconcilerTable
from tests.unit.training.objects_of import cluster_runtime, runtime, step, train_job
from tests.unit.training.test_lowering import container_of, env_of, job_of, pod_of

KEYS_PATH = "/root/" + ".ssh"
DEEPSPEED = Path(__file__).parents[2] / "corpus" / "trainer" / "runtime_deepspeed_distributed.yaml"


def mpi_runtime(*, launcher: bool = True, resources: Any = None, ancestor: str = "launcher", **policy: Any) -> Any:
    jobs = [step("node", "trainer" if ancestor == "node" else "", container="node", resources=resources)]
    if launcher:
        jobs.append(step("launcher", "trainer" if ancestor == "launcher" else "", container="node",
                         resources=resources))
    return runtime(*jobs, policy={"mpi": policy})


def hosts_of(trainer: dict[str, Any] | None, of: Any) -> list[str]:
    made = lower.make_hosts(train_job(trainer), of)
    assert made is not None and made["metadata"]["name"] == "run-mpi-hostfile"
    assert objects.controller_of(made)["uid"] == "run-uid"  # type: ignore[index]
    return str(made["data"]["hostfile"]).splitlines()


@pytest.mark.parametrize(("trainer", "of", "hosts"), [
    ({"numNodes": 2, "numProcPerNode": 8}, mpi_runtime(), ["run-node-0-0.run slots=8", "run-node-0-1.run slots=8"]),
    ({"numNodes": 3}, mpi_runtime(runLauncherAsNode=True),
     ["run-node-0-0.run slots=1", "run-node-0-1.run slots=1", "run-launcher-0-0.run slots=1"]),
    ({"numNodes": 1}, mpi_runtime(runLauncherAsNode=True),
     ["run-node-0-0.run slots=1", "run-launcher-0-0.run slots=1"]),
    (None, mpi_runtime(numProcPerNode=4), ["run-node-0-0.run slots=4"]),
    ({}, mpi_runtime(resources={"limits": {"nvidia.com/gpu": "3"}}), ["run-node-0-0.run slots=3"]),
    ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": "5"}}}, mpi_runtime(), ["run-node-0-0.run slots=5"]),
    ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": "5"}}}, mpi_runtime(numProcPerNode=2),
     ["run-node-0-0.run slots=2"]),
    ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": "5"}}, "numProcPerNode": 1}, mpi_runtime(),
     ["run-node-0-0.run slots=1"]),
])
def test_hosts_and_slots(trainer: Any, of: Any, hosts: list[str]) -> None:
    assert hosts_of(trainer, of) == hosts


def test_a_domain_that_the_runtime_names_is_the_hosts() -> None:
    of = mpi_runtime()
    of["spec"]["template"]["spec"]["network"] = {"subdomain": "mine"}
    assert hosts_of({}, of) == ["run-node-0-0.mine slots=1"]


def test_no_other_training_has_hosts() -> None:
    assert lower.make_hosts(train_job({"numNodes": 2}), cluster_runtime()) is None


def test_the_launcher_is_told_where_hosts_and_keys_are() -> None:
    made = lower.make_job_set(train_job({"numNodes": 2, "numProcPerNode": 3, "command": ["mpirun", "true"],
                                         "env": [{"name": "A", "value": "b"}]}), mpi_runtime())
    assert env_of(made, "launcher") == {
        "A": "b", "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile", "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_orte_set_default_slots": "3", "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10"}
    assert container_of(made, "launcher")["command"] == ["mpirun", "true"]
    assert container_of(made, "launcher")["volumeMounts"] == [
        {"name": "mpi-ssh-auth", "mountPath": KEYS_PATH}, {"name": "mpi-hostfile", "mountPath": "/etc/mpi"}]
    assert pod_of(made, "launcher")["volumes"] == [
        {"name": "mpi-ssh-auth", "secret": {"secretName": "run-mpi-ssh-auth", "defaultMode": 0o400, "items": [
            {"key": "ssh-privatekey", "path": "id_rsa", "mode": 0o640},
            {"key": "ssh-publickey", "path": "id_rsa.pub", "mode": 0o644},
            {"key": "ssh-publickey", "path": "authorized_keys", "mode": 0o644}]}},
        {"name": "mpi-hostfile", "configMap": {"name": "run-mpi-hostfile", "items": [
            {"key": "hostfile", "path": "hostfile", "mode": 0o444}]}}]
    assert env_of(made) == {} and "command" not in container_of(made)
    assert container_of(made)["volumeMounts"] == [{"name": "mpi-ssh-auth", "mountPath": KEYS_PATH}]
    assert [volume["name"] for volume in pod_of(made)["volumes"]] == ["mpi-ssh-auth"]
    assert [job_of(made, name)["template"]["spec"]["completions"] for name in ("node", "launcher")] == [2, 1]


def test_a_launcher_that_computes_shares_resources_and_variables_with_the_nodes() -> None:
    trainer = {"numNodes": 4, "resourcesPerNode": {"limits": {"cpu": "2"}}, "env": [{"name": "A", "value": "b"}]}
    made = lower.make_job_set(train_job(trainer), mpi_runtime(runLauncherAsNode=True, sshAuthMountPath="/keys"))
    assert job_of(made)["template"]["spec"]["completions"] == 3
    assert env_of(made) == {"A": "b"} and env_of(made, "launcher")["A"] == "b"
    for name in ("node", "launcher"):
        assert container_of(made, name)["resources"] == {"limits": {"cpu": "2"}}
        assert container_of(made, name)["volumeMounts"][0]["mountPath"] == "/keys"


def test_a_mount_that_the_runtime_has_is_replaced_and_others_stay() -> None:
    of = mpi_runtime(launcher=False)
    pod = of["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "mpi-ssh-auth", "emptyDir": {}}, {"name": "data", "emptyDir": {}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    made = lower.make_job_set(train_job({}), of)
    assert [volume["name"] for volume in pod_of(made)["volumes"]] == ["mpi-ssh-auth", "data"]
    assert "secret" in pod_of(made)["volumes"][0]
    assert container_of(made)["volumeMounts"] == [{"name": "data", "mountPath": "/data"},
                                                  {"name": "mpi-ssh-auth", "mountPath": KEYS_PATH}]


def test_keys_are_a_pair_that_ssh_reads() -> None:
    from cryptography.hazmat.primitives import serialization

    made = mpi.make_keys(train_job({}), *ssh_keys.make())
    assert (made["type"], made["immutable"], made["metadata"]["name"]) == (
        "kubernetes.io/ssh-auth", True, "run-mpi-ssh-auth")
    private, public = (base64.b64decode(made["data"][name]) for name in ("ssh-privatekey", "ssh-publickey"))
    assert private.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    key = serialization.load_pem_private_key(private, None).public_key()
    assert public.startswith(b"ecdsa-sha2-nistp521 ") and public.endswith(b"\n")
    assert serialization.load_ssh_public_key(public) == key


@pytest.mark.parametrize("framework", ["deepspeed", "mlx"])
def test_shipped_runtimes_are_upstreams(framework: str) -> None:
    upstream = yaml.safe_load(DEEPSPEED.read_text().replace("deepspeed", framework))
    ours = next(one for one in shipped.runtimes() if objects.name(one) == f"{framework}-distributed")
    assert ours["spec"] == upstream["spec"]
    assert upstream["metadata"]["labels"].items() <= objects.labels(ours).items()


KINDS = (kinds.TRAIN_JOBS, kinds.TRAINING_RUNTIMES, kinds.CLUSTER_TRAINING_RUNTIMES, JOB_SETS, CONFIGMAPS, SECRETS,
         EVENTS)
RUN = Key("default", "run")


def _build(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
    client = manager.client_for("training")
    return reconciler.controller(TrainingDeps(
        client=client, informer=manager.informer, recorder=Recorder(client, "training", clock), clock=clock,
        key_pair=lambda: (b"private", b"public")))


TABLE = ReconcilerTable(build=_build, kinds=KINDS)


async def test_hosts_and_keys_are_there_before_the_job_set() -> None:
    outcome = await TABLE.run(RUN, train_job({"numNodes": 2}, runtime="deepspeed-distributed"),
                              cluster_runtime("deepspeed-distributed"))
    assert outcome.words == [
        "patch configmaps default/run-runtime-snapshot", "create secrets default/run-mpi-ssh-auth",
        "patch configmaps default/run-mpi-hostfile", "patch jobsets default/run"]
    assert outcome.object(CONFIGMAPS, "run-mpi-hostfile")["data"]["hostfile"] == (
        "run-node-0-0.run slots=1\nrun-launcher-0-0.run slots=1\n")


async def test_a_suspended_trainings_hosts_are_there_and_its_keys_stay_when_it_is_resumed() -> None:
    held, of = train_job({}, runtime="mlx-distributed", suspend=True), cluster_runtime("mlx-distributed")
    first = await TABLE.run(RUN, held, of)
    keys = first.object(SECRETS, "run-mpi-ssh-auth")
    assert first.object(CONFIGMAPS, "run-mpi-hostfile")["data"]["hostfile"].count("slots=1") == 2
    outcome = await TABLE.run(RUN, train_job({}, runtime="mlx-distributed"), of, lower.make_job_set(held, of),
                              lower.make_snapshot(held, of), keys)
    assert outcome.words == ["patch configmaps default/run-mpi-hostfile", "patch jobsets default/run"]


async def test_keys_of_another_are_not_taken() -> None:
    job, of = train_job({}, runtime="mlx-distributed"), cluster_runtime("mlx-distributed")
    other = mpi.make_keys(job | {"metadata": job["metadata"] | {"uid": "earlier"}}, b"", b"")
    outcome = await TABLE.run(RUN, job, of, other)
    assert outcome.words == ["patch configmaps default/run-runtime-snapshot", "patch trainjobs/status default/run"]
    assert outcome.result.requeue_after_seconds
    assert "Secret \"default/run-mpi-ssh-auth\" is not this TrainJob's" in outcome.events[0]
