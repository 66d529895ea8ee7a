"""What of training is accepted, and what is refused with its place, by a real API server."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.domains.training import TRAINING, bootstrap, kinds
from lightship.kube.objects import Key, Object
from lightship.testing.embedded import EmbeddedOptions, embedded_api
from tests.unit.training.objects_of import runtime, step

RUN = Key("default", "run")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=TRAINING.kinds)) as api:
        made = api.in_process()
        await bootstrap(made)
        yield made


def job(trainer: dict[str, Any] | None = None, *, name: str = "run", runtime: str = "torch-distributed",
        **spec: Any) -> Object:
    made: Object = {"apiVersion": kinds.TRAIN_JOBS.api_version, "kind": "TrainJob",
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {"runtimeRef": {"name": runtime}} | spec}
    if trainer is not None:
        made["spec"]["trainer"] = trainer
    return made


def patch(manager: str = "a.io/b", *, step: str = "node", container: str = "", **pod: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {**pod} | ({"containers": [{"name": container}]} if container else {})
    return {"manager": manager, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [
        {"name": step, "template": {"spec": {"template": {"spec": spec}}}}]}}}}


async def test_defaults_are_upstreams(client: Client) -> None:
    made = await client.create(kinds.TRAIN_JOBS, job({"numNodes": 2}))
    assert made["spec"] == {
        "managedBy": "trainer.kubeflow.org/trainjob-controller", "suspend": False, "trainer": {"numNodes": 2},
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime",
                       "name": "torch-distributed"}}
    there = await client.get(kinds.CLUSTER_TRAINING_RUNTIMES, "torch-distributed")
    assert there["spec"]["mlPolicy"] == {"numNodes": 1, "torch": {}}, "the SDK tells torch by an empty object"
    assert there["spec"]["template"]["spec"]["replicatedJobs"][0]["replicas"] == 1


WRONG_JOBS = [
    (job(runtime="nobody"), "must be created before the TrainJob"),
    (job(runtimeRef={"name": "x", "kind": "Other"}), "unsupported runtime: Other.trainer.kubeflow.org"),
    (job(name="9x"), "metadata.name"),
    (job(name="x" * 60), "at most"),
    (job({"numNodes": -1}), "numNodes"),
    (job({"numProcPerNode": 0}), "greater than or equal to 1"),
    (job({"env": [{"name": "PET_NNODES", "value": "1"}]}), "must not have reserved envs"),
    (job({"env": [{"name": "DMLC_TASK_ID", "value": "1"}]}, runtime="xgboost-distributed"), "reserved envs"),
    (job({"env": [{"name": "OMPI_MCA_plm_rsh_args", "value": "x"}]}, runtime="mlx-distributed"), "reserved envs"),
    (job({"command": ["tune", "run"]}), "not served by this version"),
    (job(activeDeadlineSeconds=0), "activeDeadlineSeconds"),
    (job(managedBy="me"), "ManagedBy must be"),
    (job(initializer={"dataset": {"storageUri": "no-scheme"}}), "scheme://"),
    (job(initializer={"dataset": {"storageUri": "s3://b/d"}}), "must have dataset-initializer job"),
    (job(runtimePatches=[patch("nobody")]), "domain-prefixed path"),
    (job(runtimePatches=[patch(step="other")]), "replicated job that doesn't exist"),
    (job(runtimePatches=[patch(container="other")]), "container other that doesn't exist"),
    (job(runtimePatches=[patch(containers=[{"name": "node", "env": [{"name": "A", "value": "b"}]}])]),
     "must not have envs"),
]


async def test_what_is_wrong_is_refused_by_name(client: Client) -> None:
    for wrong, words in WRONG_JOBS:
        with pytest.raises(errors.InvalidInput, match=words):
            await client.create(kinds.TRAIN_JOBS, wrong)


async def test_nodes_of_mpi_want_a_launcher_beside_them(client: Client) -> None:
    alone = runtime(step("node", "trainer"), policy={"mpi": {"runLauncherAsNode": True}})
    await client.create(kinds.TRAINING_RUNTIMES, alone | {"metadata": {"name": "alone", "namespace": "default"}})
    reference = {"name": "alone", "kind": "TrainingRuntime"}
    with pytest.raises(errors.InvalidInput, match="does not have either launcher and node"):
        await client.create(kinds.TRAIN_JOBS, job({"numNodes": 2}, runtimeRef=reference))
    await client.create(kinds.TRAIN_JOBS, job({"numNodes": 1}, runtimeRef=reference))


async def test_what_may_not_change(client: Client) -> None:
    await client.create(kinds.TRAIN_JOBS, job({"numNodes": 2}, activeDeadlineSeconds=8))
    for change in ({"trainer": {"numNodes": 3}}, {"runtimeRef": {"name": "jax-distributed"}},
                   {"activeDeadlineSeconds": 9}):
        with pytest.raises(errors.InvalidInput, match="immutable"):
            await client.patch(kinds.TRAIN_JOBS, RUN, {"spec": change})


async def test_patches_change_only_while_it_is_suspended(client: Client) -> None:
    await client.create(kinds.TRAIN_JOBS, job(runtimePatches=[patch(nodeSelector={"a": "1"})]))
    change = {"runtimePatches": [patch(nodeSelector={"a": "2"})]}
    with pytest.raises(errors.InvalidInput, match="only be modified when the TrainJob is suspended"):
        await client.patch(kinds.TRAIN_JOBS, RUN, {"spec": change})
    await client.patch(kinds.TRAIN_JOBS, RUN, {"spec": change | {"suspend": True}})
    resumed = await client.patch(kinds.TRAIN_JOBS, RUN, {
        "spec": {"suspend": False, "runtimePatches": [patch(nodeSelector={"a": "3"})]}})
    assert resumed["spec"]["suspend"] is False
    active = {"name": "node", "active": 1, "ready": 0, "succeeded": 0, "failed": 0, "suspended": 0}
    await client.patch(kinds.TRAIN_JOBS, RUN, {"status": {"jobsStatus": [active]}}, subresource="status")
    with pytest.raises(errors.InvalidInput, match="still active"):
        await client.patch(kinds.TRAIN_JOBS, RUN, {"spec": change | {"suspend": True}})


WRONG_RUNTIMES = [
    (runtime(step("node", "trainer", replicas=2)), "always must be 1"),
    (runtime(step("node", "trainer", container="main")), "must contain the required container"),
    (runtime(step("node", "trainer"), policy={"torch": {}, "jax": {}}), "Only one of the policy"),
    (runtime(step("node", "trainer"), policy={"flux": {}}), "Flux is not served by this version"),
    (runtime(step("node", "trainer", dependsOn=[{"name": "x", "status": "Ready"}]),
             startupPolicy={"startupPolicyOrder": "InOrder"}), "mutually exclusive"),
]


async def test_runtimes_that_are_refused(client: Client) -> None:
    for wrong, words in WRONG_RUNTIMES:
        made = copy.deepcopy(wrong)
        made["metadata"].pop("uid")
        with pytest.raises(errors.InvalidInput, match=words):
            await client.create(kinds.TRAINING_RUNTIMES, made)


async def test_a_namespaces_runtime_is_looked_for_in_that_namespace(client: Client) -> None:
    mine = runtime(step("node", "trainer"))
    mine["metadata"].pop("uid")
    wanted = job(runtimeRef={"name": "mine", "kind": "TrainingRuntime"})
    with pytest.raises(errors.InvalidInput, match="must be created before"):
        await client.create(kinds.TRAIN_JOBS, wanted)
    await client.create(kinds.TRAINING_RUNTIMES, mine)
    assert (await client.create(kinds.TRAIN_JOBS, wanted))["spec"]["runtimeRef"]["kind"] == "TrainingRuntime"
